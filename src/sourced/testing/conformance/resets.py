"""Resets: a group handles everything again, what it had handled before as a replay."""

from __future__ import annotations

from msgspec.structs import replace

from sourced.errors import Fenced
from sourced.store import Group
from sourced.testing.conformance.bench import Bench, at, refused


class Resets(Bench):
    def test_reset_delivers_everything_again_and_remembers_what_was_handled(self) -> None:
        """F107, F108. `high` stays, so that all of it can be told to be a replay, and what is new cannot."""
        self.register()
        stored = self.put("s", 2)
        self.work_off()
        self.do(self.store.reset("g"))
        (new,) = self.put("s", 1)
        claim = self.claim()
        (lease,) = claim.leases
        assert (lease.checkpoint, lease.high, lease.careful) == (0, stored[-1].position, 0)
        assert self.pending(claim).records == (*stored, new)

    def test_reset_goes_back_to_where_the_group_started_and_no_further(self) -> None:
        self.put("s", 2)
        self.register("g", "now")
        new = self.put("s", 2)
        self.work_off()
        self.do(self.store.reset("g"))
        assert self.work_off() == [*new]

    def test_reset_raises_the_epoch_and_notes_where_the_log_ended(self) -> None:
        self.register()
        (*_, last) = self.put("s", 2)
        self.do(self.store.reset("g"))
        assert self.group() == Group("g", epoch=1, reset_at=last.position)
        self.do(self.store.reset("g"))
        assert self.group().epoch == 2

    def test_reset_tells_how_the_group_stood(self) -> None:
        self.register()
        self.do(self.store.stop("g", "for the night", by="vera", at=at(1)))
        stood = self.group()
        assert self.do(self.store.reset("g")) == stood
        assert self.group() == replace(stood, epoch=1)

    def test_reset_fences_off_a_round_in_flight(self) -> None:
        """F116. Otherwise what it settles would be left out of the replay."""
        self.register()
        stored = self.put("s", 2)
        claim = self.claim()
        pending = self.pending(claim)
        self.do(self.store.reset("g"))
        with refused(Fenced):
            self.settle(claim, pending)
        self.do(self.store.release(claim))
        assert self.work_off(owner="another") == [*stored]

    def test_reset_takes_the_leases_and_begins_without_care(self) -> None:
        """Whoever held one has nothing to come back to, whether he died or lives: nobody waits for its end."""
        self.register()
        stored = self.put("s", 2)
        held = self.claim("a")
        self.do(self.store.reset("g"))
        (lease,) = self.claim("b").leases
        assert (lease.checkpoint, lease.careful) == (0, 0)
        assert lease.token > held.leases[0].token
        self.do(self.store.release(held))
        assert self.claim("c").leases == ()
        self.do(self.store.reset("g"))
        assert self.work_off(owner="c") == [*stored]

    def test_reset_of_a_stopped_group_leaves_it_stopped(self) -> None:
        """F115."""
        self.register()
        self.put("s", 1)
        self.work_off()
        self.do(self.store.stop("g", "for the night"))
        self.do(self.store.reset("g"))
        assert self.group().status == "stopped"
        assert self.claim().leases == ()
        self.do(self.store.start("g", at(0)))
        assert len(self.work_off()) == 1

    def test_reset_of_a_group_that_has_done_nothing_changes_nothing_it_will_see(self) -> None:
        self.register()
        stored = self.put("s", 2)
        self.do(self.store.reset("g"))
        claim = self.claim()
        assert [(lease.checkpoint, lease.high) for lease in claim.leases] == [(0, 0)]
        assert self.pending(claim).records == stored

    def test_reset_leaves_other_groups_alone(self) -> None:
        """F119."""
        for name in ("a", "b"):
            self.register(name)
        self.put("s", 2)
        self.put("t", 1)
        self.work_off("b")
        waiting = self.straggle("t", group="b", attempts=2)
        before = self.group("b"), self.do(self.store.progress("b"))
        self.do(self.store.reset("a"))
        assert (self.group("b"), self.do(self.store.progress("b"))) == before
        assert self.do(self.store.stragglers("b")) == [waiting]

    def test_reset_lets_what_waited_start_over_and_be_live_from_where_it_failed(self) -> None:
        """What had been handled is a replay, what had failed never was: parked or not, it is due at once."""
        self.register()
        stored = self.put("s", 3)
        self.put("t", 1)
        self.straggle("s", from_seq=2, attempts=4, parked=True, error="Boom: no", reason="gave up")
        self.work_off()
        self.do(self.store.reset("g"))
        (due,) = self.claim().due
        assert (due.stream, due.from_seq, due.attempts, due.parked, due.running) == ("s", 1, 1, False, False)
        assert due.live_after < stored[1].position
        assert due.live_after >= stored[0].position

    def test_reset_twice_does_not_make_a_replay_of_what_is_one_into_anything_else(self) -> None:
        self.register()
        stored = self.put("s", 3)
        self.straggle("s", from_seq=3, attempts=1)
        for _ in range(2):
            self.do(self.store.reset("g"))
            row = self.straggler("s")
            assert row.from_seq == 1
            assert stored[1].position <= row.live_after < stored[2].position
