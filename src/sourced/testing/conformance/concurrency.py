"""Many at once: threads, or tasks of one event loop, each in a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate, Fenced
from sourced.ops import Op, savepoint
from sourced.store import Claim, Entry, Move
from sourced.testing.conformance.bench import TYPES, Bench, at, entry, kept, record, scheduled


class Concurrency(Bench):
    def test_append_by_many_at_once_to_one_stream_loses_nobody(self) -> None:
        """D65."""
        outcomes = self.at_once([lambda: self.store.append([entry("s", 2)])] * 20)
        taken = [[r.seq for r in kept(outcome)] for (outcome,) in outcomes]
        assert sorted(taken) == [[seq, seq + 1] for seq in range(1, 41, 2)]
        assert [r.seq for r in self.history("s")] == list(range(1, 41))

    def test_append_at_one_place_by_many_at_once_lets_one_through(self) -> None:
        self.put("s", 1)
        outcomes = self.at_once([lambda: self.store.append([entry("s", 1, expected_seq=1)])] * 8)
        assert sorted(type(outcome).__name__ for (outcome,) in outcomes) == ["Conflict"] * 7 + ["tuple"]
        assert all(outcome.actual == 2 for (outcome,) in outcomes if isinstance(outcome, Conflict))
        assert len(self.history("s")) == 2

    def test_append_of_one_id_by_many_at_once_stores_it_once(self) -> None:
        """D69. In different streams, too."""
        known = record("s").id
        works = [self.appending(Entry(f"s-{n}", (record(f"s-{n}", id=known), record(f"s-{n}")))) for n in range(8)]
        outcomes = self.at_once(works)
        (winner,) = (outcome for (outcome,) in outcomes if isinstance(outcome, tuple))
        assert all(outcome.records == winner[:1] for (outcome,) in outcomes if isinstance(outcome, Duplicate))
        assert self.do(self.store.read_all()) == [*winner]

    def appending(self, *entries: Entry) -> Callable[[], Op[list[Any]]]:
        return lambda: self.store.append(entries)

    def test_append_of_several_streams_in_any_order_by_many_at_once_comes_to_an_end(self) -> None:
        """Those who need the same two shards in the opposite order do not wait for each other for ever."""
        a, b = self.apart(2)
        works = [self.appending(*(entry(stream, 1) for stream in ((a, b) if n % 2 else (b, a)))) for n in range(16)]
        self.at_once(works)
        assert [r.seq for stream in (a, b) for r in self.history(stream)] == [*range(1, 17)] * 2

    def test_register_by_many_at_once_makes_one_group(self) -> None:
        self.put("s", 1)
        groups = self.at_once([lambda: self.store.register("g", "now")] * 8)
        assert groups == [self.group()] * 8
        assert len(self.do(self.store.groups())) == 1

    def test_claim_by_many_at_once_gives_every_shard_to_one_of_them(self) -> None:
        """E78."""
        self.register()
        streams = self.apart(6)
        for stream in streams:
            self.put(stream, 1)
        claims = self.at_once([self.claiming(f"w-{number}", limit=2) for number in range(8)])
        shards = [lease.shard for claim in claims for lease in claim.leases]
        assert sorted(shards) == sorted(self.shard(stream) for stream in streams)

    def claiming(self, owner: str, limit: int, now: float = 0) -> Callable[[], Op[Claim]]:
        return lambda: self.store.claim("g", owner, now=at(now), until=at(now + 30), limit=limit)

    def test_promote_by_many_at_once_moves_every_message_once(self) -> None:
        """I150, I152. In the order of their streams; who could not promote because others were at it comes again."""
        rows = [scheduled(f"s-{number % 3}", number % 4) for number in range(30)]
        self.do(self.store.schedule(rows))
        promoted = self.at_once([lambda: self.store.promote(at(9), 10)] * 6)
        while left := self.do(self.store.promote(at(9), 10)):
            promoted.append(left)
        assert sorted(r.id for each in promoted for r in each) == sorted(each.record.id for each in rows)
        in_line = [each.record for each in sorted(rows, key=lambda each: each.at)]
        for stream in ("s-0", "s-1", "s-2"):
            stored = [(r.seq, r.id) for r in self.history(stream)]
            assert stored == [*enumerate((r.id for r in in_line if r.stream == stream), 1)]

    def test_settle_by_an_old_owner_and_a_new_one_at_once_counts_once(self) -> None:
        """Whoever comes first: what the old one has to say is refused, and the new one is not disturbed."""
        self.register()
        stored = self.put("s", 4)
        old = self.claim("old", now=0)
        new = self.claim("new", now=30)
        outcomes = self.at_once([self.settling(old, stored[3]), self.settling(new, stored[1])] * 3)
        assert outcomes == [False, True] * 3
        (each,) = self.do(self.store.progress("g"))
        assert each.checkpoint == stored[1].position

    def settling(self, claim: Claim, upto: Record) -> Callable[[], Op[bool]]:
        def op() -> Op[bool]:
            try:
                yield from savepoint(self.store.fence(claim))
            except Fenced:
                return False
            moves = [Move(lease.shard, upto.position, upto.position) for lease in claim.leases]
            yield from self.store.settle("g", moves, release=False)
            return True

        return op

    def test_pending_never_skips_a_message_while_others_append(self) -> None:
        """D77. Writers, some of whom take their time until they commit, and readers who settle whatever they see:
        were a position to become visible before a lower one of its shard, that one would be lost."""
        self.register()
        works: list[Callable[[], Op[list[Record]]]] = []
        for number in range(40):
            works += [self.writing(number), self.reading(f"w-{number}")][: 1 + number % 2]
        seen = [r for each in self.at_once(works) for r in each]
        while found := self.do(self.reading("last")()):
            seen += found
        assert sorted(seen, key=lambda r: r.position) == self.do(self.store.read_all())
        assert len(seen) == 40 * 3

    def writing(self, number: int) -> Callable[[], Op[list[Record]]]:
        def op() -> Op[list[Record]]:
            yield from self.store.append([entry(f"s-{(number * 5 + step * 3) % 17}", 1) for step in range(3)])
            for _ in range(number % 4):
                yield from self.store.extent()
            return []

        return op

    def reading(self, owner: str) -> Callable[[], Op[list[Record]]]:
        def op() -> Op[list[Record]]:
            claim = yield from self.store.claim("g", owner, now=at(0), until=at(30), limit=64)
            pending = yield from self.store.pending("g", claim.leases, TYPES, 64)
            moves = [Move(shard, position, position) for shard, position in pending.scanned.items()]
            yield from self.store.fence(claim)
            yield from self.store.settle("g", moves, release=True)
            return [*pending.records]

        return op
