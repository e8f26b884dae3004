"""Rounds: what there is to handle."""

from __future__ import annotations

from typing import Any

from sourced.codec import Record
from sourced.store import Claim, Lease, Pending
from sourced.testing.conformance.bench import TYPES, Bench, entry


class Rounds(Bench):
    def look(self, **options: Any) -> Pending:
        """What a claim would see, without holding on to it."""
        claim = self.claim()
        pending = self.pending(claim, **options)
        self.do(self.store.release(claim))
        return pending

    def until_done(self, limit: int) -> list[list[Record]]:
        """Round after round until there is nothing left."""
        rounds: list[list[Record]] = []
        while (claim := self.claim()).leases:
            pending = self.pending(claim, limit=limit)
            self.settle(claim, pending)
            rounds.append([*pending.records])
            assert len(rounds) < 1_000, "expected every round to come further"
        return rounds

    # -- what is wanted

    def test_pending_is_what_follows_the_checkpoint(self) -> None:
        """E83. Five messages, three a round: three, then two, in order."""
        self.register()
        stored = self.put("s", 5)
        assert self.until_done(limit=3) == [[*stored[:3]], [*stored[3:]]]

    def test_pending_holds_whole_shards_in_order_whatever_streams_they_are_made_of(self) -> None:
        self.register()
        a, b = self.together(2)
        stored = [self.put(stream, 1)[0] for stream in (a, b, a, b)]
        assert [*self.look().records] == stored
        c, d = self.apart(2)
        self.append(entry(c, 3), entry(d, 2), entry(c, 1))
        by_shard: dict[int, list[int]] = {}
        for each in self.look().records:
            by_shard.setdefault(self.shard(each.stream), []).append(each.position)
        assert all(positions == sorted(positions) for positions in by_shard.values())

    def test_pending_leaves_out_types_that_are_not_wanted_and_passes_them_by(self) -> None:
        """E81, E83. When a wanted one follows in the same stream, it is there."""
        self.register()
        self.put("s", 2, type="unwanted")
        assert self.until_done(limit=10) == [[]]
        assert self.do(self.store.progress("g"))[0].high <= self.do(self.store.extent())[1]
        self.put("s", 1, type="unwanted")
        (wanted,) = self.put("s", 1)
        self.put("s", 1, type="unwanted")
        assert self.until_done(limit=10) == [[wanted]]

    def test_pending_takes_any_collection_of_types(self) -> None:
        self.register()
        a, b, _ = (self.put("s", 1, type=name)[0] for name in ("a", "b", "c"))
        for types in (["a", "b"], ("a", "b"), {"a", "b"}, frozenset("ab"), dict.fromkeys("ab")):
            assert self.look(types=types).records == (a, b)
        assert self.look(types=()).records == ()

    def test_pending_of_no_leases_is_nothing(self) -> None:
        self.register()
        self.put("s", 1)
        assert self.do(self.store.pending("g", [], TYPES, 10)) == Pending((), {})

    def test_pending_looks_after_the_checkpoint_of_the_lease_it_is_given(self) -> None:
        self.register()
        first, second = self.put("s", 2)
        (lease,) = self.claim().leases
        ahead = Lease(lease.shard, lease.token, first.position, first.position)
        assert self.do(self.store.pending("g", [ahead], TYPES, 10)).records == (second,)

    # -- how far it has looked

    def test_pending_says_how_far_it_has_looked_and_overlooks_nothing(self) -> None:
        """Whatever the limit: all that is wanted up to there is in it, and nothing beyond."""
        self.register()
        wanted = {"thing.done"}
        for number in range(30):
            self.put(f"s-{number % 7}", 1, type="thing.done" if number % 3 else "unwanted")
        log = self.do(self.store.read_all())
        claim = self.claim()
        for limit in (1, 2, 5, 20, 100):
            pending = self.pending(claim, limit=limit)
            assert pending.scanned.keys() == {lease.shard for lease in claim.leases}
            upto = [r for r in log if r.position <= pending.scanned[self.shard(r.stream)] and r.type in wanted]
            assert sorted(pending.records, key=lambda r: r.position) == upto, limit
        assert self.pending(claim).scanned == {self.shard(r.stream): r.position for r in log}

    def test_pending_comes_to_the_end_whatever_the_limit(self) -> None:
        self.register()
        for number in range(40):
            self.put(f"s-{number % 7}", 1, type="thing.done" if number % 2 else "unwanted")
        wanted = [r for r in self.do(self.store.read_all()) if r.type == "thing.done"]
        for limit in (1, 3, 50):
            self.do(self.store.reset("g"))
            seen = [r for each in self.until_done(limit) for r in each]
            assert sorted(seen, key=lambda r: r.position) == wanted

    def test_pending_of_a_shard_with_nothing_new_has_looked_to_where_it_was(self) -> None:
        """A shard is leased for its stragglers alone, and does not go back to its beginning for that."""
        self.register()
        (*_, last) = self.put("s", 2)
        self.work_off()
        self.straggle("s", from_seq=2)
        pending = self.look()
        assert pending.records == ()
        assert pending.scanned == {self.shard("s"): last.position}

    # -- the limit

    def test_pending_shares_the_limit_out_so_that_every_shard_gets_something(self) -> None:
        """A backlog of thousands in one shard keeps nobody else waiting."""
        self.register()
        streams = self.apart(3)
        self.put(streams[0], 50)
        for stream in streams[1:]:
            self.put(stream, 2)
        records = self.look(limit=6).records
        assert len(records) <= 6
        assert {stream: len([r for r in records if r.stream == stream]) for stream in streams[1:]} == {
            streams[1]: 2, streams[2]: 2
        }  # fmt: skip
        assert {r.stream for r in self.look(limit=3).records} == set(streams)

    def test_pending_is_one_message_of_a_shard_that_is_handled_with_care(self) -> None:
        self.register()
        careful, other = self.apart(2)
        stored = self.put(careful, 3)
        self.settle(self.claim(), careful=2)
        self.put(other, 3)
        records = self.look().records
        assert [r for r in records if r.stream == careful] == [stored[0]]
        assert len([r for r in records if r.stream == other]) == 3

    # -- what waits elsewhere

    def test_pending_leaves_out_streams_that_wait_for_themselves(self) -> None:
        """Due, not yet due, or parked; and only those of the group."""
        self.register()
        self.register("other")
        streams = self.together(5)
        for stream in streams:
            self.put(stream, 2)
        self.straggle(streams[0])
        self.straggle(streams[1], from_seq=2)
        self.straggle(streams[2], parked=True)
        self.straggle(streams[3], group="other")
        pending = self.look()
        assert {r.stream for r in pending.records} == {streams[3], streams[4]}
        assert pending.scanned == {0: self.do(self.store.extent())[1]}

    def test_pending_holds_a_stream_again_once_it_has_caught_up(self) -> None:
        self.register()
        self.put("s", 1)
        self.straggle("s")
        assert self.look().records == ()
        self.do(self.store.catch_up("g", ["s"]))
        assert len(self.look().records) == 1

    def test_pending_leaves_out_what_the_group_had_settled_when_it_was_stored(self) -> None:
        """K182, K189. That message and no other: neither the ones queued before it nor the ones after."""
        self.register()
        self.register("other")
        queued = self.put("s", 1)
        settled = self.put("s", 2, settled_by=("g", "another"))
        after = self.put("s", 1, settled_by=("another",))
        assert self.look().records == (*queued, *after)
        assert self.work_off("other") == [*queued, *settled, *after]

    def test_pending_holds_what_was_settled_at_once_when_a_reset_wants_it_again(self) -> None:
        self.register()
        before = self.put("s", 2, settled_by=("g",))
        assert self.look().records == ()
        self.do(self.store.reset("g"))
        self.put("s", 1, settled_by=("g",))
        assert self.look().records == before

    # -- the end of it

    def test_pending_after_every_round_together_is_everything_once_and_in_order(self) -> None:
        """E79. Several workers, a few messages at a time."""
        self.register()
        for number in range(220):
            self.put("a" if number % 11 < 5 else "b", 1)
        seen: dict[str, list[int]] = {}
        while True:
            claims = [claim for owner in "xyz" if (claim := self.claim(owner, limit=7)).leases]
            if not claims:
                break
            for claim in reversed(claims):
                self.take(claim, seen)
        assert seen == {stream: list(range(1, count + 1)) for stream, count in (("a", 100), ("b", 120))}

    def take(self, claim: Claim, seen: dict[str, list[int]]) -> None:
        pending = self.pending(claim, limit=7)
        self.settle(claim, pending)
        for each in pending.records:
            seen.setdefault(each.stream, []).append(each.seq)
