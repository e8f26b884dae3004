"""The log: appending to it."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from sourced.errors import Conflict, Duplicate, Invalid
from sourced.store import Entry
from sourced.testing.clock import START
from sourced.testing.conformance.bench import TYPES, Bench, entry, kept, record, refused

# Names that a file system, a pattern, a collation or a comparison that ignores case could take for each other.
ALIKE = ("a", "A", "a ", " a", "a%", "a_", "ab", "a/b", "a\\b", "../a", "a'b", 'a"b', "a\tb", "a:b", "ä", "a\u0308")


class Appending(Bench):
    # -- places

    def test_append_gives_seqs_from_1_without_a_gap(self) -> None:
        """D64."""
        first = self.put("s", 1)
        second = self.put("s", 3)
        other = self.put("other", 2)
        assert [r.seq for r in (*first, *second)] == [1, 2, 3, 4]
        assert [r.seq for r in other] == [1, 2]

    def test_append_gives_positions_that_grow_and_are_never_given_twice(self) -> None:
        positions = [r.position for stream in ("a", "b", "a", "c", "b") for r in self.put(stream, 2)]
        assert positions[0] > 0
        assert positions == sorted(set(positions))

    def test_append_ignores_the_place_a_record_claims_to_have(self) -> None:
        (stored,) = self.put("s", seq=7, position=99)
        assert stored.seq == 1
        assert stored.position != 99

    def test_append_answers_with_what_can_be_read_from_then_on(self) -> None:
        """D61."""
        one = self.put("s", 1)
        three = self.put("s", 3)
        assert self.history("s") == [*one, *three]

    def test_append_keeps_every_attribute_as_it_is(self) -> None:
        """A18. Text to the last character, times to the microsecond, in UTC."""
        given = record(
            "s",
            type="some.thing",
            version=3,
            payload='{"text":"żółw 🐢 \\u0000 \' \\" % \\\\n","n":12345678901234567890,"f":1.10}',
            metadata='{"user":"Æsop","deep":{"a":[null,true]}}',
            causation_id="cause",
            correlation_id="story",
            created_at=START + timedelta(microseconds=123_457),
            settled_by=("some.group", "g:2"),
        )
        (outcome,) = self.append(Entry("s", (given,)))
        (stored,) = kept(outcome)
        assert stored == replace(given, seq=1, position=stored.position)
        (read,) = self.history("s")
        assert read == stored
        assert read.created_at.utcoffset() == timedelta(0)

    def test_append_keeps_streams_apart_whose_names_are_alike(self) -> None:
        """O246."""
        for name in ALIKE:
            self.put(name, 1)
        for name in ALIKE:
            assert [(r.stream, r.seq) for r in self.history(name)] == [(name, 1)]
        assert self.do(self.store.extent())[0] == len(ALIKE)

    def test_append_takes_names_and_payloads_of_any_length(self) -> None:
        name, payload = "n" * 1_000, f'{{"text":"{"x" * 200_000}"}}'
        self.put(name, 1, payload=payload)
        assert self.history(name)[0].payload == payload

    # -- nothing, and much

    def test_append_of_nothing_stores_nothing(self) -> None:
        """D61. Not even an empty stream."""
        assert self.append() == []
        assert self.append(Entry("s", ())) == [()]
        assert self.do(self.store.extent()) == (0, 0)
        assert self.do(self.store.streams()) == []

    def test_append_takes_thousands_of_records_at_once(self) -> None:
        entries = [entry(f"s-{number % 300}", 2) for number in range(1_500)]
        outcomes = self.append(*entries)
        assert [r.id for outcome in outcomes for r in kept(outcome)] == [r.id for each in entries for r in each.records]
        assert [r.seq for r in self.history("s-7")] == list(range(1, 11))
        assert len(self.do(self.store.read_all())) == 3_000

    # -- what it must follow

    def test_append_after_the_expected_seq_is_stored(self) -> None:
        """D75."""
        (first,) = self.append(entry("s", 2, expected_seq=0))
        (second,) = self.append(entry("s", 1, expected_seq=2))
        assert [r.seq for r in (*kept(first), *kept(second))] == [1, 2, 3]

    def test_append_elsewhere_than_expected_is_a_conflict_and_changes_nothing(self) -> None:
        """D62. Behind, ahead, or on a stream that is not there."""
        stored = self.put("s", 2)
        for stream, expected, actual in (("s", 0, 2), ("s", 1, 2), ("s", 3, 2), ("new", 1, 0)):
            (outcome,) = self.append(entry(stream, 1, expected_seq=expected))
            assert isinstance(outcome, Conflict)
            assert (outcome.stream, outcome.expected, outcome.actual) == (stream, expected, actual)
        assert self.do(self.store.read_all()) == [*stored]
        assert self.do(self.store.extent())[0] == 1

    def test_append_minds_only_the_types_it_heeds(self) -> None:
        """E99. What changes nothing for the one who decided may have come between; the place is then the next one."""
        self.put("s", 1)
        self.put("s", 2, type="other")
        heeded = frozenset(TYPES)
        (stored,) = self.append(Entry("s", (record("s"), record("s")), 1, heeded))
        assert [r.seq for r in kept(stored)] == [4, 5]
        for expected, heeds in ((2, heeded), (4, heeded), (4, frozenset({"other", *TYPES})), (6, heeded)):
            (outcome,) = self.append(Entry("s", (record("s"),), expected, heeds))
            assert isinstance(outcome, Conflict)
            assert (outcome.expected, outcome.actual) == (expected, 5)
        (stored,) = self.append(Entry("s", (record("s"),), 3, frozenset({"other"})))
        assert [r.seq for r in kept(stored)] == [6]
        (outcome,) = self.append(Entry("new", (record("new"),), 1, heeded))
        assert isinstance(outcome, Conflict)

    # -- outcomes of their own

    def test_append_gives_each_entry_an_outcome_of_its_own(self) -> None:
        """A conflict costs nobody else anything, wherever in the batch it stands."""
        (known,) = self.put("s")
        outcomes = self.append(
            entry("a", 2),
            entry("s", 1, expected_seq=0),
            Entry("b", (record("b"), record("b", id=known.id))),
            entry("s", 1, expected_seq=1),
            entry("c", 1, expected_seq=0),
        )
        assert [type(outcome) for outcome in outcomes] == [tuple, Conflict, Duplicate, tuple, tuple]
        assert [len(self.history(stream)) for stream in "asbc"] == [2, 2, 0, 1]

    def test_append_sees_what_earlier_entries_of_the_batch_have_stored(self) -> None:
        outcomes = self.append(
            entry("s", 2, expected_seq=0), entry("s", 1), entry("s", 1, expected_seq=0), entry("s", 1, expected_seq=3)
        )
        assert [r.seq for outcome in (outcomes[0], outcomes[1], outcomes[3]) for r in kept(outcome)] == [1, 2, 3, 4]
        assert isinstance(outcomes[2], Conflict)
        assert outcomes[2].actual == 3

    # -- ids are stored once

    def test_append_of_a_stored_id_is_a_duplicate_with_what_is_there(self) -> None:
        """D69. In any stream, and nothing of the entry is stored."""
        stored = self.put("s", 2)
        again = (record("t"), record("t", id=stored[1].id), record("t"), record("t", id=stored[0].id))
        (outcome,) = self.append(Entry("t", again))
        assert isinstance(outcome, Duplicate)
        assert outcome.ids == (stored[1].id, stored[0].id)
        assert outcome.records == (stored[1], stored[0])
        assert self.do(self.store.read_all()) == [*stored]

    def test_append_of_one_id_twice_in_a_batch_stores_the_first(self) -> None:
        """D69."""
        first, second = record("s"), record("t")
        outcomes = self.append(Entry("s", (first,)), Entry("t", (replace(second, id=first.id),)))
        (stored,) = kept(outcomes[0])
        assert isinstance(outcomes[1], Duplicate)
        assert (outcomes[1].ids, outcomes[1].records) == ((first.id,), (stored,))
        assert self.history("t") == []

    def test_append_calls_duplicates_only_what_was_there_before(self) -> None:
        """One half of an entry was stored, the other half comes later in the batch: it was not stored as a whole."""
        (known,) = self.put("s")
        late = record("t")
        outcomes = self.append(
            Entry("t", (record("t", id=known.id), late)), Entry("t", (late,)), Entry("t", (late, record("t")))
        )
        assert isinstance(outcomes[0], Duplicate)
        assert outcomes[0].ids == (known.id,)
        assert [r.id for r in kept(outcomes[1])] == [late.id]
        assert isinstance(outcomes[2], Duplicate)
        assert outcomes[2].records == kept(outcomes[1])

    def test_append_of_an_id_that_a_conflict_has_left_out_stores_it(self) -> None:
        again = record("s")
        outcomes = self.append(Entry("s", (again,), expected_seq=5), Entry("s", (again,), expected_seq=0))
        assert [type(outcome) for outcome in outcomes] == [Conflict, tuple]
        assert [r.id for r in self.history("s")] == [again.id]

    def test_append_says_duplicate_rather_than_conflict_to_those_who_repeat_themselves(self) -> None:
        """Whoever lost the answer and asks again, with the same expected seq, learns that it is done."""
        asked = entry("s", 2, expected_seq=0)
        (first,) = self.append(asked)
        (second,) = self.append(asked)
        assert isinstance(second, Duplicate)
        assert second.records == kept(first)

    def test_append_refuses_an_entry_that_cannot_be_one_before_it_reaches_the_store(self) -> None:
        """D66, D67, D69, O242. Messages of two streams, of another stream, or the same one twice: nobody else's
        entry is in danger, because there is never such an entry to append."""
        twice = record("s")
        for records in ((record("s"), record("t")), (record("t"),), (twice, twice)):
            with refused(Invalid):
                Entry("s", records)
