"""Inline projections: the rows of these projectors are written in the transaction of the append itself.

What is projected so is stored as settled: nobody hands it to the group again. Everything else, from before it was
inline or stored by a program that does not know it, is handled in rounds, and before anything new of its stream.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from sourced.actions import AfterCommit, Schedule, Send, Sync
from sourced.codec import Record
from sourced.errors import Behind
from sourced.ops import Call, Op
from sourced.projector import HistoryMemo, Projector
from sourced.reactor import Delivery, Memo
from sourced.runtime import seams
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Work, called
from sourced.runtime.rounds.effects import Effects
from sourced.runtime.rounds.rows import Rows
from sourced.store import Entry, Outcome, Range, Scheduled


def append(
    engine: Engine, entries: Sequence[Entry], hooks: list[AfterCommit], *, by: str = ""
) -> Op[list[Outcome]]:  # fmt: skip
    """Appends, and projects what inline projectors want of it; `hooks` gets what follows the commit.

    A projector's own round, `by`, leaves what it sends itself to the next one.

    Places in the log are reserved first, then the groups are held by their names, rows come last in the same order: so
    everybody does it, and no two transactions wait for each other. A group that was stopped is left out: that is the
    way out when it is broken.
    """
    wanted = engine.router.inline_for((record for entry in entries for record in entry.records), by=by)
    if not wanted:
        return (yield from engine.store.append(entries))
    yield from engine.store.reserve({entry.stream for entry in entries})
    taking: list[Projector[Any]] = []
    for projector, records in sorted(wanted.items(), key=lambda each: each[0].group):
        streams, types = [*dict.fromkeys(record.stream for record in records)], engine.types(projector)
        group, behind = yield from engine.store.hold_group(projector.group, streams, types)
        if group.status == "active":
            if behind:
                raise Behind(projector.group, behind)
            taking.append(projector)
    takers: dict[str, list[str]] = {}
    for projector in taking:
        for record in wanted[projector]:
            takers.setdefault(record.id, []).append(projector.group)
    outcomes = yield from engine.store.append([_settled(entry, takers) for entry in entries])
    stored = {record.id: record for outcome in outcomes if isinstance(outcome, tuple) for record in outcome}
    for projector in taking:
        if records := [stored[each.id] for each in wanted[projector] if each.id in stored]:
            yield from projected(engine, projector, records, hooks)
    return outcomes


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
    actions, kept = rows.close([*touched, *(memo for memo in memos if isinstance(memo, HistoryMemo))], now)
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
    """The entry, with each record marked as settled by those who are about to project it."""
    marked = ((record, takers.get(record.id, ())) for record in entry.records)
    records = (replace(record, settled_by=(*record.settled_by, *groups)) for record, groups in marked)
    return replace(entry, records=tuple(records))
