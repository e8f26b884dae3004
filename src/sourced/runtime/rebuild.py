"""A projection is built anew beside the live one, as far as that has come, and takes its place in one transaction.

The new rows have a group of their own, with its own progress: whoever calls, or calls again after a crash, goes on
with it. It never handles a message that the live one has not handled, so no reaction is lost when they are exchanged.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from sourced.audit import OPERATIONS, GroupRebuilt, GroupRestored
from sourced.codec import Record
from sourced.errors import DefinitionError, NotKnown, RebuildStopped
from sourced.ids import new_id
from sourced.ops import Call, Op
from sourced.projector import Projector
from sourced.runtime.building import NEVER, Building, Site
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Await, Invoke, Program, Transact, Work, within
from sourced.runtime.rounds.round import Round
from sourced.runtime.telling import told
from sourced.store import Group, Lease, Move, Place, Range, Store, Straggler, shard_of

BESIDE = "@beside"  # at the end of the name of the group that builds, or keeps, the other rows
KEPT = "the rows from before the last rebuild: app.restore(…) brings them back"
SWEPT = 10_000  # rows at a time
GLANCE = 0.25  # seconds between looks at how far it has come
PAUSE = 0.05  # seconds, while others have all that is left in hand


class Rebuilding(msgspec.Struct, frozen=True):
    """How far a rebuild has come, whoever works on it."""

    group: str
    done: int  # messages, about
    total: int
    rate: float  # a second, since this call
    left: timedelta | None  # until it is done, if it goes on like this


Watching = Callable[[Rebuilding], object]


def beside_of(projector: Projector[Any]) -> Projector[Any]:
    """The one that the new rows are built with."""
    name = type(projector).__qualname__
    other = projector.beside()
    if other is None:
        if projector.tables.sync:
            raise DefinitionError(
                f"{name} keeps rows in tables of its own: say with beside() where new ones go, and with swap() how "
                f"they are exchanged; or empty them and replay: app.groups.reset({name})"
            )
        if projector._shape is None:
            raise DefinitionError(f"{name} keeps no rows, so there is nothing to build anew")
        other = copy.copy(projector)
    elif type(other) is not type(projector) or other is projector:
        raise DefinitionError(f"{name}.beside: expected another {name}, found {other!r}")
    other.group = projector.group + BESIDE
    return other


class Rebuild(Site):
    """One who works on it; there may be several, in as many processes."""

    def __init__(
        self, engine: Engine, live: Projector[Any], *, afresh: bool = False, after_commit: bool = False,
        watching: Watching | None = None, event: GroupRebuilt,
    ) -> None:  # fmt: skip
        super().__init__(engine, live, beside_of(live), new_id(), after_commit=after_commit)
        self.afresh = afresh
        self.watching = watching
        self.event = event
        self.group: Group  # that builds
        self.before = 0  # the epoch of the live one when it began
        self.helping = False
        self.inline = live.group in engine.router.inline
        self.later: list[Work] = []

    def program(self) -> Program[GroupRebuilt]:
        """Until the new rows are the live ones."""
        self.group = yield Transact(self.begun(), anew=self.begun)
        while (yield Transact(self.store.sweep_views(SWEPT))) == SWEPT:
            pass
        yield from self.work()
        for each in (self.live, self.other):
            self.engine.memos.forget(each)
        yield Afterwards([*self.later, *committed(self.engine, ())])
        return self.event

    def begun(self) -> Op[Group]:
        """A new one, or the one that somebody else has begun, or that was left when somebody died."""
        view = f"{self.live.group}@{new_id()}"
        group = yield from self.store.build_beside(self.live.group, self.other.group, view, afresh=self.afresh)
        self.before = (yield from self.standing())[0].epoch
        if group.view == view:
            yield Call(self.other.on_reset)
        return group

    def help(self) -> Program[None]:
        """Lends a hand as long as there is something to build; begins nothing, and leaves the exchange to others."""
        _, other = yield Transact(self.standing(), reading=True)
        if other is not None and other.status == "active":
            self.group, self.helping = other, True
            yield from self.work()

    def work(self) -> Program[None]:
        try:
            yield from self.rounds()
        except Exception as error:
            if self.failed_at is None:
                raise
            raise RebuildStopped(type(self.live).__qualname__, self.failed_at, error) from error

    def rounds(self) -> Program[None]:
        clock, began = self.engine.clock, self.engine.clock.elapsed()
        gone, left = yield Transact(self.measured(), reading=True)
        before, looked = gone, -1.0
        with self.engine.notifier.listen() as listener:
            while True:
                idle = not (yield from Building(self).program())
                if idle and self.inline:  # it is ahead where it is projected, so it is to be nowhere behind
                    idle = not (yield from Round(self.engine, self.live, self.owner).program())
                now = clock.elapsed()
                if idle or now - looked > GLANCE:
                    looked = now
                    gone, left = yield Transact(self.measured(), reading=True)
                    yield from self.tell(gone, left, gone - before, now - began)
                    near = idle if self.inline else left <= 2 * self.engine.batch
                    if (yield from self.over()) or (near and (yield from self.taken_place())):
                        return
                if idle:
                    yield Await(listener, PAUSE)

    def taken_place(self) -> Program[bool]:
        """Whether the new rows are the live ones from now on; who only helps leaves that to others."""
        return not self.helping and (yield Transact(self.finished(), anew=self.finished))

    def measured(self) -> Op[tuple[int, int]]:
        return measured(self.store, self.live.group, self.group)

    def tell(self, gone: int, left: int, new: int, seconds: float) -> Program[None]:
        """The log holds other messages, too: what is counted is a share of those that are wanted."""
        if self.watching is not None:
            wanted = self.event.messages / max(1, gone + left)
            rate = new / max(seconds, 0.001)
            remaining = timedelta(seconds=left / rate) if rate > 0 else None
            so_far = Rebuilding(self.live.group, int(gone * wanted), self.event.messages, rate * wanted, remaining)
            yield Invoke([_calling(self.watching, so_far)])

    def over(self) -> Program[bool]:
        """Whether somebody else has let the new rows take their place."""
        group, other = yield Transact(self.standing(), reading=True)
        if other is not None and other.epoch == self.group.epoch:
            return False
        if group.epoch == self.before and not self.helping:  # nothing was exchanged
            raise NotKnown(f"somebody else has begun the rebuild of {self.live.group!r} afresh; call it again to help")
        return True

    def standing(self) -> Op[tuple[Group, Group | None]]:
        groups = {group.name: group for group in (yield from self.store.groups())}
        return groups[self.live.group], groups.get(self.other.group)

    def finished(self) -> Op[bool]:
        """What is left and the exchange in one transaction, while the live one stands still; whether it is done."""
        self.later = []
        yield from self.store.reserve([OPERATIONS], self.live.group)
        live = yield from self.store.seize(self.live.group)
        other = yield from self.store.seize(self.other.group)
        if other.epoch != self.group.epoch or other.status != "active":
            return False  # which is looked into
        yield from self.rest()
        yield from exchanged(self.engine, self.live, self.other)
        yield from self.store.stop(self.other.group, KEPT, at=self.engine.clock.now())
        messages = yield from self.store.count(after=live.start, types=self.engine.types(self.live))
        self.event = replace(self.event, was=live.status, messages=messages)
        yield from self.store.append([told(self.engine, self.event)])
        return True

    def rest(self) -> Op[None]:
        """Rounds until one finds nothing that it may handle, and not because it looked at one shard with care."""
        while True:
            building = Building(self)
            dealt_with = yield from within(building.program(), self.later)
            careful = building.claimed is not None and any(lease.careful for lease in building.claimed.leases)
            if not (dealt_with or careful) and (yield from self.measured())[1] == 0:
                return


def measured(store: Store, live: str, building: Group) -> Op[tuple[int, int]]:
    """About how many messages are behind what is built, and how many more the live one has handled.

    Of the shards in which that has handled anything: shards are much alike.
    """
    come, new = (yield from store.places(live)), (yield from store.places(building.name))
    used = [shard for shard, place in come.items() if place.handled > building.start] or [*come]
    gone = sum(new[shard].checkpoint - building.start for shard in used)
    left = sum(max(0, come[shard].handled - new[shard].checkpoint) for shard in used)
    return gone // len(used), left // len(used)


def rebuilding(engine: Engine, live: Projector[Any], by: str, reason: str) -> Op[GroupRebuilt]:
    """What is to be done."""
    group = next(group for group in (yield from engine.store.groups()) if group.name == live.group)
    messages = yield from engine.store.count(after=group.start, types=engine.types(live))
    return GroupRebuilt(by=by, reason=reason, group=group.name, was=group.status, messages=messages)


def restoring(engine: Engine, live: Projector[Any], event: GroupRestored, *, dry_run: bool) -> Op[GroupRestored]:
    """The rows from before take the place of the live ones, and are brought up to date from where they were left."""
    other = beside_of(live)
    groups = {group.name: group for group in (yield from engine.store.groups())}
    kept = groups.get(other.group)
    if kept is None or kept.status == "active":
        why = "nothing was rebuilt yet" if kept is None else "a rebuild is under way"
        raise NotKnown(f"no rows from before are kept for {live.group!r}: {why}")
    event = replace(event, was=groups[live.group].status)
    if not dry_run:
        yield from engine.store.reserve([OPERATIONS], live.group)
        yield from engine.store.seize(live.group)
        if (yield from engine.store.seize(other.group)).epoch != kept.epoch:
            raise NotKnown(f"somebody else is about to exchange the rows of {live.group!r}; look again")
        yield from exchanged(engine, live, other)
        yield from engine.store.append([told(engine, event)])
    return event


def exchanged(engine: Engine, live: Projector[Any], other: Projector[Any]) -> Op[None]:
    """Rows and progress of the two. Streams that wait begin where the rows end that are live from now on."""
    store = engine.store
    yield from passed_over(engine, live)
    ahead = yield from _ahead(engine, live)
    come, new = (yield from store.places(live.group)), (yield from store.places(other.group))
    waiting = {each.stream: each for each in (yield from store.stragglers(live.group))}
    put_off = {each.stream: each for each in (yield from store.stragglers(other.group))}
    streams = list({**waiting, **put_off})
    histories = dict(zip(streams, (yield from store.histories([Range(stream) for stream in streams])), strict=True))
    again: list[Straggler] = []
    for stream, history in histories.items():
        shard = shard_of(stream, store.shards)
        first = _first(history, put_off.get(stream), new[shard])
        if first is not None:
            live_after = _live_after(history, waiting.get(stream), come[shard])
            again.append(Straggler(live.group, stream, first, live_after=live_after))
    yield from store.swap(live.group, other.group)
    for group in (live.group, other.group):
        yield from store.catch_up(group, streams)
    ends = ahead | {each.stream: each.from_seq for each in waiting.values()}
    aside = (Straggler(other.group, stream, from_seq, retry_at=NEVER) for stream, from_seq in ends.items())
    yield from store.straggle([*again, *aside])
    yield Call(partial(live.swap, other))


def passed_over(engine: Engine, live: Projector[Any]) -> Op[None]:
    """Moves checkpoints over what was settled when it was stored: an inline projector may never have had a round."""
    store, types, come = engine.store, engine.types(live), dict[int, int]()
    while True:
        leases = [Lease(n, 0, at.checkpoint, at.high) for n, at in (yield from store.places(live.group)).items()]
        if come == (come := {lease.shard: lease.checkpoint for lease in leases}):
            return
        found = yield from store.pending(live.group, leases, types, len(leases))
        before = {_shard(store, record): record.position - 1 for record in found.records}
        moves = [Move(lease.shard, before.get(lease.shard, found.scanned[lease.shard]), 0) for lease in leases]
        yield from store.settle(live.group, moves, release=False)


def _ahead(engine: Engine, live: Projector[Any]) -> Op[dict[str, int]]:
    """Streams that have come further than their shard, since they were settled when they were stored: and how far."""
    store, group, types = engine.store, live.group, engine.types(live)
    come = {shard: place.checkpoint for shard, place in (yield from store.places(group)).items()}
    stands = next(each for each in (yield from store.groups()) if each.name == group)
    after, ends = min(come.values()), dict[str, int]()
    while page := (yield from store.read_all(after=after, limit=SWEPT, types=types)):
        after = page[-1].position
        for record in page:
            if group in record.settled_by and record.position > max(stands.reset_at, come[_shard(store, record)]):
                ends[record.stream] = record.seq + 1
    return ends


def _shard(store: Store, record: Record) -> int:
    return shard_of(record.stream, store.shards)


def _first(history: Sequence[Record], put_off: Straggler | None, new: Place) -> int | None:
    """The seq of the first message that is not in the new rows, if it has to be looked for."""
    if put_off is not None:
        return put_off.from_seq
    return next((record.seq for record in history if record.position > new.checkpoint), None)


def _live_after(history: Sequence[Record], waiting: Straggler | None, come: Place) -> int:
    """The last position in the stream that the live one had handled."""
    if waiting is None:
        return come.handled
    behind = next((record.position - 1 for record in history if record.seq >= waiting.from_seq), None)
    last = history[-1].position if history else 0
    return max(waiting.live_after, last if behind is None else behind)


def _calling(watching: Watching, told: Rebuilding) -> Work:
    result: Any = watching(told)
    if inspect.isawaitable(result):
        yield result
