"""Rounds: claims, what is pending, what is settled; streams that wait; workers."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from sourced.ops import Op
from sourced.store import Lease, Move, Straggler, Worker
from sourced.testing.conformance.bench import at
from sourced.testing.conformance.machine.base import Base
from sourced.testing.conformance.machine.drawn import OWNERS, Wish, groups, kinds, limits, seconds, streams, wishes
from sourced.testing.conformance.machine.sides import Held, Side


class Rounds(Base):
    @rule(by=st.sampled_from([1, 5, 10, 40, 90_000]))
    def time_passes(self, by: int) -> None:
        self.now += by

    @rule(
        group=groups, owner=st.sampled_from(OWNERS), limit=limits, most=st.none() | st.integers(1, 4),
        awaited=st.booleans(),
    )  # fmt: skip
    def claim(self, group: str, owner: str, limit: int, most: int | None, awaited: bool) -> None:
        if self.known(group):
            now, until = at(self.now), at(self.now + 30)
            claims = self.both(
                lambda side: side.store.claim(group, owner, now=now, until=until, limit=limit, most=most),
                awaited=awaited,
            )
            for side, claim in zip((self.tested, self.reference), claims, strict=True):
                side.held = [*side.held, Held(claim)][-6:]

    def holding(self) -> bool:
        return bool(self.tested.held)

    @precondition(holding)
    @rule(which=st.integers(0, 5), some=kinds, limit=limits)
    def look(self, which: int, some: frozenset[str], limit: int) -> None:
        def step(side: Side) -> Op[Any]:
            held = side.held[which % len(side.held)]
            held.pending = yield from side.store.pending(held.claim.group.name, held.claim.leases, some, limit)
            upto = {each.shard: held.pending.scanned[each.shard] for each in held.claim.leases}
            mine = [each for each in held.claim.due if self.shard(each.stream) in upto]
            pieces = yield from side.store.straggling(mine, some, upto, limit)
            return held.pending, {each.stream: [*piece] for each, piece in zip(mine, pieces, strict=True)}

        self.both(step)

    @precondition(holding)
    @rule(
        which=st.integers(0, 5), release=st.booleans(), careful=st.sampled_from([0, 0, 1, 2]), fenced=st.booleans(),
        failing=st.booleans(), wished=st.lists(wishes, max_size=2), awaited=st.booleans(),
    )  # fmt: skip
    def settle(
        self, which: int, release: bool, careful: int, fenced: bool, failing: bool, wished: list[Wish], awaited: bool
    ) -> None:
        entries = self.entries(wished)

        def step(side: Side) -> Op[Any]:
            """A round's transaction: its appends, a stream that failed, its checkpoints."""
            held = side.held[which % len(side.held)]
            name, scanned = held.claim.group.name, held.pending.scanned if held.pending else {}
            if fenced:
                yield from side.store.fence(held.claim)
            yield from side.store.reserve({each.stream for each in entries})
            outcomes = yield from side.store.append(entries)
            handled = held.pending.records if held.pending else ()
            if failing and handled:
                failed = handled[0]
                yield from side.store.straggle([
                    Straggler(name, failed.stream, failed.seq, attempts=1, error="Boom: no", message_id=failed.id)
                ])  # fmt: skip
            elif held.claim.due:
                yield from side.store.catch_up(name, [min(each.stream for each in held.claim.due)])
            moves = [self.move(each, scanned, careful) for each in held.claim.leases]
            yield from side.store.settle(name, moves, release=release)
            return outcomes

        self.both(step, awaited=awaited)

    def move(self, lease: Lease, scanned: dict[int, int], careful: int) -> Move:
        upto = scanned.get(lease.shard, lease.checkpoint)
        return Move(lease.shard, upto, upto, careful)

    @precondition(holding)
    @rule(which=st.integers(0, 5), longer=st.sampled_from([0, 20, 60]))
    def renew(self, which: int, longer: int) -> None:
        until = at(self.now + longer)
        self.both(lambda side: side.store.renew(side.held[which % len(side.held)].claim, until))

    @precondition(holding)
    @rule(which=st.integers(0, 5))
    def release(self, which: int) -> None:
        self.both(lambda side: side.store.release(side.held[which % len(side.held)].claim))

    @rule(
        group=groups, names=st.lists(streams, min_size=1, max_size=3, unique=True), seq=st.integers(1, 4),
        attempts=st.integers(0, 3), retry=st.none() | seconds, flags=st.tuples(st.booleans(), st.booleans()),
        holder=st.sampled_from(["", "", *OWNERS]),
    )  # fmt: skip
    def straggle(
        self,
        group: str,
        names: list[str],
        seq: int,
        attempts: int,
        retry: int | None,
        flags: tuple[bool, bool],
        holder: str,
    ) -> None:
        """Only what is there can wait."""
        parked, running = flags
        later = None if retry is None else at(self.now + retry)
        there = [(name, min(seq, head + 1)) for name in names if (head := self.head(name))]
        if there and self.known(group):
            rows = [
                Straggler(
                    group,
                    name,
                    start,
                    0,
                    attempts,
                    later,
                    parked,
                    running,
                    "Boom: no",
                    since=at(self.now),
                    holder=holder,
                )
                for name, start in there
            ]
            self.both(lambda side: side.store.straggle(rows))

    @rule(group=groups, name=streams, holder=st.sampled_from(["", *OWNERS]))
    def hold(self, group: str, name: str, holder: str) -> None:
        if self.known(group):
            self.both(lambda side: side.store.hold(Straggler(group, name, 1, holder=holder)))

    @rule(group=groups, names=st.lists(streams, max_size=3))
    def catch_up(self, group: str, names: list[str]) -> None:
        if self.known(group):
            self.both(lambda side: side.store.catch_up(group, names))

    @rule(seen=st.lists(st.integers(0, 20), max_size=3, unique=True), stale=st.booleans(), skip=st.booleans())
    def unpark(self, seen: list[int], stale: bool, skip: bool) -> None:
        """What was seen a while ago may not be there like that any more."""

        def step(side: Side) -> Op[Any]:
            rows = sorted((yield from side.store.stragglers()), key=lambda each: (each.group, each.stream))
            known = [rows[number % len(rows)] for number in seen] if rows else []
            if stale:
                known = [replace(row, attempts=row.attempts + number % 2) for number, row in enumerate(known)]
            return (yield from side.store.unpark([*{row.stream: row for row in known}.values()], skip=skip))

        self.both(step)

    # -- workers

    @rule(owner=st.sampled_from(OWNERS))
    def beat(self, owner: str) -> None:
        worker = Worker(owner, "host", 7, 2, at(-len(owner)), at(self.now), self.now, self.now / 4)
        self.both(lambda side: side.store.beat(worker))

    @rule(owner=st.sampled_from(OWNERS))
    def leave(self, owner: str) -> None:
        self.both(lambda side: side.store.leave(owner))

    @rule(ago=seconds, awaited=st.booleans())
    def workers(self, ago: int, awaited: bool) -> None:
        since = at(self.now - ago)
        self.both(lambda side: side.store.workers(since), reading=True, awaited=awaited)
