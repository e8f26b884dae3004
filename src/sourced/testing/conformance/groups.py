"""Groups: who reads the log, from where, how far, and what happens when they are stopped and started."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from sourced.errors import Fenced
from sourced.store import COUNTED, RARE, Group, Move
from sourced.testing.conformance.bench import TYPES, Bench, at, refused


class Groups(Bench):
    # -- register

    def test_register_makes_a_group_that_starts_at_the_beginning(self) -> None:
        self.put("s", 2)
        assert self.register("g") == Group("g")
        assert self.do(self.store.groups()) == [Group("g")]
        assert len(self.work_off()) == 2

    def test_register_now_pins_the_end_of_the_log(self) -> None:
        """G131. What is appended later is seen, however much later that is looked at."""
        (*_, last) = self.put("s", 2)
        assert self.register("g", "now") == Group("g", start=last.position)
        assert self.claim().leases == ()
        (new,) = self.put("s", 1)
        assert self.work_off() == [new]

    def test_register_at_a_time_starts_with_what_was_made_after_it(self) -> None:
        """G131."""
        for seconds in (1, 2, 3):
            self.put("s", 1, created_at=at(seconds))
        for start, seen in ((at(0), 3), (at(2) - timedelta(microseconds=1), 2), (at(2), 1), (at(3), 0), (at(9), 0)):
            name = f"from {start.isoformat()}"
            self.register(name, start)
            assert len(self.work_off(name)) == seen, name

    def test_register_of_a_group_that_is_there_leaves_it_as_it_is(self) -> None:
        self.put("s", 2)
        self.register("g", "now")
        self.do(self.store.stop("g", "a reason", "an error"))
        self.do(self.store.reset("g"))
        known = self.group()
        assert self.register("g", "beginning") == known
        assert self.do(self.store.groups()) == [known]

    def test_groups_stand_for_themselves(self) -> None:
        """E80. Each has a checkpoint of its own."""
        assert self.do(self.store.groups()) == []
        self.register("a")
        self.register("b")
        stored = self.put("s", 2)
        assert self.work_off("a") == [*stored]
        assert self.work_off("a") == []
        assert self.work_off("b") == [*stored]
        assert {group.name for group in self.do(self.store.groups())} == {"a", "b"}

    # -- progress

    def test_progress_tells_of_every_shard_that_holds_messages(self) -> None:
        self.register()
        assert self.do(self.store.progress("g")) == []
        a, b = self.apart(2)
        self.put(a, 2)
        self.put(b, 1)
        found = {each.shard: each for each in self.do(self.store.progress("g"))}
        assert {shard: (each.checkpoint, each.high, each.pending) for shard, each in found.items()} == {
            self.shard(a): (0, 0, 2), self.shard(b): (0, 0, 1)
        }  # fmt: skip

    def test_progress_tells_since_when_and_in_whose_hands(self) -> None:
        """G133. The first message it has not looked at, and the lease on it."""
        self.register()
        for number in (3, 1, 2):
            self.put("s", 1, created_at=at(number))

        def only() -> tuple[object, ...]:
            (each,) = self.do(self.store.progress("g"))
            return each.oldest, each.owner, each.until

        assert only() == (at(3), "", None)
        claim = self.claim("somebody", now=5)
        assert only() == (at(3), "somebody", at(35))
        self.settle(claim, self.pending(claim, limit=1))
        assert only() == (at(1), "", None)
        self.work_off()
        assert only() == (None, "", None)

    def test_progress_moves_with_what_is_settled(self) -> None:
        """Where no types are given, all count."""
        self.register()
        first, second, _ = self.put("s", 2) + self.put("s", 1, type="unwanted")
        for expected, pending in ((first, 2), (second, 1)):
            self.work_off(limit=1)
            (each,) = self.do(self.store.progress("g"))
            assert (each.checkpoint, each.high, each.pending) == (expected.position, expected.position, pending)

    def test_progress_tells_where_a_round_has_died(self) -> None:
        self.register()
        self.put("s", 3)

        def careful() -> int:
            return self.do(self.store.progress("g"))[0].careful

        self.claim("a", now=0, limit=3)
        assert careful() == 0  # nobody knows yet
        claim = self.claim("b", now=31)
        assert careful() == claim.leases[0].careful > 0
        self.settle(claim, self.pending(claim))
        assert careful() == 0

    def test_progress_starts_where_the_group_does(self) -> None:
        (*_, last) = self.put("s", 3)
        self.register("g", "now")
        self.put("s", 1)
        (each,) = self.do(self.store.progress("g"))
        assert (each.checkpoint, each.high, each.pending) == (last.position, 0, 1)

    def test_progress_counts_what_a_group_has_yet_to_handle(self) -> None:
        """Not what it does not want, nor what it had settled, unless a reset wants that again."""
        self.register()

        def left(*types: str) -> tuple[object, ...]:
            (each,) = self.do(self.store.progress("g", types))
            return each.pending, each.oldest, each.estimated

        assert self.do(self.store.progress("g", TYPES)) == []
        self.put("s", 1, settled_by=("g", "other"), created_at=at(1))
        self.put("s", 2, type="unwanted", created_at=at(2))
        assert left(*TYPES) == (0, None, False)
        self.put("s", 2, settled_by=("gg", "other"), created_at=at(3))
        assert left(*TYPES) == (2, at(3), False)
        assert left(*TYPES, "unwanted") == (4, at(2), False)
        self.do(self.store.reset("g"))
        assert left(*TYPES) == (3, at(1), False)
        self.put("s", 1, settled_by=("g",))
        assert left(*TYPES) == (3, at(1), False)

    def left(self, *streams: str, group: str = "g") -> list[tuple[int, bool]]:
        found = {each.shard: each for each in self.do(self.store.progress(group, TYPES))}
        return [(found[shard].pending, found[shard].estimated) for shard in map(self.shard, streams)]

    def test_progress_says_about_how_much_is_pending_when_it_is_very_much(self) -> None:
        """Messages that are like the first and the last of them are estimated well, others less so."""
        self.register()
        a, b = self.apart(2)
        self.put(a, COUNTED)
        assert self.left(a) == [(COUNTED, False)]
        self.put(b, RARE - COUNTED)
        assert self.left(a, b) == [(COUNTED, False), (RARE - COUNTED, False)]
        self.put(b, 1)
        assert self.left(a, b) == [(COUNTED, False), (RARE - COUNTED + 1, True)]

    def test_progress_counts_what_is_rare_wherever_it_is(self) -> None:
        """In the middle of very much that the group does not want, too, and only what comes after its checkpoint."""
        self.register()
        a, b = self.apart(2)
        self.put(a, COUNTED, type="unwanted")
        self.put(b, 3)
        self.register("h", "now")
        self.put(a, 1, created_at=at(7))
        self.put(a, COUNTED, type="unwanted")
        assert self.left(a, b) == [(1, False), (3, False)]
        assert self.left(a, b, group="h") == [(1, False), (0, False)]
        assert at(7) in {each.oldest for each in self.do(self.store.progress("g", TYPES))}

    def test_progress_finds_what_comes_after_very_much_that_is_settled(self) -> None:
        self.register()
        self.put("s", 2 * RARE, settled_by=("g",))
        (each,) = self.do(self.store.progress("g", TYPES))
        assert (each.pending, each.oldest, each.estimated) == (0, None, True)
        self.put("s", 1, created_at=at(7))
        (each,) = self.do(self.store.progress("g", TYPES))
        assert each.pending > 0
        assert (each.oldest, each.estimated) == (at(7), True)

    # -- reinstate

    def test_reinstate_makes_a_group_that_stands_where_it_stood_elsewhere(self) -> None:
        """Shard by shard; where nothing is said of a shard, at its start. What was handled there is a replay."""
        a, b, c = self.apart(3)
        first, second, third = self.put(a, 3)
        (other,) = self.put(b, 1)
        (early,) = self.put(c, 1)
        group = Group("g", "active", start=early.position, epoch=3, reset_at=third.position)
        self.do(self.store.reinstate(replace(group, start=0), [Move(self.shard(a), first.position, second.position)]))
        assert self.group() == replace(group, start=0)
        claim = self.claim()
        assert {lease.shard: (lease.checkpoint, lease.high) for lease in claim.leases} == {
            self.shard(a): (first.position, second.position), self.shard(b): (0, 0), self.shard(c): (0, 0)
        }  # fmt: skip
        assert set(self.pending(claim).records) == {second, third, other, early}
        self.do(self.store.reinstate(group, [Move(self.shard(a), third.position, 0, careful=2)]))
        assert {each.shard: each.careful for each in self.do(self.store.progress("g"))}[self.shard(a)] == 2
        self.do(self.store.reinstate(group, []))
        assert not any(each.careful for each in self.do(self.store.progress("g")))
        assert {each.checkpoint for each in self.do(self.store.progress("g"))} == {early.position}
        assert self.register("g", "beginning") == group

    def test_reinstate_takes_the_place_of_what_was_known_and_fences_off_who_is_at_work(self) -> None:
        self.register()
        self.register("other")
        stored = self.put("s", 3)
        waiting = self.straggle("t", parked=True)
        self.work_off(limit=2)
        self.work_off("other", limit=1)
        held = self.claim("somebody")
        self.do(self.store.reinstate(Group("g", "active"), [Move(self.shard("s"), 0, stored[0].position)]))
        with refused(Fenced):
            self.do(self.store.fence(held))
        (lease,) = self.claim("another").leases
        assert (lease.checkpoint, lease.high, lease.careful) == (0, stored[0].position, 0)
        assert self.do(self.store.stragglers()) == [waiting]
        (theirs,) = self.do(self.store.progress("other"))
        assert theirs.checkpoint == stored[0].position

    def test_reinstate_of_a_stopped_group_leaves_it_stopped(self) -> None:
        self.put("s", 1)
        stopped = Group("g", "stopped", reason="moving", error="Boom: no", stopped_by="vera", stopped_at=at(3))
        self.do(self.store.reinstate(stopped, []))
        assert self.group() == stopped
        assert self.claim().leases == ()
        self.do(self.store.start("g", at(4)))
        assert len(self.work_off()) == 1

    # -- stop and start

    def test_stop_hands_out_nothing_more_and_says_why(self) -> None:
        """G120. Neither messages nor stragglers."""
        self.register()
        self.put("s", 1)
        self.put("t", 1)
        self.straggle("t")
        self.do(self.store.stop("g", "for the night", "Boom: no"))
        assert self.group() == Group("g", "stopped", reason="for the night", error="Boom: no")
        claim = self.claim()
        assert (claim.group.status, claim.leases, claim.due) == ("stopped", (), ())
        assert not self.straggler("t").running

    def test_stop_lets_a_round_in_flight_come_to_its_end(self) -> None:
        self.register()
        self.put("s", 2)
        claim = self.claim()
        pending = self.pending(claim)
        self.do(self.store.stop("g", "for the night"))
        self.settle(claim, pending)
        (each,) = self.do(self.store.progress("g"))
        assert each.pending == 0

    def test_stop_leaves_other_groups_alone(self) -> None:
        self.register("a")
        self.register("b")
        self.put("s", 1)
        self.do(self.store.stop("a", ""))
        assert self.group("b") == Group("b")
        assert len(self.work_off("b")) == 1

    def test_stop_notes_who_did_it_and_when_and_start_forgets_it(self) -> None:
        self.register()
        stopped = Group("g", "stopped", reason="for the night", stopped_by="vera@here", stopped_at=at(1.000001))
        assert self.do(self.store.stop("g", "for the night", by="vera@here", at=at(1.000001))) == Group("g")
        assert self.group() == self.claim().group == stopped
        assert self.do(self.store.start("g", at(2))) == stopped
        assert self.group() == Group("g")

    def test_stop_of_a_group_that_is_stopped_leaves_it_as_it_is(self) -> None:
        """Two who stop it at once, or a person and its error policy: the first reason stays."""
        self.register()
        self.do(self.store.stop("g", "first", "Boom: no", by="vera", at=at(1)))
        stopped = self.group()
        assert self.do(self.store.stop("g", "second", by="mallory", at=at(2))) == stopped
        assert self.group() == stopped

    def test_start_of_a_group_that_runs_tells_so(self) -> None:
        self.register()
        assert self.do(self.store.start("g", at(0))) == Group("g")
        assert self.group() == Group("g")

    def test_start_goes_on_where_it_was(self) -> None:
        """G120. Reason and error are cleared."""
        self.register()
        self.put("s", 3)
        self.work_off(limit=2)
        self.do(self.store.stop("g", "for the night", "Boom: no"))
        stood = self.group()
        assert self.do(self.store.start("g", at(0))) == stood
        assert self.group() == Group("g")
        assert [r.seq for r in self.work_off()] == [3]

    def test_start_makes_what_failed_due_at_once_counting_anew(self) -> None:
        """G120. Whatever was parked goes on waiting for somebody to look at it, and other groups are not concerned."""
        self.register()
        self.register("other")
        self.put("failed", 1)
        self.put("parked", 1)
        self.straggle("failed", attempts=3, retry_at=at(3600), running=True, error="Boom: no")
        parked = self.straggle("parked", attempts=4, parked=True, error="Boom: no")
        elsewhere = self.straggle("failed", group="other", attempts=3, retry_at=at(3600))
        assert self.claim(now=1).due == ()
        self.do(self.store.stop("g", "for the night"))
        self.do(self.store.start("g", at(60)))
        (due,) = self.claim(now=60).due
        assert (due.stream, due.attempts, due.running, due.error) == ("failed", 1, False, "")
        assert self.straggler("parked") == parked
        assert self.straggler("failed", "other") == elsewhere
