"""Any order of operations on a store and on the memory store side by side: what one answers, the other one does too.

    class MyMachine(StoreMachine):
        def make(self) -> Store:
            return MyStore()

    TestMyMachine = MyMachine.TestCase

Hypothesis looks for a sequence that tells them apart, and for the shortest one. What a store must do is pinned by the
cases of the suite; this finds the case that is missing. (It needs `pip install hypothesis`.)
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate, Fenced
from sourced.ops import Op, savepoint
from sourced.store import (
    Claim,
    Entry,
    Equal,
    Group,
    Lease,
    Move,
    Pending,
    Progress,
    Range,
    Scheduled,
    Snapshot,
    Store,
    Straggler,
    ViewRow,
    Worker,
    shard_of,
)
from sourced.stores.memory import MemoryStore
from sourced.testing.conformance.bench import Broken, at, record
from sourced.view import NOTHING

STREAMS = tuple(f"s-{number}" for number in range(6))  # in four shards there are always some that share one
KINDS = ("done", "undone", "noted")
GROUPS = ("g", 'h "g"')
OWNERS = ("a", "bb")
KEYS = ("a", "Z", 'ż "k"', "b")
BODIES = (None, NOTHING, "{}", '{"x":1}', '{"x":"1"}', '{"x":null,"y":true}')


@dataclass
class Held:
    """A claim that somebody holds, and what it has been shown of its shards."""

    claim: Claim
    pending: Pending | None = None


@dataclass
class Side:
    """One of the two stores. Positions may have gaps, so they are compared by how many messages come up to them."""

    store: Store
    log: list[int] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    revisions: dict[tuple[str, str], int] = field(default_factory=dict)

    def rank(self, position: int) -> int:
        return bisect_right(self.log, position)

    def position(self, rank: int) -> int:
        return self.log[rank - 1] if rank else 0

    def plain(self, found: Any) -> Any:
        """An answer, without what the two may rightly differ in: positions and tokens."""
        rank, plain = self.rank, self.plain
        match found:
            case Record():
                return replace(found, position=rank(found.position))
            case Conflict():
                return "conflict", found.stream, found.expected, found.actual
            case Duplicate():
                return "duplicate", found.ids, plain(found.records)
            case Fenced():
                return "fenced", found.group
            case Broken():
                return "broken"
            case Group():
                return replace(found, start=rank(found.start), reset_at=rank(found.reset_at))
            case Progress():
                return replace(found, checkpoint=rank(found.checkpoint), high=rank(found.high))
            case Lease():
                return replace(found, token=0, checkpoint=rank(found.checkpoint), high=rank(found.high))
            case Straggler():
                return replace(found, live_after=rank(found.live_after))
            case Claim():
                due = sorted(found.due, key=lambda each: each.stream)
                return plain(found.group), plain(sorted(found.leases, key=lambda each: each.shard)), plain(due)
            case Pending():
                by_shard = sorted((shard, rank(upto)) for shard, upto in found.scanned.items())
                return plain(sorted(found.records, key=lambda each: each.position)), by_shard
            case ViewRow():
                return replace(found, revision=0)
            case dict():
                return {key: plain(value) for key, value in found.items()}
            case list() | tuple():
                return [plain(each) for each in found]
        return found


Step: TypeAlias = Callable[[Side], Op[Any]]


# -- what is drawn: small wishes, which the machine turns into steps as things stand

seconds = st.integers(0, 30)
streams = st.sampled_from(STREAMS)
groups = st.sampled_from(GROUPS)
kinds = st.frozensets(st.sampled_from(KINDS))
limits = st.sampled_from([1, 2, 3, 5, 50])


@dataclass(frozen=True)
class Wish:
    """An entry: how many new records, what they are to follow, and whether one of them is known already."""

    stream: str
    types: tuple[str, ...]
    off: int | None  # how far beside the stream's head it expects to be
    heeds: frozenset[str] | None
    settled_by: tuple[str, ...]
    again: int | None  # the id of that message among all that ever were takes the place of a new one
    created: int


wishes = st.builds(
    Wish, stream=streams, types=st.lists(st.sampled_from(KINDS), max_size=3).map(tuple),
    off=st.sampled_from([None, None, 0, 0, -1, -2, 1]), heeds=st.none() | kinds,
    settled_by=st.sampled_from([(), (), ("g",), GROUPS]), again=st.none() | st.none() | st.integers(0, 40),
    created=seconds,
)  # fmt: skip


class StoreMachine(RuleBasedStateMachine):
    """Say how a store is made; for a durable one say also how it is closed and opened again."""

    def make(self) -> Store:
        """A new, empty store, of four shards if it lets one choose."""
        raise NotImplementedError(f"{type(self).__name__}: expected make(self) to return a new, empty store")

    def reopened(self, store: Store) -> Store:
        """The same store as a new process would find it."""
        return store

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        store = self.make()
        self.tested, self.reference = Side(store), Side(MemoryStore(store.shards))
        self.now = 0
        self.ids: list[str] = []

    def teardown(self) -> None:
        self.tested.store.close()
        self.runner.close()

    # -- carrying out

    def both(self, step: Step, *, awaited: bool = False, reading: bool = False) -> tuple[Any, Any]:
        """The same on both sides; their answers, which have to be the same."""
        expected = self.outcome(self.reference, step, awaited=False, reading=reading)
        found = self.outcome(self.tested, step, awaited=awaited, reading=reading)
        for side in (self.reference, self.tested):
            side.log = [each.position for each in side.store.transact(side.store.read_all(), reading=True)]
        assert self.tested.plain(found) == self.reference.plain(expected)
        return found, expected

    def outcome(self, side: Side, step: Step, *, awaited: bool, reading: bool) -> Any:
        try:
            if awaited:
                return self.runner.run(side.store.transact_async(step(side), reading=reading))
            return side.store.transact(step(side), reading=reading)
        except (Fenced, Broken) as error:
            return error

    def head(self, stream: str) -> int:
        (records,) = self.reference.store.transact(self.reference.store.histories([Range(stream)]))
        return len(records)

    def shard(self, stream: str) -> int:

        return shard_of(stream, self.tested.store.shards)

    # -- the log

    def entries(self, wished: Sequence[Wish]) -> list[Entry]:
        entries = []
        for wish in wished:
            records = [self.record(wish.stream, kind, wish) for kind in wish.types]
            if wish.again is not None and self.ids and records:
                known = self.ids[wish.again % len(self.ids)]
                if known not in [each.id for each in records]:
                    place = wish.again % len(records)
                    records[place] = replace(records[place], id=known)
            expected = None if wish.off is None else max(0, self.head(wish.stream) + wish.off)
            entries.append(Entry(wish.stream, tuple(records), expected, wish.heeds))
        return entries

    def record(self, stream: str, kind: str, wish: Wish) -> Record:
        self.ids.append(f"m-{len(self.ids)}")
        story = self.ids[len(self.ids) // 3]
        return record(
            stream, id=self.ids[-1], type=kind, payload=f'{{"n":{len(self.ids)}}}', causation_id=story,
            correlation_id=story, created_at=at(wish.created), settled_by=wish.settled_by,
        )  # fmt: skip

    @rule(wished=st.lists(wishes, min_size=1, max_size=5), awaited=st.booleans())
    def append(self, wished: list[Wish], awaited: bool) -> None:
        entries = self.entries(wished)
        self.both(lambda side: side.store.append(entries), awaited=awaited)

    @rule(wished=st.lists(wishes, max_size=5), awaited=st.booleans())
    def commit(self, wished: list[Wish], awaited: bool) -> None:
        entries = self.entries(wished)
        expected = self.reference.store.commit(entries)
        store = self.tested.store
        found = self.runner.run(store.commit_async(entries)) if awaited else store.commit(entries)
        self.both(lambda side: side.store.streams())
        assert self.tested.plain(found) == self.reference.plain(expected)

    @rule(
        ranges=st.lists(st.tuples(streams, st.integers(0, 5), st.none() | st.integers(0, 9)), max_size=4),
        after=st.integers(0, 12), limit=st.none() | st.integers(0, 6), some=st.none() | kinds,
        times=st.tuples(st.none() | seconds, st.none() | seconds), backwards=st.booleans(), known=st.integers(0, 40),
        awaited=st.booleans(),
    )  # fmt: skip
    def read(
        self, ranges: list[tuple[str, int, int | None]], after: int, limit: int | None, some: frozenset[str] | None,
        times: tuple[int | None, int | None], backwards: bool, known: int, awaited: bool,
    ) -> None:  # fmt: skip
        since, until = (None if each is None else at(each) for each in times)

        def step(side: Side) -> Op[Any]:
            store, place = side.store, side.position(min(after, len(side.log)))
            pieces = yield from store.histories([Range(*each) for each in ranges])
            log = yield from store.read_all(
                after=place, limit=limit, types=some, since=since, until=until, backwards=backwards
            )
            newest = yield from store.streams(limit)
            heads = yield from store.heads([name for name, _, _ in ranges])
            names = yield from store.names(after=STREAMS[after % len(STREAMS)], limit=3, part=STREAMS[known % 2][-1:])
            count = yield from store.count(after=place, types=some)
            return [*pieces], log, newest, heads, names, count, (yield from store.trace(f"m-{known}"))

        self.both(step, reading=True, awaited=awaited)

    # -- groups

    @initialize(wished=st.lists(wishes, max_size=5))
    def begin(self, wished: list[Wish]) -> None:
        self.register("g", "beginning")
        self.append(wished, awaited=False)

    @rule(group=groups, start=st.sampled_from(["beginning", "now"]) | seconds)
    def register(self, group: str, start: Any) -> None:
        self.both(self.registering(group, start))

    def registering(self, group: str, start: Any) -> Step:
        where = at(start) if isinstance(start, int) else start
        return lambda side: side.store.register(group, where)

    def registered(self) -> list[str]:
        return [each.name for each in self.reference.store.transact(self.reference.store.groups())]

    def known(self, group: str) -> bool:
        return group in self.registered()

    @rule(group=groups, what=st.sampled_from(["stop", "start", "start", "reset"]), awaited=st.booleans())
    def lifecycle(self, group: str, what: str, awaited: bool) -> None:
        if self.known(group):
            self.both(self.changing(group, what), awaited=awaited)

    def changing(self, group: str, what: str) -> Step:
        now = at(self.now)
        return lambda side: {
            "stop": lambda: side.store.stop(group, "a reason", "an error", by=f"at {now}", at=now),
            "start": lambda: side.store.start(group, now),
            "reset": lambda: side.store.reset(group),
        }[what]()

    @rule(
        group=groups, shards=st.lists(st.integers(0, 3), max_size=2, unique=True),
        ranks=st.tuples(*[st.integers(0, 9)] * 3), stopped=st.booleans(),
    )  # fmt: skip
    def reinstate(self, group: str, shards: list[int], ranks: tuple[int, int, int], stopped: bool) -> None:
        status: Any = "stopped" if stopped else "active"

        def step(side: Side) -> Op[Any]:
            start, checkpoint, high = (side.position(min(rank, len(side.log))) for rank in ranks)
            moves = [Move(shard % side.store.shards, max(start, checkpoint), high) for shard in shards]
            unique = {move.shard: move for move in moves}
            yield from side.store.reinstate(Group(group, status, start=start, epoch=4), [*unique.values()])

        self.both(step)

    # -- rounds

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

    # -- the schedule

    def scheduled(self, wish: Wish, due: int, readable: bool) -> list[Scheduled]:
        return [
            Scheduled(replace(each, metadata="{}" if readable else "{"), at(self.now + due))
            for entry in self.entries([wish])
            for each in entry.records
        ]

    @rule(wish=wishes, due=seconds, readable=st.sampled_from([True, True, False]))
    def schedule(self, wish: Wish, due: int, readable: bool) -> None:
        rows = self.scheduled(wish, due, readable)
        self.both(lambda side: side.store.schedule(rows))

    @rule(limit=limits, awaited=st.booleans())
    def promote(self, limit: int, awaited: bool) -> None:
        now = at(self.now)
        self.both(lambda side: side.store.promote(now, limit), awaited=awaited)

    @rule(known=st.lists(st.integers(0, 40), max_size=3))
    def cancel(self, known: list[int]) -> None:
        self.both(lambda side: side.store.cancel([f"m-{number}" for number in known]))

    # -- snapshots

    @rule(group=groups, stream=streams, seq=st.integers(1, 6), keep=st.integers(1, 3), state=st.integers())
    def save_snapshot(self, group: str, stream: str, seq: int, keep: int, state: int) -> None:
        snapshot = Snapshot(group, stream, seq, str(state), "f")
        self.both(lambda side: side.store.save_snapshot(snapshot, keep))

    @rule(group=groups, asked=st.lists(streams, unique=True, max_size=4), types=kinds, awaited=st.booleans())
    def hold_group(self, group: str, asked: list[str], types: frozenset[str], awaited: bool) -> None:
        if self.known(group):
            self.both(lambda side: side.store.hold_group(group, asked, types), awaited=awaited)

    # -- views

    @rule(
        group=groups, seen=st.integers(0, 9),
        rows=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(BODIES), min_size=1),
    )  # fmt: skip
    def save_views(self, group: str, rows: dict[str, str | None], seen: int) -> None:
        if self.known(group):
            written = [ViewRow(key, body, 0, seen, at(self.now)) for key, body in rows.items()]
            self.both(lambda side: side.store.save_views(group, written))

    @rule(group=groups, keys=st.frozensets(st.sampled_from(KEYS)), awaited=st.booleans())
    def views(self, group: str, keys: frozenset[str], awaited: bool) -> None:
        self.both(lambda side: looked_up(side, group, keys), reading=True, awaited=awaited)

    @rule(
        group=groups, keys=st.frozensets(st.sampled_from(KEYS), min_size=1), body=st.sampled_from(BODIES),
        awaited=st.booleans(),
    )  # fmt: skip
    def hold_views(self, group: str, keys: frozenset[str], body: str | None, awaited: bool) -> None:
        """As a round does: what nobody has written to since it was looked up is written, the rest looked up again."""
        now = at(self.now)

        def step(side: Side) -> Op[Any]:
            revisions = {key: side.revisions.get((group, key), 0) for key in keys}
            stale = sorted((yield from side.store.hold_views(group, revisions)))
            written = [ViewRow(key, body, 0, 1, now) for key in sorted(keys - {*stale})]
            yield from side.store.save_views(group, written)
            return stale, (yield from looked_up(side, group, keys))

        if self.known(group):
            self.both(step, awaited=awaited)

    @rule(
        group=groups, after=st.sampled_from(["", *KEYS]), limit=st.none() | st.integers(0, 3),
        value=st.sampled_from([1, "1", None, True]), missing=st.booleans(),
    )  # fmt: skip
    def page_views(self, group: str, after: str, limit: int | None, value: Any, missing: bool) -> None:
        equal = [Equal("x", value, or_missing=missing)]

        def step(side: Side) -> Op[Any]:
            page = yield from side.store.page_views(group, after=after, limit=limit, equal=equal)
            return page, (yield from side.store.count_views(group, equal))

        self.both(step, reading=True)

    @rule(group=groups)
    def drop_views(self, group: str) -> None:
        def step(side: Side) -> Op[None]:
            yield from side.store.drop_views(group)

        if self.known(group):
            self.both(step)

    # -- transactions

    @rule(
        parts=st.lists(
            st.tuples(
                wishes, st.sampled_from(["append", "append", "schedule", "promote", "register", "reset", "snapshot"]),
                st.sampled_from(["plain", "plain", "savepoint", "undone", "undone within"]),
            ),
            min_size=1, max_size=6,
        ),
        ending=st.sampled_from(["commit", "commit", "raise"]), awaited=st.booleans(),
    )  # fmt: skip
    def transaction(self, parts: list[tuple[Wish, str, str]], ending: str, awaited: bool) -> None:
        """Several operations in one, some of them behind savepoints, some of which fail, as may the whole."""
        steps = [(self.part(wish, what), how) for wish, what, how in parts]

        def step(side: Side) -> Op[Any]:
            answers = []
            for part, how in steps:
                answers.append((yield from guarded(part, side, how)))
            answers.append((yield from side.store.extent())[0])
            if ending == "raise":
                raise Broken
            return answers

        self.both(step, awaited=awaited)

    def part(self, wish: Wish, what: str) -> Step:
        if what == "append":
            entries = self.entries([wish, wish])
            return lambda side: side.store.append(entries)
        if what == "schedule":
            rows = self.scheduled(wish, 0, readable=True)
            return lambda side: side.store.schedule(rows)
        if what == "promote":
            now = at(self.now)
            return lambda side: side.store.promote(now, 3)
        if what == "snapshot":
            return lambda side: side.store.save_snapshot(Snapshot("g", wish.stream, 1, "{}", "f"))
        group = GROUPS[len(wish.types) % 2]
        if what == "reset" and self.known(group):
            return self.changing(group, "reset")
        return self.registering(group, "now")

    @rule()
    def reopen(self) -> None:
        self.tested.store = self.reopened(self.tested.store)

    # -- all of it

    @invariant()
    def everything_that_can_be_read_is_the_same(self) -> None:
        self.both(everything, reading=True)


def looked_up(side: Side, group: str, keys: frozenset[str]) -> Op[Any]:
    """Rows and, for the next time somebody holds them, their revisions."""
    found = yield from side.store.views(group, keys)
    side.revisions |= {(group, key): found[key].revision if key in found else 0 for key in keys}
    return {key: row for key, row in found.items() if row.body != NOTHING}


def guarded(part: Step, side: Side, how: str) -> Op[Any]:
    if how == "plain":
        return (yield from part(side))
    if how == "savepoint":
        return (yield from savepoint(part(side)))
    try:
        yield from savepoint(failing(part, side, how == "undone within"))
    except Broken:
        return "undone"
    raise AssertionError("unreachable: it raises")


def failing(part: Step, side: Side, nested: bool) -> Op[None]:
    yield from (savepoint(part(side)) if nested else part(side))
    raise Broken


def everything(side: Side) -> Op[Any]:
    store = side.store
    found: dict[str, Any] = {"log": (yield from store.read_all())}
    streams, last = yield from store.extent()
    found |= {"streams": streams, "last": side.rank(last), "newest": (yield from store.streams(None))}
    found["groups"] = sorted((yield from store.groups()), key=lambda each: each.name)
    for group in found["groups"]:
        found[f"progress of {group.name}"] = yield from store.progress(group.name)
        found[f"snapshots of {group.name}"] = yield from store.snapshots(group.name, STREAMS)
        found[f"views of {group.name}"] = yield from store.page_views(group.name)
        of_one = yield from store.stragglers(group.name)
        found[f"stragglers of {group.name}"] = sorted(of_one, key=lambda each: each.stream)
    found["stragglers"] = sorted((yield from store.stragglers()), key=lambda each: (each.group, each.stream))
    return found | {"schedule": (yield from store.scheduled())}
