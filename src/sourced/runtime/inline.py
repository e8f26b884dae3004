"""Inline projections: the rows of these projectors are written in the transaction of the append itself.

What is projected so is stored as settled: nobody hands it to the group again. Everything else, from before it was
inline or stored by a program that does not know it, is handled in rounds, and before anything new of its stream.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeAlias

from msgspec.structs import replace

from sourced.actions import AfterCommit, Schedule, Send, Sync
from sourced.codec import Record
from sourced.errors import Behind, Conflict
from sourced.ops import Call, Op
from sourced.projector import FoldMemo, Projector
from sourced.reactor import Delivery, Memo
from sourced.runtime import seams
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Work, called
from sourced.runtime.rounds.effects import Effects
from sourced.runtime.rounds.rows import Rows
from sourced.store import Entry, Outcome, Range, Scheduled

NONE: Mapping[Any, Any] = MappingProxyType({})
Wanted: TypeAlias = "Mapping[Projector[Any], Sequence[Record]]"


class Overtaken(Conflict):
    """Rows that were up to date when it was thought through lag behind now, or nobody writes them any more."""

    def __init__(self, group: str, stream: str) -> None:
        super().__init__(stream, expected=0, actual=0)
        self.args = (f"{group!r} has come to a stand in {stream!r} meanwhile; think it through anew",)


def append(engine: Engine, entries: Sequence[Entry], hooks: list[AfterCommit]) -> Op[list[Outcome]]:
    """Appends, and projects what inline projectors want of it; `hooks` gets what follows the commit.

    Places in the log are reserved first, then the groups are held by their names, rows come last in the same order: so
    everybody does it, and no two transactions wait for each other. A group that was stopped is left out: that is the
    way out when it is broken.
    """
    wanted = engine.router.inline_for(record for entry in entries for record in entry.records)
    if not wanted:
        return (yield from engine.store.append(entries))
    yield from engine.store.reserve({entry.stream for entry in entries})
    taking = yield from held(engine, wanted)
    outcomes = yield from engine.store.append(settled(entries, taking))
    for projector, records in stored(taking, outcomes).items():
        yield from projected(engine, projector, records, hooks)
    return outcomes


def held(engine: Engine, wanted: Wanted, own: Mapping[Projector[Any], Sequence[str]] = NONE) -> Op[Wanted]:
    """Those of the groups, in order, that take what they want; `own` are the caller's, who writes their rows himself,
    and the streams it is about."""
    taking: dict[Projector[Any], Sequence[Record]] = {}
    for projector in in_order({*wanted, *own}):
        mine, records = own.get(projector, ()), wanted.get(projector, ())
        streams = [*dict.fromkeys([*mine, *(record.stream for record in records)])]
        group, behind = yield from engine.store.hold_group(projector.group, streams, engine.types(projector))
        if mine and (behind or group.status != "active"):
            raise Overtaken(projector.group, [*behind, *mine][0])
        if group.status == "active":
            if behind:
                raise Behind(projector.group, behind)
            if records:
                taking[projector] = records
    return taking


def in_order(projectors: Iterable[Projector[Any]]) -> list[Projector[Any]]:
    """As everybody takes their groups and their rows."""
    return sorted(projectors, key=attrgetter("group"))


def settled(entries: Iterable[Entry], taking: Wanted) -> list[Entry]:
    """The entries, with each record marked as settled by those who are about to project it."""
    takers: dict[str, list[str]] = {}
    for projector, records in taking.items():
        for record in records:
            takers.setdefault(record.id, []).append(projector.group)
    return [_settled(entry, takers) for entry in entries] if takers else [*entries]


def stored(taking: Wanted, outcomes: Iterable[Outcome]) -> Wanted:
    """What each is to project, as far as it was stored."""
    there = {record.id: record for outcome in outcomes if isinstance(outcome, tuple) for record in outcome}
    found = ((each, [there[r.id] for r in records if r.id in there]) for each, records in taking.items())
    return {projector: records for projector, records in found if records}


def projected(
    engine: Engine, projector: Projector[Any], records: Sequence[Record], hooks: list[AfterCommit]
) -> Op[None]:
    """Messages that were stored just now, into the rows of a projector."""
    now, rows = engine.clock.now(), Rows(projector, engine.store)
    memos: dict[str, Memo] = {}
    deliveries: list[Delivery] = []
    for record in records:
        if record.stream not in memos:
            memos[record.stream] = engine.memos.take(projector, record.stream)
            rows.lend(memos[record.stream])
        deliveries.append(Delivery(engine.codec.decode(record), False, now, memos[record.stream]))
    for stream, memo in memos.items():
        for want in memo.wants([each for each in deliveries if each.message.stream == stream]):
            (history,) = yield from engine.store.histories([Range(want.stream, want.after, want.upto)])
            want.take(history, engine.codec)
    yield from rows.held((each.memo, [each]) for each in deliveries)
    here = Here(engine, projector, Effects(deliveries[0].memo))
    hand_over = seams.handing(engine, projector.group, here.hand_over)
    for delivery in deliveries:
        yield from called(_through(hand_over(here, delivery)))  # type: ignore[arg-type]
    effects = here.effects
    yield from _carried_out(engine, rows, memos.values(), effects, hooks)
    hooks += (AfterCommit(partial(engine.memos.keep, projector, memo)) for memo in memos.values() if memo.keep)


class Here:
    """What a slice is to a round: handed messages, with nothing that could be tried again."""

    attempts = 1

    def __init__(self, engine: Engine, projector: Projector[Any], effects: Effects) -> None:
        self.engine = engine
        self.projector = projector
        self.effects = effects

    def hand_over(self, _: object, delivery: Delivery) -> seams.Handing:
        answer: Any = self.projector.handle(delivery)
        if inspect.isawaitable(answer):
            answer = yield answer
        actions = list(answer or ())
        if wrong := next((each for each in actions if not isinstance(each, Send | Schedule)), None):
            raise TypeError(f"{self.projector.group}: an inline projector may send and schedule, found {wrong!r}")
        return self.effects.add(actions, delivery.message, self.engine)


def _through(handing: seams.Handing) -> Work:
    yield from handing


def _carried_out(
    engine: Engine, rows: Rows, memos: Iterable[Memo], effects: Effects, hooks: list[AfterCommit]
) -> Op[None]:
    """The rows; and what reactions ask for, on the schedule and due at once: an append would hold one shard more."""
    now = engine.clock.now()
    touched = [row for row in rows.rows.values() if row.batch.events]
    actions, kept = rows.close([*touched, *(memo for memo in memos if isinstance(memo, FoldMemo))], now)
    for action in actions:
        if isinstance(action, Sync):
            yield Call(action.work)
        elif isinstance(action, AfterCommit):
            hooks.append(action)
    if kept:
        yield from engine.store.save_views(rows.projector.group, kept)
    if later := [*(Scheduled(record, now) for record in effects.sent), *effects.scheduled]:
        yield from engine.store.schedule(later)


def _settled(entry: Entry, takers: Mapping[str, Sequence[str]]) -> Entry:
    marked = ((record, takers.get(record.id, ())) for record in entry.records)
    records = (replace(record, settled_by=(*record.settled_by, *groups)) for record, groups in marked)
    return replace(entry, records=tuple(records))
