"""All an app can be asked to do: on a `Client` it happens here and now, on an `AsyncClient` it is awaited."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sourced.actor import Actor, Decision
from sourced.clock import as_delta
from sourced.envelope import Message, To, address, dispatch
from sourced.errors import InTransaction, Invalid, TransactionEnded
from sourced.ids import new_id
from sourced.loaded import AsyncLoaded, Loaded
from sourced.messages import Command, Payload
from sourced.operations import (
    AsyncGroups,
    AsyncParked,
    AsyncScheduled,
    BlockingGroups,
    BlockingParked,
    BlockingScheduled,
    Status,
    group_infos,
)
from sourced.ops import AsyncConnection, Connection, Op
from sourced.runtime import foreground
from sourced.runtime.engine import Engine
from sourced.runtime.programs import (
    Afterwards,
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
from sourced.store import StreamState
from sourced.verbs import Awaiting, Blocking, Side, verb

T = TypeVar("T")
S = TypeVar("S")


class Verbs(Side):
    """What `app.…` and `app.aio.…` offer."""

    _connection: Connection | AsyncConnection | None  # the transaction that all of it belongs to, if there is one
    _over = False  # that transaction has ended

    # -- deciding and storing

    @verb
    def execute(
        self,
        command: Command | Message[Command],
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
                name = type(dispatch(message).payload).__qualname__  # which refuses what is no message at all
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
        op = self._engine.store.read_all(
            after=_position(after), limit=_not_negative(limit), types=names, backwards=backwards
        )
        return self._engine.codec.decode_all((yield Transact(op, reading=True)))

    @verb
    def trace(self, message: str | Message[Any]) -> Program[list[Message[Any]]]:
        """The whole story a message belongs to: what caused it and all that followed, in order. Empty when unknown."""
        records = yield Transact(self._engine.store.trace(_id_of(message)), reading=True)
        return self._engine.codec.decode_all(records)

    @verb
    def streams(self, limit: int | None = 10) -> Program[list[StreamState]]:
        """The streams that changed last, newest first."""
        return (yield Transact(self._engine.store.streams(_not_negative(limit)), reading=True))

    @verb
    def status(self) -> Program[Status]:
        """How much there is, how far every group has come and what waits."""

        def op() -> Op[Status]:
            streams, position = yield from self._engine.store.extent()
            groups = yield from group_infos(self._engine)
            return Status(streams, position, tuple(groups), len((yield from self._engine.store.scheduled())))

        return (yield Transact(op(), reading=True))

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
        if self._connection is not None:
            raise InTransaction(
                "nobody else can see, or handle, what this transaction stores before it ends; wait then"
            )
        yield from foreground.wait_for(self._engine, _id_of(message), as_delta(timeout).total_seconds())


class Client(Verbs, Blocking):
    """An app's verbs, carried out here and now: each in a transaction of its own, or all in the one it was made for."""

    def __init__(self, engine: Engine, connection: Connection | None = None) -> None:
        self._engine = engine
        self._connection = connection
        self._transact = transacting(engine.store) if connection is None else joining(engine.store, connection)
        self._later: list[Work] | None = None if connection is None else []
        self.groups = BlockingGroups(self)
        self.parked = BlockingParked(self)
        self.scheduled = BlockingScheduled(self)

    def _perform(self, program: Program[T]) -> T:
        if self._over:
            raise TransactionEnded()
        return perform(prepared(self._engine, program), self._transact, self._later)

    def load(self, actor: type[Actor[S]], stream: To, *, upto: int | None = None) -> Loaded[S]:
        """An actor with its stream's history folded in, up to a seq if you like: time travel."""
        loaded = Loaded(self, self._engine.router.actor(actor), address(stream), pinned=upto is not None)
        self._perform(loaded._read(upto))
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
            try:
                yield client
            finally:
                client._over = True
        for work in client._later or ():
            drive(work)


class AsyncClient(Verbs, Awaiting):
    """The awaitable twin of everything on `Client`."""

    def __init__(self, engine: Engine, connection: AsyncConnection | None = None) -> None:
        self._engine = engine
        self._connection = connection
        self._transact = (
            transacting_async(engine.store) if connection is None else joining_async(engine.store, connection)
        )
        self._later: list[Work] | None = None if connection is None else []
        self.groups = AsyncGroups(self)
        self.parked = AsyncParked(self)
        self.scheduled = AsyncScheduled(self)

    async def _perform(self, program: Program[T]) -> T:
        if self._over:
            raise TransactionEnded()
        return await perform_async(prepared(self._engine, program), self._transact, self._later)

    async def load(self, actor: type[Actor[S]], stream: To, *, upto: int | None = None) -> AsyncLoaded[S]:
        """An actor with its stream's history folded in, up to a seq if you like: time travel."""
        loaded = AsyncLoaded(self, self._engine.router.actor(actor), address(stream), pinned=upto is not None)
        await self._perform(loaded._read(upto))
        return loaded

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncClient]:
        """A client whose verbs all belong to one transaction; inside one, it joins it."""
        if self._connection is not None:
            yield self
            return
        await self._perform(_nothing())
        async with self._engine.store.transaction_async() as connection:
            client = AsyncClient(self._engine, connection)
            try:
                yield client
            finally:
                client._over = True
        await drive_all(client._later or ())


def prepared(engine: Engine, program: Program[T]) -> Program[T]:
    """Every registered group is made known to the store before anything else, so that where it starts is pinned."""
    for group, start_from in engine.unknown_groups():
        yield Transact(engine.store.register(group, start_from))
        yield Afterwards([_started(engine, group)])
    return (yield from program)


def _started(engine: Engine, group: str) -> Work:
    engine.started.add(group)
    yield from ()


def _nothing() -> Program[None]:
    yield from ()


def _id_of(message: str | Message[Any]) -> str:
    if isinstance(message, str | Message):
        return message if isinstance(message, str) else message.id
    raise Invalid("message", {"message": f"expected a stored message or its id, found {message!r}"})


def _not_negative(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise Invalid("limit", {"limit": f"expected 0 or more, or None for all, found {limit}"})
    return limit


def _position(after: int) -> int:
    if after < 0:
        raise Invalid("after", {"after": f"expected a position, 0 or more, found {after}"})
    return after
