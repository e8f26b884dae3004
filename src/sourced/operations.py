"""`app.groups`, `app.parked`, `app.scheduled`: what a person who runs the app can see and do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.doctor import Finding, GroupInfo, findings
from sourced.errors import NotKnown
from sourced.ops import Call, Op
from sourced.reactor import Reactor
from sourced.runtime import seams
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Program, Transact, Work
from sourced.store import Scheduled, Straggler, Worker
from sourced.verbs import Awaiting, Blocking, Side, verb

AnyReactor: TypeAlias = str | type[Reactor] | Reactor


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
        name = self._engine.router.group(reactor).group
        infos: Sequence[GroupInfo] = yield Transact(group_infos(self._engine), reading=True)
        return next(info for info in infos if info.name == name)

    @verb
    def stop(self, reactor: AnyReactor, reason: str = "") -> Program[None]:
        """Nothing more is handed to the group; a round in flight ends. Then the reactor's `on_stop` runs."""
        found = self._engine.router.group(reactor)
        yield Transact(self._engine.store.stop(found.group, reason))
        yield Afterwards([_called(lambda: found.on_stop(reason))])

    @verb
    def start(self, reactor: AnyReactor) -> Program[None]:
        """It goes on where it was; what had failed is due at once, counting anew. Then `on_start` runs."""
        found = self._engine.router.group(reactor)
        yield Transact(self._engine.store.start(found.group, self._engine.clock.now()))
        yield Afterwards([_called(found.on_start), *committed(self._engine, ())])

    @verb
    def reset(self, reactor: AnyReactor) -> Program[None]:
        """Everything is delivered again, as a replay. The reactor's `on_reset` runs in the same transaction."""
        found = self._engine.router.group(reactor)
        yield Transact(_reset(self._engine, found))
        self._engine.memos.forget(found)
        yield Afterwards([*committed(self._engine, ())])


class ParkedVerbs(Side):
    """`app.parked`: streams that wait for a person."""

    @verb
    def list(self, reactor: AnyReactor | None = None) -> Program[list[Straggler]]:
        return (yield Transact(_parked(self._engine, reactor, None), reading=True))

    @verb
    def retry(self, reactor: AnyReactor | None = None, stream: str | None = None) -> Program[int]:
        """Hands parked streams to the workers again, counting anew: one, a group's, or all. How many there were."""

        def op() -> Op[int]:
            rows = yield from _parked(self._engine, reactor, stream)
            yield from self._engine.store.straggle(
                [replace(row, parked=False, attempts=0, error="", traceback="") for row in rows]
            )
            return len(rows)

        count: int = yield Transact(op())
        yield Afterwards([*committed(self._engine, ())])
        return count

    @verb
    def skip(self, reactor: AnyReactor, stream: str, *, reason: str) -> Program[None]:
        """Gives up the message a stream is parked at; the ones behind it are handled. Raises when nothing is parked."""

        def op() -> Op[None]:
            rows = yield from _parked(self._engine, reactor, stream)
            if not rows:
                group = self._engine.router.group(reactor).group
                raise NotKnown(f"stream {stream!r} is not parked for group {group!r}; app.parked.list() tells what is")
            skipped = [
                replace(row, from_seq=row.from_seq + 1, parked=False, attempts=0, reason=f"skipped: {reason}")
                for row in rows
            ]
            yield from self._engine.store.straggle(skipped)

        yield Transact(op())
        yield Afterwards([*committed(self._engine, ())])


class ScheduledVerbs(Side):
    """`app.scheduled`: messages that wait for their time."""

    @verb
    def list(self) -> Program[list[Scheduled]]:
        """In the order they will be promoted; one with an `error` was set aside."""
        return (yield Transact(self._engine.store.scheduled(), reading=True))

    @verb
    def cancel(self, *message_ids: str) -> Program[Sequence[str]]:
        """Takes messages off the schedule; the ids that were still there."""
        return (yield Transact(self._engine.store.cancel(message_ids)))

    @verb
    def promote(self) -> Program[int]:
        """Moves what is due into the log, as workers do by themselves. How many there were."""
        now, moved = self._engine.clock.now(), 0
        while records := (yield Transact(self._engine.store.promote(now))):
            moved += len(records)
            seams.promoted(self._engine, len(records))
        yield Afterwards([*committed(self._engine, ())])
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
    known = {reactor.group for reactor in engine.router}
    infos: list[GroupInfo] = []
    for group in (yield from engine.store.groups()):
        if not known or group.name in known:  # one who brings no groups along looks at all there are
            progress = yield from engine.store.progress(group.name)
            stragglers = yield from engine.store.stragglers(group.name)
            infos.append(GroupInfo(group, tuple(progress), tuple(stragglers)))
    return infos


def _reset(engine: Engine, reactor: Reactor) -> Op[None]:
    yield from engine.store.reset(reactor.group)
    yield Call(reactor.on_reset)


def _parked(engine: Engine, reactor: AnyReactor | None, stream: str | None) -> Op[list[Straggler]]:
    group = None if reactor is None else engine.router.group(reactor).group
    rows = yield from engine.store.stragglers(group)
    return [row for row in rows if row.parked and stream in (None, row.stream)]


def diagnosed(engine: Engine) -> Op[list[Finding]]:
    now = engine.clock.now()
    workers = yield from alive(engine)
    infos = yield from group_infos(engine)
    return findings(infos, workers, (yield from engine.store.scheduled()), now)


def alive(engine: Engine) -> Op[list[Worker]]:
    """Workers that were heard of within the time a lease lasts."""
    return (yield from engine.store.workers(engine.clock.now() - engine.lease))
