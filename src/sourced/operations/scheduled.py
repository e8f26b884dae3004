"""`app.scheduled`: messages that wait for their time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from sourced.audit import DueMessage, ScheduleCancelled, ScheduleHastened
from sourced.codec import Record
from sourced.envelope import Message
from sourced.errors import Undecodable
from sourced.ops import Op
from sourced.reading import not_negative
from sourced.runtime import seams
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Program, Transact
from sourced.runtime.rounds.effects import each_alone
from sourced.runtime.telling import told
from sourced.store import Scheduled
from sourced.verbs import Side, verb


class ScheduledVerbs(Side):
    """`app.scheduled`: messages that wait for their time."""

    @verb
    def list(self, *, after: Scheduled | None = None, limit: int | None = None) -> Program[list[Scheduled]]:
        """In the order they will be promoted; one with an `error` was set aside. The next page comes after its last."""
        place = (after.at, after.record.id) if after else None
        return (yield Transact(self._engine.store.scheduled(after=place, limit=not_negative(limit)), reading=True))

    @verb
    def cancel(
        self, *messages: str | Message[Any], reason: str = "", by: str = "", dry_run: bool = False
    ) -> Program[ScheduleCancelled]:  # fmt: skip
        """Takes messages off the schedule; it tells of those that were still there."""
        engine = self._engine

        def op() -> Op[ScheduleCancelled]:
            found = yield from _unscheduled(engine, messages, dry_run=dry_run)
            cancelled = ScheduleCancelled(by=by, reason=reason, messages=[*map(_due, found)])
            if found and not dry_run:
                yield from engine.store.append([told(engine, cancelled)])
            return cancelled

        cancelled: ScheduleCancelled = yield Transact(op(), reading=dry_run, anew=op)
        if cancelled.messages and not dry_run:
            yield Afterwards(committed(engine, ()))
        return cancelled

    @verb
    def run_now(
        self, *messages: str | Message[Any], reason: str = "", by: str = "", dry_run: bool = False
    ) -> Program[ScheduleHastened]:  # fmt: skip
        """Moves messages into the log although it is not their time; it tells of those that were still there."""
        engine = self._engine

        def op() -> Op[ScheduleHastened]:
            found = yield from _unscheduled(engine, messages, dry_run=dry_run)
            records = [*map(partial(_promoted, now=engine.clock.now()), found)]
            hastened = ScheduleHastened(by=by, reason=reason, messages=[*map(_due, found)])
            if found and not dry_run:
                yield from engine.store.append([*each_alone(records), told(engine, hastened)])
            return hastened

        hastened: ScheduleHastened = yield Transact(op(), reading=dry_run, anew=op)
        if hastened.messages and not dry_run:
            seams.promoted(engine, len(hastened.messages))
            yield Afterwards(committed(engine, ()))
        return hastened

    @verb
    def promote(self) -> Program[int]:
        """Moves what is due into the log, as workers do by themselves. How many there were."""
        now, moved = self._engine.clock.now(), 0
        while records := (yield Transact(self._engine.store.promote(now))):
            moved += len(records)
            seams.promoted(self._engine, len(records))
        yield Afterwards(committed(self._engine, ()))
        return moved


def _unscheduled(
    engine: Engine, messages: Iterable[str | Message[Any]], *, dry_run: bool
) -> Op[list[Scheduled]]:  # fmt: skip
    """Those of the messages that were still waiting, once they have been taken off the schedule."""
    ids = [each if isinstance(each, str) else each.id for each in messages]
    waiting = {each.record.id: each for each in (yield from engine.store.scheduled(ids))}
    there = [id for id in dict.fromkeys(ids) if id in waiting]
    gone = there if dry_run else (yield from engine.store.cancel(there))
    return [waiting[id] for id in gone]


def _due(each: Scheduled) -> DueMessage:
    return DueMessage(each.record.id, each.record.type, each.record.stream, each.at)


def _promoted(each: Scheduled, now: datetime) -> Record:
    try:
        return each.promoted(now)
    except msgspec.MsgspecError as error:
        why = f"its metadata: {error}; it can only be cancelled"
        raise Undecodable(each.record.id, each.record.type, each.record.version, why) from error
