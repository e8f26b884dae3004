"""Rounds: giving shards back, with or without anything done."""

from __future__ import annotations

from sourced.errors import Fenced
from sourced.store import Claim, Lease, Move
from sourced.testing.conformance.bench import TYPES, Bench, at, refused, shards_of


class Settling(Bench):
    # -- fence

    def test_fence_lets_a_claim_through_that_nobody_has_taken_over(self) -> None:
        """Not even when its time is up."""
        self.register()
        self.put("s", 1)
        claim = self.claim("a", now=0)
        self.do(self.store.fence(claim))
        self.do(self.store.stop("g", "ends when it ends"))
        self.do(self.store.fence(claim))

    def test_fence_stops_a_claim_that_lost_even_one_lease(self) -> None:
        self.register()
        a, b = self.apart(2)
        self.put(a, 1)
        self.put(b, 1)
        claim = self.claim("a", now=0)
        (taken,) = self.claim("b", now=30, limit=1).leases
        (left,) = (lease for lease in claim.leases if lease.shard != taken.shard)
        with refused(Fenced) as caught:
            self.do(self.store.fence(claim))
        assert caught.error.group == "g"
        self.do(self.store.fence(Claim(claim.group, (left,))))

    def test_fence_stops_a_claim_of_before_a_reset(self) -> None:
        self.register()
        self.put("s", 1)
        claim = self.claim()
        self.do(self.store.reset("g"))
        with refused(Fenced):
            self.do(self.store.fence(claim))

    def test_fence_stops_a_claim_of_before_a_reset_that_held_nothing(self) -> None:
        self.register()
        claim = self.claim()
        self.do(self.store.fence(claim))
        self.do(self.store.reset("g"))
        with refused(Fenced):
            self.do(self.store.fence(claim))

    def test_fence_of_another_group_is_another_matter(self) -> None:
        self.register()
        self.register("other")
        self.put("s", 1)
        claim = self.claim("a")
        self.claim("b", group="other")
        self.do(self.store.reset("other"))
        self.do(self.store.fence(claim))

    # -- settle

    def test_settle_moves_the_checkpoint_and_what_was_handled(self) -> None:
        self.register()
        first, second = self.put("s", 2)
        (lease,) = self.claim().leases
        self.do(self.store.settle("g", [Move(lease.shard, second.position, first.position)], release=True))
        (each,) = self.do(self.store.progress("g"))
        assert (each.checkpoint, each.high, each.pending) == (second.position, first.position, 0)

    def test_settle_never_moves_anything_backwards(self) -> None:
        """E103."""
        self.register()
        first, second = self.put("s", 2)
        (lease,) = self.claim().leases
        for position in (second.position, first.position, 0):
            self.do(self.store.settle("g", [Move(lease.shard, position, position)], release=False))
            (each,) = self.do(self.store.progress("g"))
            assert (each.checkpoint, each.high) == (second.position, second.position)

    def test_settle_with_release_frees_the_shards_for_anybody_at_once(self) -> None:
        """J176."""
        self.register()
        self.put("s", 2)
        claim = self.claim("a")
        self.settle(claim, self.pending(claim, limit=1), release=True)
        assert len(self.claim("b").leases) == 1

    def test_settle_without_release_keeps_the_lease_for_the_next_round(self) -> None:
        """The same token goes on being good."""
        self.register()
        self.put("s", 2)
        claim = self.claim("a")
        first = self.pending(claim, limit=1)
        self.settle(claim, first, release=False)
        assert self.claim("b").leases == ()
        (lease,) = claim.leases
        moved = Claim(claim.group, (Lease(lease.shard, lease.token, first.scanned[lease.shard], lease.high),))
        second = self.pending(moved)
        self.settle(moved, second)
        assert [r.seq for r in (*first.records, *second.records)] == [1, 2]

    def test_settle_touches_only_the_shards_it_names_of_the_group_it_names(self) -> None:
        self.register()
        self.register("other")
        a, b = self.apart(2)
        self.put(a, 1)
        self.put(b, 1)
        claim = self.claim("w")
        lease = next(lease for lease in claim.leases if lease.shard == self.shard(a))
        elsewhere = self.do(self.store.progress("other"))
        pending = self.do(self.store.pending("g", [lease], TYPES, 10))
        self.settle(Claim(claim.group, (lease,)), pending)
        assert {each.shard: each.pending for each in self.do(self.store.progress("g"))} == {
            self.shard(a): 0, self.shard(b): 1
        }  # fmt: skip
        assert self.do(self.store.progress("other")) == elsewhere
        assert self.claim("x").leases == ()  # b is still w's, and a is done

    # -- release

    def test_release_gives_everything_back_as_it_was(self) -> None:
        self.register()
        self.put("s", 2)
        self.straggle("s", attempts=1, retry_at=at(0))
        before = self.everything()
        first = self.claim("a")
        self.do(self.store.release(first))
        assert self.everything() == before
        second = self.claim("b")
        assert [(each.checkpoint, each.high, each.careful) for each in second.leases] == [(0, 0, 0)]
        assert second.due == first.due

    def test_release_of_a_part_of_a_claim_keeps_the_rest(self) -> None:
        self.register()
        mine, theirs = self.apart(2)
        for stream in (mine, theirs):
            self.put(stream, 1)
            self.straggle(stream, attempts=1)
        claim = self.claim("a")
        leases = tuple(lease for lease in claim.leases if lease.shard == self.shard(theirs))
        due = tuple(each for each in claim.due if each.stream == theirs)
        self.do(self.store.release(Claim(claim.group, leases, due)))
        other = self.claim("b")
        assert shards_of(other) == {self.shard(theirs)}
        assert [(each.stream, each.attempts, each.running) for each in other.due] == [(theirs, 2, False)]
        assert (self.straggler(mine).attempts, self.straggler(mine).running) == (2, True)
        self.settle(claim_of(claim, self.shard(mine)))

    def test_release_keeps_what_became_of_a_straggler_in_the_meantime(self) -> None:
        """Started anew, parked, or caught up with by a settled round: giving a claim back undoes none of it."""
        self.register()
        for stream in ("started", "parked", "done"):
            self.put(stream, 1)
            self.straggle(stream, attempts=2)
        claim = self.claim("a")
        for_good = self.straggle("parked", attempts=3, parked=True, error="Boom: no")
        afresh = self.straggle("started", attempts=0)
        self.do(self.store.catch_up("g", ["done"]))
        self.do(self.store.release(claim))
        assert sorted(self.do(self.store.stragglers("g")), key=lambda row: row.stream) == [for_good, afresh]

    def test_release_by_one_who_lost_the_lease_takes_nothing_from_the_new_owner(self) -> None:
        self.register()
        self.put("s", 2)
        self.straggle("s")
        late = self.claim("a", now=0)
        owner = self.claim("b", now=30)
        self.do(self.store.release(late))
        assert self.claim("c", now=31).leases == ()
        assert self.straggler("s").running
        self.settle(owner)

    def test_release_keeps_what_other_rounds_have_settled(self) -> None:
        self.register()
        self.put("s", 2)
        claim = self.claim("a")
        self.settle(claim, self.pending(claim, limit=1), release=False)
        self.do(self.store.release(claim))
        assert [r.seq for r in self.work_off()] == [2]


def claim_of(claim: Claim, shard: int) -> Claim:
    return Claim(claim.group, tuple(lease for lease in claim.leases if lease.shard == shard))
