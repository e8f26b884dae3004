"""All an app can be asked to do, written once: on a `Client` it happens here and now, on an `AsyncClient` it is awaited."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar, overload

import msgspec
from msgspec.structs import replace

from sourced.actor import Actor, Aggregate, Decision
from sourced.clock import as_delta
from sourced.envelope import Message, To, address, dispatch
from sourced.errors import Conflict, Invalid, NotKnown
from sourced.ids import new_id
from sourced.messages import Command, Payload
from sourced.ops import AsyncConnection, Call, Connection, Op
from sourced.reactor import Reactor
from sourced.runtime import foreground
from sourced.runtime.engine import Engine
from sourced.runtime.programs import (
    Invoke,
    Program,
    Transact,
    Work,
    drive,
    drive_all,
    joining,
    joining_async,
    perform,
    perform_async,
    transacting,
    transacting_async,
)
from sourced.runtime.rounds import drain
from sourced.store import Group, Progress, Scheduled, Straggler, StreamState

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")

AnyReactor: TypeAlias = str | type[Reactor] | Reactor


class Blocking:
    """One who carries programs out here and now."""

    def _perform(self, program: Program[T]) -> T:
        raise NotImplementedError


class Awaiting:
    """One who carries programs out on the event loop."""

    async def _perform(self, program: Program[T]) -> T:
        raise NotImplementedError


class verb(Generic[P, T]):  # noqa: N801  (it is used as a decorator)
    """A method written as a program: a plain method on a `Blocking` owner, a coroutine method on an `Awaiting` one."""

    def __init__(self, program: Callable[Concatenate[Any, P], Program[T]]) -> None:
        self.program = program
        functools.update_wrapper(self, program)  # type: ignore[arg-type]

    @overload
    def __get__(self, owner: Blocking, cls: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, owner: Awaiting, cls: Any = None) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, owner: None, cls: Any = None) -> verb[P, T]: ...
    def __get__(self, owner: Any, cls: Any = None) -> Any:
        if owner is None:
            return self

        @functools.wraps(self.program)
        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return owner._perform(self.program(owner, *args, **kwargs))

        return bound


class GroupInfo(msgspec.Struct, frozen=True):
    """How a group is doing."""

    group: Group
    progress: tuple[Progress, ...]
    stragglers: tuple[Straggler, ...]

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def status(self) -> str:
        return self.group.status

    @property
    def lag(self) -> int:
        """Messages in the log that it has not looked at yet."""
        return sum(each.pending for each in self.progress)

    @property
    def oldest(self) -> int:
        """Of the shards it has handled anything in: the position the one furthest behind has come to."""
        return min((each.high for each in self.progress if each.high), default=0)

    @property
    def newest(self) -> int:
        return max((each.high for each in self.progress), default=0)

    @property
    def parked(self) -> tuple[Straggler, ...]:
        return tuple(each for each in self.stragglers if each.parked)


class Status(msgspec.Struct, frozen=True):
    """The whole app at a glance."""

    streams: int
    position: int
    groups: tuple[GroupInfo, ...]
    scheduled: int


class _Side:
    """What both sides are made from."""

    _engine: Engine


class Verbs(_Side):
    """What `app.…` and `app.aio.…` offer."""

    # -- deciding and storing

    @verb
    def execute(
        self,
        command: Command | Message[Any],
        *,
        to: To | None = None,
        expected_seq: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Decision]:
        """Decides a command now and stores it with its events, atomically; a `Rejection` reaches the caller.

        On a conflict it is decided anew on fresh history, a few times, and then raises `Conflict`;
        `expected_seq` pins the stream's seq instead.
        """
        source = self._message(command, to, metadata)
        return (yield from foreground.execute_routed(self._engine, source, expected_seq=expected_seq))

    @verb
    def dispatch(
        self,
        message: Payload | Message[Any],
        *,
        to: To | None = None,
        at: datetime | None = None,
        after: timedelta | float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Message[Any]]:
        """Stores a message for the workers to handle, now or at a later time. The same message id is stored once."""
        source = self._message(message, to, metadata)
        due = dispatch(source.payload, at=at, after=after).due(self._engine.clock.now())
        return (yield from foreground.dispatch(self._engine, source, due))

    @verb
    def append(
        self, stream: To, messages: Payload | Message[Any] | Iterable[Payload | Message[Any]], *,
        expected_seq: int | None = None, metadata: Mapping[str, Any] | None = None,
    ) -> Program[list[Message[Any]]]:  # fmt: skip
        """Stores messages in one stream as they are, all or none; `expected_seq` says what they must follow."""
        name = address(stream)
        several = [messages] if isinstance(messages, Payload | Message) else list(messages)
        enveloped = [self._message(each, name, metadata) for each in several]
        return (yield from foreground.append(self._engine, name, enveloped, expected_seq))

    def _message(
        self, message: Payload | Message[Any], to: To | None, metadata: Mapping[str, Any] | None
    ) -> Message[Any]:
        if not isinstance(message, Message):
            if to is None:
                name = type(message).__qualname__
                raise Invalid(name, {"stream": f"expected to=…, the stream this {name} is for"})
            return Message.new(message, stream=to, metadata=metadata, now=self._engine.clock.now())
        if to is not None and address(to) != message.stream:
            raise Invalid(
                message.type, {"stream": f"expected a message of {address(to)!r}, found one of {message.stream!r}"}
            )
        if not message.stream:
            raise Invalid(message.type, {"stream": "expected a stream's name, found an empty one"})
        return message.with_metadata(metadata or {})

    # -- reading

    @verb
    def history(self, stream: To, *, after: int = 0, upto: int | None = None) -> Program[list[Message[Any]]]:
        """A stream's messages in order: after one seq, up to and including another."""
        records = yield from foreground.read(self._engine, address(stream), after, upto)
        return self._engine.codec.decode_all(records)

    @verb
    def read_all(
        self, *, after: int = 0, limit: int | None = None, types: Iterable[type[Payload]] | None = None,
        backwards: bool = False,
    ) -> Program[list[Message[Any]]]:  # fmt: skip
        """The whole log in order of position: after one position, of some types, backwards."""
        names = None if types is None else {name for cls in types for name in cls.__sourced__.names}
        op = self._engine.store.read_all(after=after, limit=_not_negative(limit), types=names, backwards=backwards)
        return self._engine.codec.decode_all((yield Transact(op)))

    @verb
    def trace(self, message: str | Message[Any]) -> Program[list[Message[Any]]]:
        """The whole story a message belongs to: what caused it and all that followed, in order. Empty when unknown."""
        records = yield Transact(self._engine.store.trace(message if isinstance(message, str) else message.id))
        return self._engine.codec.decode_all(records)

    @verb
    def streams(self, limit: int | None = 10) -> Program[list[StreamState]]:
        """The streams that changed last, newest first."""
        return (yield Transact(self._engine.store.streams(_not_negative(limit))))

    @verb
    def status(self) -> Program[Status]:
        """How much there is, how far every group has come and what waits."""

        def op() -> Op[Status]:
            streams, position = yield from self._engine.store.extent()
            groups = yield from _group_infos(self._engine)
            return Status(streams, position, tuple(groups), len((yield from self._engine.store.scheduled())))

        return (yield Transact(op()))

    # -- working

    @verb
    def drain(self, *, limit: int | None = None, raise_errors: bool = False) -> Program[int]:
        """Handles everything pending here and now, and says how many messages that were.

        What fails goes the way of the error policy; with `raise_errors` the error reaches the caller instead, and the
        round it happened in changes nothing.
        """
        engine = self._engine
        return (yield from drain(engine, engine.router, new_id(), limit=limit, raise_errors=raise_errors))

    @verb
    def wait_for(self, message: str | Message[Any], *, timeout: timedelta | float = 30.0) -> Program[None]:
        """Until every group that wants the message has handled it: read your own writes. Raises `StillWaiting`."""
        seconds = as_delta(timeout).total_seconds()
        yield from foreground.wait_for(self._engine, message if isinstance(message, str) else message.id, seconds)


class GroupVerbs(_Side):
    """`app.groups`: how every reactor is doing, and stop, start, reset."""

    @verb
    def list(self) -> Program[list[GroupInfo]]:
        return (yield Transact(_group_infos(self._engine)))

    @verb
    def get(self, reactor: AnyReactor) -> Program[GroupInfo]:
        name = self._engine.router.group(reactor).group
        infos: Sequence[GroupInfo] = yield Transact(_group_infos(self._engine))
        return next(info for info in infos if info.name == name)

    @verb
    def stop(self, reactor: AnyReactor, reason: str = "") -> Program[None]:
        """Nothing more is handed to the group; a round in flight ends. Then the reactor's `on_stop` runs."""
        found = self._engine.router.group(reactor)
        yield Transact(self._engine.store.stop(found.group, reason))
        yield Invoke([_called(lambda: found.on_stop(reason))])

    @verb
    def start(self, reactor: AnyReactor) -> Program[None]:
        """It goes on where it was; what had failed is due at once, counting anew. Then the reactor's `on_start` runs."""
        found = self._engine.router.group(reactor)
        yield Transact(self._engine.store.start(found.group, self._engine.clock.now()))
        yield Invoke([_called(found.on_start)])
        self._engine.notifier.notify()

    @verb
    def reset(self, reactor: AnyReactor) -> Program[None]:
        """Everything is delivered again, as a replay. The reactor's `on_reset` runs in the same transaction."""
        found = self._engine.router.group(reactor)
        yield Transact(_reset(self._engine, found))
        self._engine.memos.forget(found)
        self._engine.notifier.notify()


class ParkedVerbs(_Side):
    """`app.parked`: streams that wait for a person."""

    @verb
    def list(self, reactor: AnyReactor | None = None) -> Program[list[Straggler]]:
        return (yield Transact(_parked(self._engine, reactor, None)))

    @verb
    def retry(self, reactor: AnyReactor | None = None, stream: str | None = None) -> Program[int]:
        """Hands parked streams to the workers again, counting anew: one, a group's, or all. How many there were."""

        def op() -> Op[int]:
            rows = yield from _parked(self._engine, reactor, stream)
            yield from self._engine.store.straggle([replace(row, parked=False, attempts=0) for row in rows])
            return len(rows)

        count: int = yield Transact(op())
        self._engine.notifier.notify()
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
        self._engine.notifier.notify()


class ScheduledVerbs(_Side):
    """`app.scheduled`: messages that wait for their time."""

    @verb
    def list(self) -> Program[list[Scheduled]]:
        """In the order they will be promoted; one with an `error` was set aside."""
        return (yield Transact(self._engine.store.scheduled()))

    @verb
    def cancel(self, *message_ids: str) -> Program[Sequence[str]]:
        """Takes messages off the schedule; the ids that were still there."""
        return (yield Transact(self._engine.store.cancel(message_ids)))

    @verb
    def promote(self) -> Program[int]:
        """Moves what is due into the log, as workers do by themselves. How many there were."""
        records = yield Transact(self._engine.store.promote(self._engine.clock.now()))
        self._engine.notifier.notify()
        return len(records)


# -- one stream's actor, loaded --------------------------------------------------------------------------------------


class LoadedVerbs(Aggregate[S]):
    """An actor with its stream's history folded in."""

    _client: Any
    pinned: bool  # loaded as of an earlier seq: it stays there, and a decision on it conflicts with what came since

    def __init__(self, client: Any, actor: Actor[S], stream: str, *, pinned: bool = False) -> None:
        super().__init__(actor, stream)
        self._client = client
        self.pinned = pinned

    @verb
    def execute(
        self, command: Command | Message[Any], *, expected_seq: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Decision]:  # fmt: skip
        """Decides a command and stores it with its events, atomically; then this state includes them."""
        engine: Engine = self._client._engine
        if expected_seq is not None and expected_seq != self.seq:
            raise Conflict(self.stream, expected=expected_seq, actual=self.seq)
        pinned = self.pinned or expected_seq is not None
        source = self._client._message(command, self.stream, metadata)
        return (yield from foreground.execute(engine, self, source, loaded=True, pinned=pinned))

    @verb
    def history(self) -> Program[list[Message[Any]]]:
        """The messages this state is made of."""
        records = yield from foreground.read(self._client._engine, self.stream, 0, self.seq)
        return self._client._engine.codec.decode_all(records)

    @verb
    def refresh(self) -> Program[list[Message[Any]]]:
        """Folds in what was stored since; the messages that were new."""
        records = yield from foreground.catch_up(self._client._engine, self)
        self.pinned = False
        return self._client._engine.codec.decode_all(records)

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class Loaded(LoadedVerbs[S], Blocking):
    """What `app.load` gives you."""

    def _run(self, command: Any) -> Decision:
        return self.execute(command)


class AsyncLoaded(LoadedVerbs[S], Awaiting):
    """What `await app.aio.load` gives you."""

    def _run(self, command: Any) -> Coroutine[Any, Any, Decision]:
        return self.execute(command)


def _load(engine: Engine, aggregate: Aggregate[Any], upto: int | None) -> Program[None]:
    yield from foreground.catch_up(engine, aggregate, upto)


# -- the two sides ---------------------------------------------------------------------------------------------------


class Client(Verbs, Blocking):
    """An app's verbs, carried out here and now: each in a transaction of its own, or all in the one it was made for."""

    def __init__(self, engine: Engine, connection: Connection | None = None) -> None:
        self._engine = engine
        self._connection = connection
        self._transact = transacting(engine.store) if connection is None else joining(connection)
        self._later: list[Work] | None = None if connection is None else []
        self.groups = _Groups(self)
        self.parked = _Parked(self)
        self.scheduled = _Scheduled(self)

    def _perform(self, program: Program[T]) -> T:
        return perform(prepared(self._engine, program), self._transact, self._later)

    def load(self, actor: type[Actor[S]], stream: To, *, upto: int | None = None) -> Loaded[S]:
        """An actor with its stream's history folded in, up to a seq if you like: time travel."""
        loaded = Loaded(self, self._engine.router.actor(actor), address(stream), pinned=upto is not None)
        self._perform(_load(self._engine, loaded, upto))
        return loaded

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Client]:
        """A client whose verbs all belong to one transaction; inside one, it joins it."""
        if self._connection is not None:
            yield self
            return
        self._perform(_nothing())
        with self._engine.store.transaction() as connection:
            client = Client(self._engine, connection)
            yield client
        for work in client._later or ():
            drive(work)


class AsyncClient(Verbs, Awaiting):
    """The awaitable twin of everything on `Client`."""

    def __init__(self, engine: Engine, connection: AsyncConnection | None = None) -> None:
        self._engine = engine
        self._connection = connection
        self._transact = transacting_async(engine.store) if connection is None else joining_async(connection)
        self._later: list[Work] | None = None if connection is None else []
        self.groups = _AsyncGroups(self)
        self.parked = _AsyncParked(self)
        self.scheduled = _AsyncScheduled(self)

    async def _perform(self, program: Program[T]) -> T:
        return await perform_async(prepared(self._engine, program), self._transact, self._later)

    async def load(self, actor: type[Actor[S]], stream: To, *, upto: int | None = None) -> AsyncLoaded[S]:
        loaded = AsyncLoaded(self, self._engine.router.actor(actor), address(stream), pinned=upto is not None)
        await self._perform(_load(self._engine, loaded, upto))
        return loaded

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncClient]:
        if self._connection is not None:
            yield self
            return
        await self._perform(_nothing())
        async with self._engine.store.transaction_async() as connection:
            client = AsyncClient(self._engine, connection)
            yield client
        await drive_all(client._later or ())


class _Namespace(_Side):
    def __init__(self, client: Any) -> None:
        self._engine = client._engine
        self._client = client

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class _Groups(_Namespace, GroupVerbs, Blocking): ...


class _Parked(_Namespace, ParkedVerbs, Blocking): ...


class _Scheduled(_Namespace, ScheduledVerbs, Blocking): ...


class _AsyncGroups(_Namespace, GroupVerbs, Awaiting): ...


class _AsyncParked(_Namespace, ParkedVerbs, Awaiting): ...


class _AsyncScheduled(_Namespace, ScheduledVerbs, Awaiting): ...


# -- pieces ------------------------------------------------------------------------------------------------------------


def prepared(engine: Engine, program: Program[T]) -> Program[T]:
    """Every registered group is made known to the store before anything else, so that where it starts is pinned."""
    for group, start_from in engine.unknown_groups():
        yield Transact(engine.store.register(group, start_from))
        engine.started.add(group)
    return (yield from program)


def _nothing() -> Program[None]:
    yield from ()


def _called(hook: Callable[[], Any]) -> Work:
    result = hook()
    if isinstance(result, Awaitable):
        yield result


def _group_infos(engine: Engine) -> Op[list[GroupInfo]]:
    known = {reactor.group for reactor in engine.router}
    infos: list[GroupInfo] = []
    for group in (yield from engine.store.groups()):
        if group.name in known:
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


def _not_negative(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise Invalid("limit", {"limit": f"expected 0 or more, or None for all, found {limit}"})
    return limit
