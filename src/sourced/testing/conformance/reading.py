"""The log: reading it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

import msgspec

from sourced.codec import Contents, Record
from sourced.errors import Invalid
from sourced.store import Names, Range, StreamState
from sourced.testing.conformance.bench import TYPES, Bench, at, entry, kept, refused


class Said(NamedTuple):
    """What a message says, as it was stored."""

    seq: int
    type: str
    version: int
    payload: str


class Reading(Bench):
    # -- histories

    def test_histories_are_what_comes_after_one_seq_up_to_another(self) -> None:
        """C55, O243. Half open, so the pieces that touch make up the whole."""
        stored = self.put("s", 3)
        for after, upto, expected in (
            (0, None, stored), (1, None, stored[1:]), (0, 2, stored[:2]), (1, 2, stored[1:2]), (1, 3, stored[1:]),
            (0, 0, ()), (1, 1, ()), (2, 1, ()), (0, 99, stored), (3, None, ()), (99, None, ()), (99, 100, ()),
        ):  # fmt: skip
            assert self.history("s", after, upto) == [*expected], (after, upto)

    def test_histories_of_many_streams_come_in_the_order_they_are_asked_for(self) -> None:
        """D73. Interleaved in the log, and each by itself here; one that nobody wrote to is empty."""
        for _ in range(3):
            self.put("a", 1)
            self.put("b", 2)
        found = self.do(self.store.histories([
            Range("b", 1, 3), Range("nobody"), Range("a"), Range("b", 1, 3), Range("b", 5)
        ]))  # fmt: skip
        places = [[(r.stream, r.seq) for r in piece] for piece in found]
        assert places == [[("b", 2), ("b", 3)], [], [("a", 1), ("a", 2), ("a", 3)], [("b", 2), ("b", 3)], [("b", 6)]]

    def test_histories_of_no_ranges_are_none(self) -> None:
        assert self.do(self.store.histories([])) == []

    def test_histories_of_hundreds_of_streams_are_one_question(self) -> None:
        names = [f"s-{number}" for number in range(700)]
        self.append(*(entry(name) for name in names))
        found = self.do(self.store.histories([Range(name) for name in reversed(names)]))
        assert [r.stream for piece in found for r in piece] == names[::-1]

    def test_histories_do_not_change_when_the_stream_does(self) -> None:
        stored = self.put("s", 1)
        (found,) = self.do(self.store.histories([Range("s")]))
        self.put("s", 1)
        assert list(found) == [*stored]

    def test_histories_before_the_first_seq_cannot_be_asked_for(self) -> None:
        """O243. Negative numbers would mean different things to different stores."""
        for after, upto in ((-1, None), (0, -1)):
            with refused(Invalid):
                Range("s", after, upto)

    # -- contents

    def test_contents_are_what_states_are_made_of_and_the_last_message_of_any_type(self) -> None:
        """The last one tells how far the piece goes, be it of use or not."""
        stored = self.of_types("s", "abaacb")
        self.of_types("another", "ccc")
        for types, after, upto, expected in (
            ("a", 0, None, [1, 3, 4, 6]), ("ab", 0, None, [1, 2, 3, 4, 6]), ("abc", 0, None, [1, 2, 3, 4, 5, 6]),
            ("b", 0, None, [2, 6]), ("c", 0, 3, [3]), ("a", 0, 4, [1, 3, 4]), ("a", 0, 5, [1, 3, 4, 5]),
            ("a", 1, 5, [3, 4, 5]), ("", 0, None, [6]), ("", 0, 2, [2]), ("z", 2, 99, [6]), ("a", 0, 0, []),
            ("a", 5, 5, []), ("a", 5, 2, []), ("a", 6, None, []), ("a", 99, None, []), ("a", 5, None, [6]),
        ):  # fmt: skip
            found = self.do(self.store.contents("s", set(types), after=after, upto=upto))
            assert said(found) == [said_by(stored[seq - 1]) for seq in expected], (types, after, upto)

    def test_contents_of_nothing_are_none(self) -> None:
        self.put("s")
        assert list(self.do(self.store.contents("nobody", {"a"}))) == []

    def test_contents_are_as_they_were_stored(self) -> None:
        """Each as whoever stored it wrote it, with an end of a line in it."""
        payloads = '{"said": "\\u00e4 \'x\' ä"}', "{}", "[\n  1,\n  2\n]", '"[1], [2]"', "null"
        stored = [self.put("s", payload=payload, version=len(payload) % 3)[0] for payload in payloads]
        assert said(self.do(self.store.contents("s", {stored[0].type}))) == [said_by(each) for each in stored]

    def test_contents_of_a_long_stream_are_all_there_whatever_they_are_put_together_by(self) -> None:
        """Types and versions that take turns, and each where it belongs."""
        outcomes = self.append(
            *(entry("s", type="ab"[number % 2], version=1 + number // 3 % 2) for number in range(700))
        )
        stored = [each for outcome in outcomes for each in kept(outcome)]
        for after, upto in ((0, None), (1, 699), (255, 513), (256, 512), (511, 512)):
            found = self.do(self.store.contents("s", {"a", "b"}, after=after, upto=upto))
            assert said(found) == [said_by(each) for each in stored[after:upto]]

    def of_types(self, stream: str, types: str) -> list[Record]:
        return [record for type in types for record in self.put(stream, type=type)]

    # -- the whole log

    def test_read_all_is_the_log_in_order_of_position(self) -> None:
        """O244. Every message of every stream, and from any of them on what comes after it."""
        stored = [r for stream in ("a", "b", "a", "c", "b") for r in self.put(stream, 2)]
        assert self.do(self.store.read_all()) == stored
        for index, each in enumerate(stored):
            assert self.do(self.store.read_all(after=each.position)) == stored[index + 1 :]

    def test_read_all_backwards_starts_at_the_end_or_before_a_position(self) -> None:
        stored = [r for stream in ("a", "b", "a") for r in self.put(stream, 2)]
        assert self.do(self.store.read_all(backwards=True)) == stored[::-1]
        for index, each in enumerate(stored):
            found = self.do(self.store.read_all(after=each.position, backwards=True))
            assert found == stored[:index][::-1]
        beyond = stored[-1].position + 100
        assert self.do(self.store.read_all(after=beyond, backwards=True)) == stored[::-1]
        assert self.do(self.store.read_all(after=beyond)) == []

    def test_read_all_stops_at_the_limit(self) -> None:
        stored = self.put("s", 5)
        for limit, expected in ((0, ()), (2, stored[:2]), (5, stored), (99, stored), (None, stored)):
            assert self.do(self.store.read_all(limit=limit)) == [*expected]
        assert self.do(self.store.read_all(limit=2, backwards=True)) == [stored[4], stored[3]]
        assert self.do(self.store.read_all(after=stored[1].position, limit=2)) == [stored[2], stored[3]]

    def test_read_all_of_some_types_leaves_out_the_others_and_counts_only_what_it_finds(self) -> None:
        stored = [self.put("s", 1, type=name)[0] for name in ("a", "b", "c", "a", "b", "A")]
        assert self.do(self.store.read_all(types={"a", "c"})) == [stored[0], stored[2], stored[3]]
        assert self.do(self.store.read_all(types=["b"], limit=2)) == [stored[1], stored[4]]
        assert self.do(self.store.read_all(types=("b",), limit=1, backwards=True)) == [stored[4]]
        assert self.do(self.store.read_all(types=frozenset())) == []
        assert self.do(self.store.read_all(types={"nothing"})) == []

    def test_read_all_of_a_time_is_what_was_made_since_its_beginning_and_before_its_end(self) -> None:
        """To the microsecond, whatever order they were stored in."""
        times = (5.0, 1.0, 3.000001, 3.0, 2.999999, 9.0)
        stored = [self.put("s", 1, created_at=at(time))[0] for time in times]
        assert self.do(self.store.read_all(since=at(3))) == [stored[0], stored[2], stored[3], stored[5]]
        assert self.do(self.store.read_all(until=at(3))) == [stored[1], stored[4]]
        assert self.do(self.store.read_all(since=at(2), until=at(5), backwards=True)) == [
            stored[4], stored[3], stored[2]
        ]  # fmt: skip
        found = self.do(self.store.read_all(since=at(3), types=TYPES, after=stored[2].position, limit=1))
        assert found == [stored[3]]

    # -- a story

    def test_trace_is_the_whole_story_in_order_whichever_of_its_messages_is_asked_for(self) -> None:
        """D74."""
        (command,) = self.put("a", correlation_id="one")
        self.put("a", correlation_id="another")
        (first,) = self.put("b", correlation_id="one", causation_id=command.id)
        (second,) = self.put("a", correlation_id="one", causation_id=first.id)
        for each in (command, first, second):
            assert self.do(self.store.trace(each.id)) == [command, first, second]

    def test_trace_of_an_unknown_message_is_empty(self) -> None:
        """D74. A story's name is not a message's id, unless the message that began it is there."""
        self.put("a", correlation_id="one")
        assert self.do(self.store.trace("nobody")) == []
        assert self.do(self.store.trace("one")) == []

    # -- streams

    def test_streams_are_listed_from_the_one_that_changed_last(self) -> None:
        """D76."""
        for number, stream in enumerate(("a", "b", "c", "a")):
            self.put(stream, 2, created_at=at(number))
        assert self.do(self.store.streams()) == [
            StreamState("a", 4, at(3)), StreamState("c", 2, at(2)), StreamState("b", 2, at(1))
        ]  # fmt: skip

    def test_streams_are_ten_unless_more_or_less_are_wanted(self) -> None:
        """D76."""
        for number in range(12):
            self.put(f"s-{number}", 1)
        newest = [f"s-{number}" for number in reversed(range(12))]
        assert [s.stream for s in self.do(self.store.streams())] == newest[:10]
        for limit, expected in ((3, newest[:3]), (0, []), (1000, newest), (None, newest)):
            assert [s.stream for s in self.do(self.store.streams(limit))] == expected

    def test_heads_are_how_far_streams_have_come(self) -> None:
        """Those of them that there are, however many are asked for."""
        for number, stream in enumerate(("a", "b", "A", "a")):
            self.put(stream, 2, created_at=at(number))
        found = self.do(self.store.heads(["a", "nobody", "A", "a"]))
        assert found == {"a": StreamState("a", 4, at(3)), "A": StreamState("A", 2, at(2))}
        assert self.do(self.store.heads([])) == {}
        assert len(self.do(self.store.heads(["b", *map(str, range(700))]))) == 1

    def test_names_are_those_of_streams_in_order_page_by_page(self) -> None:
        for name in ("cart-2", "cart-10", "Cart-1", "cart", "b", "cärt-1", "cart-1"):
            self.put(name, 2)
        inorder = ("Cart-1", "b", "cart", "cart-1", "cart-10", "cart-2", "cärt-1")
        for size in (1, 3, 7, 8):
            found, after = list[str](), ""
            while True:
                page = self.do(self.store.names(after=after, limit=size))
                found += page.found
                if not page.last:
                    break
                after = page.last
            assert tuple(found) == inorder, size
        assert self.do(self.store.names(limit=0)) == Names(())

    def test_names_begin_with_a_prefix_as_it_is_written(self) -> None:
        """Nothing in it means anything but itself."""
        for name in ("cart-1", "cart%", "cart_", "cart-10", "CART-1", "car", "cart"):
            self.put(name, 1)
        for prefix, expected in (
            ("cart-1", ("cart-1", "cart-10")), ("cart%", ("cart%",)), ("cart_", ("cart_",)), ("d", ()),
            ("C", ("CART-1",)),
            ("car", ("car", "cart", "cart%", "cart-1", "cart-10", "cart_")),
        ):  # fmt: skip
            assert self.do(self.store.names(prefix=prefix)) == Names(expected), prefix
        assert self.do(self.store.names(prefix="cart", after="cart%", limit=2)) == Names(
            ("cart-1", "cart-10"), "cart-10"
        )

    def test_names_hold_a_part_and_are_looked_for_among_so_many(self) -> None:
        for number in range(10):
            self.put(f"cart-{number}", 1)
            self.put(f"stock-{number}", 1)
        assert self.do(self.store.names(part="-3")) == Names(("cart-3", "stock-3"))
        assert self.do(self.store.names(part="-3", limit=1)) == Names(("cart-3",), "cart-3")
        assert self.do(self.store.names(part="-3", after="cart-3")) == Names(("stock-3",))
        assert self.do(self.store.names(part="-3", most=4)) == Names(("cart-3",), "cart-3")
        assert self.do(self.store.names(part="-9", most=4)) == Names((), "cart-3")
        assert self.do(self.store.names(part="-9", prefix="stock", most=10)) == Names(("stock-9",))
        assert self.do(self.store.names(part="%")) == Names(())
        assert self.do(self.store.names(part="-9", after="cart-9", most=10)) == Names(("stock-9",))

    def test_extent_is_how_many_streams_there_are_and_the_last_position(self) -> None:
        assert self.do(self.store.extent()) == (0, 0)
        self.put("a", 2)
        (*_, last) = self.put("b", 1, created_at=at(0) - timedelta(days=1))
        assert self.do(self.store.extent()) == (2, last.position)

    def test_count_is_how_many_messages_there_are(self) -> None:
        """Between two positions, of some types; positions that nobody has make no difference."""
        assert self.do(self.store.count()) == 0
        stored = [self.put("s", 1, type=name)[0] for name in ("a", "b", "a", "c", "A")]
        last = stored[-1].position
        assert self.do(self.store.count()) == 5
        for after, upto, expected in ((0, None, 5), (1, None, 4), (0, 3, 3), (1, 3, 2), (2, 2, 0), (5, None, 0)):
            low, high = after and stored[after - 1].position, upto and stored[upto - 1].position
            assert self.do(self.store.count(after=low, upto=high)) == expected, (after, upto)
        assert self.do(self.store.count(types={"a"})) == 2
        assert self.do(self.store.count(types=("a", "c"), after=stored[0].position, upto=last + 100)) == 2
        assert self.do(self.store.count(types=())) == 0


def said_by(record: Record) -> Said:
    return Said(record.seq, record.type, record.version, record.payload)


def said(contents: Iterable[Contents]) -> list[Said]:
    """One by one, in order of seq."""
    each = msgspec.json.Decoder(list[msgspec.Raw])
    return sorted(
        Said(seq, some.type, some.version, bytes(payload).decode())
        for some in contents
        for seq, payload in zip(some.seqs, each.decode(some.payloads), strict=True)
    )
