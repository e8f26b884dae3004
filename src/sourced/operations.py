"""`app.groups`, `app.parked`, `app.scheduled`: what a person who runs the app can see and do.

Whatever is done is told as an event of `sourced.audit`, which is in the log as well; with `dry_run` it tells what would
be done, and nothing is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.audit import (
    OPERATIONS,
    DueMessage,
    GroupReset,
    GroupStarted,
    GroupStopped,
    ParkedRetried,
    ParkedSkipped,
    ParkedStream,
    ScheduleCancelled,
    ScheduleHastened,
)
from sourced.codec import Record
from sourced.doctor import Finding, GroupInfo, findings
from sourced.envelope import Message
from sourced.errors import Conflict, NotKnown, Undecodable
from sourced.messages import Payload
from sourced.ops import Call, Op
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.runtime import seams
from sourced.runtime.effects import each_alone
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Program, Transact, Work
from sourced.runtime.telling import told
from sourced.store import Group, Range, Scheduled, Straggler, Worker
from sourced.verbs import Awaiting, Blocking, Side, verb

AnyReactor: TypeAlias = str | type[Reactor] | Reactor
Type: TypeAlias = str | type[Payload]


class Status(msgspec.Struct, frozen=True):
    """The whole app at a glance."""

    streams: int
    position: int
    groups: tuple[GroupInfo, ...]
    scheduled: int


class GroupVerbs(Side):
    """`app.groups`: how every reactor is doing, and stop, start, reset."""

    @verb
    def list(self) -> Program[list[GroupInfo]]:
        return (yield Transact(group_infos(self._engine), reading=True))

    @verb
    def get(self, reactor: AnyReactor) -> Program[GroupInfo]:
        return (yield Transact(_info(self._engine, reactor), reading=True))

    @verb
    def stop(
        self, reactor: AnyReactor, reason: str = "", *, by: str = "", dry_run: bool = False
    ) -> Program[GroupStopped]:  # fmt: skip
        """Nothing more is handed to the group; a round in flight ends. Then the reactor's `on_stop` runs.

        One that is stopped already stays as it is.
        """
        engine, found = self._engine, self._engine.router.group(reactor)
        info: GroupInfo = yield Transact(_info(engine, found), reading=True)
        event = GroupStopped(by=by, reason=reason, group=found.group, was=info.status, behind=info.lag)
        if dry_run:
            return event

        def op() -> Op[GroupStopped]:
            yield from engine.store.reserve([OPERATIONS], found.group)
            before = yield from engine.store.stop(found.group, reason, by=by, at=engine.clock.now())
            stopped = replace(event, was=before.status)
            if before.status == "active":
                yield from engine.store.append([told(engine, stopped)])
            return stopped

        stopped: GroupStopped = yield Transact(op())
        if stopped.was == "active":
            yield Afterwards([*committed(engine, ()), _called(lambda: found.on_stop(reason))])
        return stopped

    @verb
    def start(
        self, reactor: AnyReactor, reason: str = "", *, by: str = "", dry_run: bool = False
    ) -> Program[GroupStarted]:  # fmt: skip
        """It goes on where it was; what had failed is due at once, counting anew. Then `on_start` runs."""
        engine, found = self._engine, self._engine.router.group(reactor)
        info: GroupInfo = yield Transact(_info(engine, found), reading=True)
        due = len(info.stragglers) - len(info.parked)
        event = GroupStarted(by=by, reason=reason, group=found.group, was=info.status, behind=info.lag, due=due)
        if dry_run:
            return event

        def op() -> Op[GroupStarted]:
            yield from engine.store.reserve([OPERATIONS], found.group)
            before = yield from engine.store.start(found.group, engine.clock.now())
            started = replace(event, was=before.status)
            if due or before.status == "stopped":
                yield from engine.store.append([told(engine, started)])
            return started

        started: GroupStarted = yield Transact(op())
        yield Afterwards(committed(engine, ()))
        if started.was == "stopped":
            yield Afterwards([_called(found.on_start)])
        return started

    @verb
    def reset(
        self, reactor: AnyReactor, reason: str = "", *, by: str = "", dry_run: bool = False
    ) -> Program[GroupReset]:  # fmt: skip
        """Everything is delivered again, as a replay. The reactor's `on_reset` runs in the same transaction."""
        engine, found = self._engine, self._engine.router.group(reactor)
        event: GroupReset = yield Transact(_reset_of(engine, found, by, reason), reading=True)
        if dry_run:
            return event

        def op() -> Op[GroupReset]:
            yield from engine.store.reserve([OPERATIONS], found.group)
            before = yield from engine.store.reset(found.group)
            if isinstance(found, Projector):
                yield from engine.store.drop_views(found.group)
            yield Call(found.on_reset)
            reset = replace(event, was=before.status)
            yield from engine.store.append([told(engine, reset)])
            return reset

        reset: GroupReset = yield Transact(op())
        engine.memos.forget(found)
        yield Afterwards(committed(engine, ()))
        return reset


class ParkedVerbs(Side):
    """`app.parked`: streams that wait for a person."""

    @verb
    def list(
        self, reactor: AnyReactor | None = None, stream: str | None = None, *, error: str | None = None,
        type: Type | None = None,
    ) -> Program[list[Straggler]]:  # fmt: skip
        """All of them, or a group's, a stream's, those whose error says this, those parked at such a message."""
        return (yield Transact(_parked(self._engine, reactor, stream, error, type), reading=True))

    @verb
    def retry(
        self, reactor: AnyReactor | None = None, stream: str | None = None, *, error: str | None = None,
        type: Type | None = None, reason: str = "", by: str = "", dry_run: bool = False,
    ) -> Program[ParkedRetried]:  # fmt: skip
        """Hands parked streams to the workers again, counting anew: all, or those that `list` would tell of."""
        engine = self._engine

        def op() -> Op[ParkedRetried]:
            rows = yield from _parked(engine, reactor, stream, error, type)
            if not dry_run:
                rows = yield from engine.store.unpark(rows)
            retried = ParkedRetried(by=by, reason=reason, streams=[*map(_at, rows)])
            if rows and not dry_run:
                yield from engine.store.append([told(engine, retried)])
            return retried

        retried: ParkedRetried = yield Transact(op(), reading=dry_run)
        if not dry_run:
            yield Afterwards(committed(engine, ()))
        return retried

    @verb
    def skip(
        self, reactor: AnyReactor, stream: str, *, reason: str, seq: int | None = None, by: str = "",
        dry_run: bool = False,
    ) -> Program[ParkedSkipped]:  # fmt: skip
        """Gives up the message a stream is parked at; the ones behind it are handled.

        Raises when nothing is parked there, and with `seq` when it is no longer that message.
        """
        engine = self._engine

        def op() -> Op[ParkedSkipped]:
            rows = yield from _parked(engine, reactor, stream)
            if rows and seq not in (None, rows[0].from_seq):
                raise Conflict(stream, expected=seq or 0, actual=rows[0].from_seq)
            if not dry_run:
                rows = yield from engine.store.unpark(rows, skip=True)
            if not rows:
                group = engine.router.group(reactor).group
                raise NotKnown(f"stream {stream!r} is not parked for group {group!r}; app.parked.list() tells what is")
            at = _at(rows[0])
            skipped = ParkedSkipped(
                by=by, reason=reason, group=at.group, stream=stream, seq=at.seq, message_id=at.message_id,
                error=at.error,
            )  # fmt: skip
            if not dry_run:
                yield from engine.store.append([told(engine, skipped)])
            return skipped

        skipped: ParkedSkipped = yield Transact(op(), reading=dry_run)
        if not dry_run:
            yield Afterwards(committed(engine, ()))
        return skipped


class ScheduledVerbs(Side):
    """`app.scheduled`: messages that wait for their time."""

    @verb
    def list(self) -> Program[list[Scheduled]]:
        """In the order they will be promoted; one with an `error` was set aside."""
        return (yield Transact(self._engine.store.scheduled(), reading=True))

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

        cancelled: ScheduleCancelled = yield Transact(op(), reading=dry_run)
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

        hastened: ScheduleHastened = yield Transact(op(), reading=dry_run)
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


class _Namespace(Side):
    def __init__(self, client: Any) -> None:
        self._engine = client._engine
        self._client = client

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class BlockingGroups(_Namespace, GroupVerbs, Blocking): ...


class BlockingParked(_Namespace, ParkedVerbs, Blocking): ...


class BlockingScheduled(_Namespace, ScheduledVerbs, Blocking): ...


class AsyncGroups(_Namespace, GroupVerbs, Awaiting): ...


class AsyncParked(_Namespace, ParkedVerbs, Awaiting): ...


class AsyncScheduled(_Namespace, ScheduledVerbs, Awaiting): ...


def _called(hook: Callable[[], Any]) -> Work:
    result = hook()
    if isinstance(result, Awaitable):
        yield result


def group_infos(engine: Engine) -> Op[list[GroupInfo]]:
    known = {reactor.group for reactor in engine.router}  # one who brings no groups along looks at all there are
    groups = yield from engine.store.groups()
    infos: list[GroupInfo] = []
    for group in groups:
        if not known or group.name in known:
            info = yield from _of(engine, group)
            infos.append(info)
    return infos


def _of(engine: Engine, group: Group) -> Op[GroupInfo]:
    progress = yield from engine.store.progress(group.name)
    return GroupInfo(group, tuple(progress), tuple((yield from engine.store.stragglers(group.name))))


def _info(engine: Engine, reactor: AnyReactor) -> Op[GroupInfo]:
    name = engine.router.group(reactor).group
    groups = yield from engine.store.groups()
    return (yield from _of(engine, next(group for group in groups if group.name == name)))


def _reset_of(engine: Engine, reactor: Reactor, by: str, reason: str) -> Op[GroupReset]:
    info = yield from _info(engine, reactor)
    messages = yield from engine.store.count(after=info.group.start, types=engine.types(reactor))
    return GroupReset(
        by=by, reason=reason, group=info.name, was=info.status, messages=messages, waiting=len(info.stragglers)
    )  # fmt: skip


def _parked(
    engine: Engine, reactor: AnyReactor | None, stream: str | None, error: str | None = None, type: Type | None = None
) -> Op[list[Straggler]]:
    group = None if reactor is None else engine.router.group(reactor).group
    rows = yield from engine.store.stragglers(group)
    parked = [row for row in rows if row.parked and stream in (None, row.stream) and (error or "") in row.error]
    if type is None or not parked:
        return parked
    names = (type,) if isinstance(type, str) else type.__sourced__.names
    found = yield from engine.store.histories([Range(row.stream, row.from_seq - 1, row.from_seq) for row in parked])
    return [row for row, records in zip(parked, found, strict=True) if any(r.type in names for r in records)]


def _at(row: Straggler) -> ParkedStream:
    return ParkedStream(row.group, row.stream, row.from_seq, row.message_id, row.error)


def _unscheduled(
    engine: Engine, messages: Iterable[str | Message[Any]], *, dry_run: bool
) -> Op[list[Scheduled]]:  # fmt: skip
    """Those of the messages that were still waiting, once they have been taken off the schedule."""
    waiting = {each.record.id: each for each in (yield from engine.store.scheduled())}
    ids = [each if isinstance(each, str) else each.id for each in messages]
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


def diagnosed(engine: Engine) -> Op[list[Finding]]:
    now = engine.clock.now()
    workers = yield from alive(engine)
    infos = yield from group_infos(engine)
    return findings(infos, workers, (yield from engine.store.scheduled()), now)


def alive(engine: Engine) -> Op[list[Worker]]:
    """Workers that were heard of within the time a lease lasts."""
    return (yield from engine.store.workers(engine.clock.now() - engine.lease))
