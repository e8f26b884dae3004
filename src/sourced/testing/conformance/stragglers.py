"""Stragglers: streams that wait for themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from sourced.errors import Fenced
from sourced.store import Claim, Straggler
from sourced.testing.conformance.bench import TYPES, Bench, at


class Stragglers(Bench):
    def behind(self, row: Straggler, upto: int | None = None, limit: int = 100, types: object = TYPES) -> list[int]:
        """The seqs of a straggler's next messages."""
        last = self.do(self.store.extent())[1] if upto is None else upto
        (found,) = self.do(self.store.straggling([row], types, {self.shard(row.stream): last}, limit))  # type: ignore[arg-type]
        assert all(r.stream == row.stream for r in found)
        return [r.seq for r in found]

    def due(self, claim: Claim) -> dict[str, Straggler]:
        return {each.stream: each for each in claim.due}

    # -- straggle, catch up, list

    def test_straggle_keeps_every_fact(self) -> None:
        self.register()
        row = Straggler(
            "g", "s", 3, live_after=7, attempts=2, retry_at=at(5) + timedelta(microseconds=123), parked=True,
            running=True, error="Boom: żółw 'quoted'", traceback="line 1\n  line 2 %s\n", reason="gave up",
            message_id="m", since=at(1) + timedelta(microseconds=9), holder="w/1 'quoted'",
        )  # fmt: skip
        self.do(self.store.straggle([row, Straggler("g", "t", 1)]))
        assert {each.stream: each for each in self.do(self.store.stragglers("g"))} == {
            "s": row, "t": Straggler("g", "t", 1)
        }  # fmt: skip

    def test_straggle_replaces_what_was_known_of_a_stream(self) -> None:
        self.register()
        self.straggle("s", attempts=3, retry_at=at(5), error="Boom: no", parked=True, running=True)
        again = self.straggle("s", from_seq=2)
        assert self.do(self.store.stragglers("g")) == [again]

    def test_straggle_of_nothing_is_nothing(self) -> None:
        self.register()
        self.do(self.store.straggle([]))
        self.do(self.store.catch_up("g", []))
        assert self.do(self.store.stragglers()) == []

    def test_catch_up_ends_the_wait_of_the_streams_it_names_in_the_group_it_names(self) -> None:
        """A stream that did not wait is none the worse for it."""
        self.register()
        self.register("other")
        for stream, group in (("s", "g"), ("t", "g"), ("s", "other")):
            self.straggle(stream, group=group)
        self.do(self.store.catch_up("g", ["s", "nobody"]))
        assert {(row.group, row.stream) for row in self.do(self.store.stragglers())} == {("g", "t"), ("other", "s")}

    def test_stragglers_are_those_of_one_group_or_of_all(self) -> None:
        self.register()
        self.register("other")
        mine, theirs = self.straggle("s"), self.straggle("s", group="other")
        assert self.do(self.store.stragglers("g")) == [mine]
        assert self.do(self.store.stragglers("other")) == [theirs]
        assert sorted(row.group for row in self.do(self.store.stragglers())) == ["g", "other"]

    # -- what people do with those that are parked

    def test_unpark_hands_streams_out_again_counting_anew(self) -> None:
        self.register()
        for stream in ("s", "t"):
            self.put(stream, 3)
        row = self.straggle(
            "s", 2, live_after=1, attempts=4, retry_at=at(9), parked=True, running=True, error="Boom: no",
            traceback="line 1", reason="gave up", message_id="m", since=at(1),
        )  # fmt: skip
        other = self.straggle("t", 1, attempts=1, parked=True)
        assert self.do(self.store.unpark([row])) == [row]
        anew = Straggler("g", "s", 2, live_after=1, message_id="m", since=at(1))
        assert {each.stream: each for each in self.do(self.store.stragglers())} == {"s": anew, "t": other}
        (due,) = self.claim().due
        assert due == replace(anew, attempts=1)
        assert self.behind(due) == [2, 3]

    def test_unpark_with_skip_goes_on_behind_the_message(self) -> None:
        self.register()
        self.put("s", 3)
        row = self.straggle(
            "s", 2, live_after=1, attempts=4, parked=True, error="Boom: no", message_id="m", since=at(1)
        )  # fmt: skip
        assert self.do(self.store.unpark([row], skip=True)) == [row]
        assert self.do(self.store.stragglers()) == [Straggler("g", "s", 3, live_after=1)]
        (due,) = self.claim().due
        assert self.behind(due) == [3]

    def test_unpark_leaves_what_is_no_longer_parked_as_it_was_seen(self) -> None:
        """Somebody else was first: it is tried again already, it is parked at another message, it is through."""
        self.register()
        self.register("other")
        streams: dict[str, Any] = {
            "same": {"parked": True}, "retried": {"parked": False}, "skipped": {"parked": True, "from_seq": 3},
            "parked anew": {"parked": True, "attempts": 1},
        }  # fmt: skip
        seen = [Straggler("g", name, 2, attempts=4, parked=True, error="Boom: no") for name in (*streams, "gone")]
        now = [replace(row, **facts) for row, facts in zip(seen, streams.values(), strict=False)]
        self.do(self.store.straggle(now))
        elsewhere = self.straggle("same", 2, "other", attempts=4, parked=True)
        for skip in (False, True):
            found = self.do(self.store.unpark(seen[not skip :], skip=skip))
            assert found == ([seen[0]] if skip else [])
        left = {(row.group, row.stream): row for row in self.do(self.store.stragglers())}
        assert left.pop(("g", "same")) == Straggler("g", "same", 3)
        assert left == {(row.group, row.stream): row for row in (*now[1:], elsewhere)}

    def test_unpark_answers_by_group_and_stream(self) -> None:
        for name in ("g", "h"):
            self.register(name)
        rows = [self.straggle(stream, 1, group, parked=True) for group, stream in (("h", "a"), ("g", "b"), ("g", "a"))]
        assert self.do(self.store.unpark(rows)) == rows[::-1]
        assert self.do(self.store.unpark([])) == []

    def test_unpark_by_two_at_once_is_done_by_one_of_them(self) -> None:
        """Neither is skipped twice."""
        self.register()
        rows = [self.straggle(f"s-{number}", 1, attempts=4, parked=True) for number in range(20)]
        done = self.at_once([lambda: self.store.unpark(rows, skip=True) for _ in range(4)])
        assert sorted(row.stream for found in done for row in found) == sorted(row.stream for row in rows)
        assert {row.from_seq for row in self.do(self.store.stragglers())} == {2}

    # -- in somebody's hand, outside of rounds

    def lost(self, row: Straggler) -> bool:
        try:
            self.do(self.store.hold(row))
        except Fenced:
            return True
        return False

    def test_hold_is_for_the_holder_alone(self) -> None:
        """Of this stream, for this group."""
        self.register()
        self.register("other")
        row = self.straggle("s", holder="me")
        self.straggle("t", holder="you")
        assert not self.lost(row)
        assert not self.lost(replace(row, from_seq=9, attempts=9, retry_at=at(9)))
        for stranger in (
            replace(row, holder="you"), replace(row, holder=""), replace(row, stream="t"), replace(row, stream="u"),
            replace(row, group="other"),
        ):  # fmt: skip
            assert self.lost(stranger)

    def test_hold_is_lost_to_whoever_claims_the_stream(self) -> None:
        """Not before its time is up, and for good: giving it back does not return it."""
        self.register()
        self.put("s", 1)
        row = self.straggle("s", holder="me", attempts=1, running=True, retry_at=at(10))
        assert self.claim(now=9).due == ()
        assert not self.lost(row)
        claim = self.claim(now=50)
        assert claim.due == (replace(row, attempts=2, holder=""),)
        assert self.lost(row)
        self.do(self.store.release(claim))
        assert self.straggler("s") == replace(row, holder="")
        assert self.lost(row)

    def test_hold_is_lost_in_a_reset_and_when_the_stream_waits_no_more(self) -> None:
        self.register()
        self.put("s", 1)
        row = self.straggle("s", holder="me")
        self.do(self.store.reset("g"))
        assert self.lost(row)
        row = self.straggle("s", holder="me")
        self.do(self.store.catch_up("g", ["s"]))
        assert self.lost(row)
        self.straggle("s")
        assert self.lost(row)

    def test_hold_outlasts_a_stop_and_a_start(self) -> None:
        """A stream in somebody's hand has not failed."""
        self.register()
        row = self.straggle("s", holder="me", attempts=1, running=True, retry_at=at(10))
        self.do(self.store.stop("g", "a pause"))
        self.do(self.store.start("g", at(1)))
        assert not self.lost(row)
        assert self.straggler("s") == row

    # -- when they are due

    def test_claim_brings_the_stragglers_that_are_due_along(self) -> None:
        """G123. Not those that are not due yet, nor those that are parked, nor those of another group."""
        self.register()
        self.register("other")
        rows = {"due": at(0), "overdue": at(-5), "at once": None, "later": at(0) + timedelta(microseconds=1)}
        for stream, retry_at in rows.items():
            self.put(stream, 1)
            self.straggle(stream, retry_at=retry_at)
        self.put("parked", 1)
        self.straggle("parked", parked=True)
        self.put("theirs", 1)
        self.straggle("theirs", group="other")
        assert self.due(self.claim(now=0)).keys() == {"due", "overdue", "at once"}

    def test_claim_leases_a_shard_for_a_straggler_alone(self) -> None:
        """Nothing else is new in it. Before it is due, there is nothing to do."""
        self.register()
        self.put("s", 1)
        self.work_off()
        self.straggle("s", retry_at=at(10))
        assert self.claim(now=9).leases == ()
        claim = self.claim(now=10)
        assert {lease.shard for lease in claim.leases} == {self.shard("s")}
        assert self.due(claim).keys() == {"s"}

    def test_claim_counts_the_attempt_before_it_is_made(self) -> None:
        """It is on record, so that a handler which kills its process is found out."""
        self.register()
        self.put("s", 1)
        row = self.straggle("s", attempts=2, error="Boom: no", since=at(0))
        (due,) = self.claim().due
        assert due == replace(row, attempts=3)
        assert self.straggler("s") == replace(row, attempts=3, running=True)

    def test_claim_tells_whether_the_attempt_before_was_ever_concluded(self) -> None:
        self.register()
        self.put("s", 1)
        self.straggle("s")
        assert [each.running for each in self.claim("a", now=0).due] == [False]
        (again,) = self.claim("b", now=30).due
        assert (again.running, again.attempts) == (True, 2)

    def test_claim_leaves_stragglers_to_whoever_holds_their_shard(self) -> None:
        self.register()
        mine, other = self.apart(2)
        for stream in (mine, other):
            self.put(stream, 1)
        self.straggle(mine)
        self.claim("a", limit=100)
        self.straggle(other)
        assert self.claim("b").due == ()
        assert not self.straggler(other).running
        assert self.straggler(other).attempts == 0

    def test_claim_takes_one_straggler_of_a_shard_that_is_handled_with_care(self) -> None:
        """Only so can it be known who killed the process. The others have their turn."""
        self.register()
        streams = self.together(3)
        for stream in streams:
            self.put(stream, 1)
            self.straggle(stream)
        self.claim("a", now=0)
        seen: set[str] = set()
        for _ in streams:
            claim = self.claim("b", now=30)
            (due,) = claim.due
            assert {row.stream: row.attempts for row in self.do(self.store.stragglers("g"))}[due.stream] == due.attempts
            seen.add(due.stream)
            self.do(self.store.catch_up("g", [due.stream]))
            self.settle(claim, careful=5)
        assert seen == set(streams)
        assert self.do(self.store.stragglers()) == []

    # -- what they wait for

    def test_straggling_is_what_follows_in_the_stream(self) -> None:
        self.register()
        self.put("s", 4)
        self.put("t", 4)
        assert self.behind(Straggler("g", "s", 1)) == [1, 2, 3, 4]
        assert self.behind(Straggler("g", "s", 3)) == [3, 4]
        assert self.behind(Straggler("g", "s", 5)) == []
        assert self.behind(Straggler("g", "s", 2), limit=2) == [2, 3]

    def test_straggling_stops_at_what_was_looked_through_in_this_round(self) -> None:
        """What lies beyond belongs to a later round: the shard's checkpoint and the stream must not part."""
        self.register()
        a, b = self.together(2)
        stored = [self.put(stream, 1)[0] for stream in (a, b, a, b, a)]
        row = Straggler("g", a, 1)
        for upto, expected in ((stored[4], [1, 2, 3]), (stored[3], [1, 2]), (stored[2], [1, 2]), (stored[1], [1])):
            assert self.behind(row, upto.position) == expected
        assert self.behind(row, 0) == []

    def test_straggling_leaves_out_types_that_are_not_wanted(self) -> None:
        self.register()
        for name in ("thing.done", "unwanted", "thing.done"):
            self.put("s", 1, type=name)
        assert self.behind(Straggler("g", "s", 1)) == [1, 3]
        assert self.behind(Straggler("g", "s", 1), limit=1, types={"unwanted"}) == [2]
        assert self.behind(Straggler("g", "s", 1), types=()) == []

    def test_straggling_leaves_out_what_was_settled_when_it_was_stored(self) -> None:
        self.register()
        self.put("s", 1)
        self.put("s", 1, settled_by=("g",))
        self.put("s", 1, settled_by=("other",))
        row = Straggler("g", "s", 1)
        assert self.behind(row) == [1, 3]
        self.do(self.store.reset("g"))
        self.put("s", 1, settled_by=("g",))
        assert self.behind(row) == [1, 2, 3]

    def test_straggling_never_goes_behind_the_start_of_its_group(self) -> None:
        """G131. Not after a reset either, when it starts over."""
        self.register()
        self.put("s", 2)
        self.register("late", "now")
        self.put("s", 2)
        self.straggle("s", from_seq=4, group="late")
        self.do(self.store.reset("late"))
        (due,) = self.claim(group="late").due
        assert self.behind(due) == [3, 4]

    def test_straggling_answers_for_each_in_the_order_asked(self) -> None:
        """Each in its own shard, to its own limit."""
        self.register()
        a, b = self.apart(2)
        self.put(a, 3)
        self.put(b, 3)
        rows = [Straggler("g", b, 2), Straggler("g", a, 1), Straggler("g", b, 9)]
        upto = {self.shard(a): self.history(a)[0].position, self.shard(b): self.history(b)[-1].position}
        found = self.do(self.store.straggling(rows, TYPES, upto, 2))
        assert [[(r.stream, r.seq) for r in each] for each in found] == [[(b, 2), (b, 3)], [(a, 1)], []]
        assert self.do(self.store.straggling([], TYPES, {}, 2)) == []

    def test_straggling_after_a_reset_starts_over_and_knows_where_it_is_live(self) -> None:
        """F110. `live_after` tells the replay from what was never handled, message by message."""
        self.register()
        self.put("s", 4)
        self.straggle("s", from_seq=3, attempts=2)
        self.do(self.store.reset("g"))
        (due,) = self.claim().due
        (found,) = self.do(self.store.straggling([due], TYPES, {self.shard("s"): self.history("s")[-1].position}, 9))
        assert [(r.seq, r.position <= due.live_after) for r in found] == [(1, True), (2, True), (3, False), (4, False)]
