"""`app.groups`: how every reactor is doing, and stop, start, reset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.audit import OPERATIONS, GroupReset, GroupStarted, GroupStopped
from sourced.doctor import GroupInfo
from sourced.ops import Call, Op
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Program, Transact, Work
from sourced.runtime.rebuild import BESIDE
from sourced.runtime.telling import told
from sourced.store import Group, Worker
from sourced.verbs import Side, verb

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

        stopped: GroupStopped = yield Transact(op(), anew=op)
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

        started: GroupStarted = yield Transact(op(), anew=op)
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

        reset: GroupReset = yield Transact(op(), anew=op)
        engine.memos.forget(found)
        yield Afterwards(committed(engine, ()))
        return reset


def _called(hook: Callable[[], Any]) -> Work:
    result = hook()
    if isinstance(result, Awaitable):
        yield result


def group_infos(engine: Engine) -> Op[list[GroupInfo]]:
    """Of an app that brings no reactors along: all there are, and whatever they have not settled counts as theirs."""
    types = {reactor.group: engine.types(reactor) for reactor in engine.router}
    groups = yield from engine.store.groups()
    infos: list[GroupInfo] = []
    for group in groups:
        if group.name in types or not (types or group.name.endswith(BESIDE)):
            info = yield from _of(engine, group, types.get(group.name))
            infos.append(info)
    return infos


def _of(engine: Engine, group: Group, types: Collection[str] | None) -> Op[GroupInfo]:
    progress = yield from engine.store.progress(group.name, types)
    return GroupInfo(group, tuple(progress), tuple((yield from engine.store.stragglers(group.name))))


def _info(engine: Engine, reactor: AnyReactor) -> Op[GroupInfo]:
    found = engine.router.group(reactor)
    groups = yield from engine.store.groups()
    return (yield from _of(engine, next(each for each in groups if each.name == found.group), engine.types(found)))


def _reset_of(engine: Engine, reactor: Reactor, by: str, reason: str) -> Op[GroupReset]:
    info = yield from _info(engine, reactor)
    messages = yield from engine.store.count(after=info.group.start, types=engine.types(reactor))
    return GroupReset(
        by=by, reason=reason, group=info.name, was=info.status, messages=messages, waiting=len(info.stragglers)
    )  # fmt: skip


def alive(engine: Engine) -> Op[list[Worker]]:
    """Workers that were heard of within the time a lease lasts."""
    return (yield from engine.store.workers(engine.clock.now() - engine.lease))
