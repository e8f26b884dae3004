"""All an app can be asked to do: on a `Client` it happens here and now, on an `AsyncClient` it is awaited."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypedDict, TypeVar

import msgspec
from typing_extensions import Unpack

from sourced.actions import check_zone
from sourced.actor import Actor, Decision
from sourced.clock import as_delta
from sourced.doctor import Finding
from sourced.envelope import Message, To, address, dispatch
from sourced.errors import InTransaction, Invalid, Rejection, TransactionEnded
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
    alive,
    diagnosed,
    group_infos,
)
from sourced.ops import AsyncConnection, Connection, Op
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.runtime import foreground
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import (
    Afterwards,
    Borrowed,
    InTurn,
    Program,
    Transact,
    Work,
    borrowing,
    borrowing_async,
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
from sourced.store import StreamState, Worker
from sourced.subscription import AsyncSubscription, Subscription, check_channel
from sourced.unit import AsyncUnit, Unit
from sourced.verbs import Awaiting, Blocking, verb
from sourced.view import View
from sourced.views import AsyncViews, RowVerbs, Views
from sourced.workflow.workflow import Named, Runs
from sourced.workflows import AsyncRun, AsyncWorkflows, BlockingWorkflows, Run, RunOrId, signalled, started

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", bound=View)


class Filters(TypedDict, total=False):
    """What of the log is wanted."""

    types: Iterable[type[Payload]] | None
    since: datetime | None
    until: datetime | None
    backwards: bool


class Verbs(RowVerbs):
    """What `app.…` and `app.aio.…` offer."""

    _connection: Connection | AsyncConnection | Borrowed | None  # what has the transaction that all of it belongs to
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
    def attempt(
        self,
        command: Command | Message[Command],
        *,
        to: To | None = None,
        expected_seq: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Decision | Rejection]:
        """The same where a no is an answer like any other: a `Rejection` is returned and not raised."""
        source = self._message(command, to, metadata)
        try:
            return (yield from foreground.execute_routed(self._engine, source, expected_seq=expected_seq))
        except Rejection as no:
            return no

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
        now = self._engine.clock.now()
        due = dispatch(source.payload, at=at, after=after).due(now)
        if due is None and isinstance(self._connection, Borrowed) and self._engine.store.capabilities.concurrent:
            due = now  # an append would hold its shard, and all who append there, until the caller commits
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
        return (yield from foreground.append(self._engine, enveloped, name, expected_seq))

    @verb
    def signal(self, run: RunOrId, message: Payload | Message[Any]) -> Program[Message[Any]]:
        """Sends a run of a workflow a message that it waits for, now or later."""
        return (yield from signalled(self._engine, address(run), self._message(message, address(run), None)))

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
        since: datetime | None = None, until: datetime | None = None, backwards: bool = False,
    ) -> Program[list[Message[Any]]]:  # fmt: skip
        """The log in order of position: after one position, of some types, made since a time and until another."""
        names = None if types is None else {name for cls in types for name in cls.__sourced__.names}
        for time in (since, until):
            if time is not None:
                check_zone("read_all", time)
        op = self._engine.store.read_all(
            after=_position(after), limit=_not_negative(limit), types=names, since=since, until=until,
            backwards=backwards,
        )  # fmt: skip
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
    def doctor(self) -> Program[list[Finding]]:
        """Why anything waits, and what to do about it: trouble first. Empty when nothing does."""
        return (yield Transact(diagnosed(self._engine), reading=True))

    @verb
    def workers(self) -> Program[list[Worker]]:
        """The workers that are alive, the longest-serving first."""
        return (yield Transact(alive(self._engine), reading=True))

    @verb
    def drain(self, *, limit: int | None = None, raise_errors: bool = False) -> Program[int]:
        """Handles everything pending here and now, and says how many messages that were.

        What fails goes the way of the error policy; with `raise_errors` the error reaches the caller instead, and the
        round it happened in changes nothing.
        """
        engine = self._engine
        return (yield from drain(engine, engine.router, new_id(), limit=limit, raise_errors=raise_errors))

    # -- telling

    @verb
    def publish(self, channel: str, data: Any) -> Program[None]:
        """Tells who listens to a channel at this moment, in every process; what nobody hears is gone.

        In a transaction it is heard when that has committed. `data` is anything that JSON can hold.
        """
        check_channel("publish", channel)
        text = _as_json(data)
        saying = self._engine.notifier.say(channel, text)
        if saying is None:
            yield Afterwards([_noted(self._engine, channel, text)])
        else:
            yield Transact(saying)

    @verb
    def wake(self) -> Program[None]:
        """Tells whoever waits for messages to look now: after a commit that Sourced did not see."""
        yield Afterwards([*committed(self._engine, ())])

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

    def __init__(self, engine: Engine, connection: Connection | Borrowed | None = None) -> None:
        self._engine = engine
        self._connection = connection
        if isinstance(connection, Borrowed):
            self._transact = borrowing(engine.store, connection)
        else:
            self._transact = transacting(engine.store) if connection is None else joining(engine.store, connection)
        self._later: list[Work] | None = None if connection is None else []
        self.groups = BlockingGroups(self)
        self.parked = BlockingParked(self)
        self.scheduled = BlockingScheduled(self)
        self.workflows = BlockingWorkflows(self)

    def _perform(self, program: Program[T]) -> T:
        if self._over:
            raise TransactionEnded()
        if isinstance(self._connection, Borrowed):
            perform(introduced(self._engine), transacting(self._engine.store))
            return perform(prepared(self._engine, program), self._transact, [])  # nobody tells us that it was committed
        return perform(prepared(self._engine, program), self._transact, self._later)

    def load(self, actor: type[Actor[S]], stream: To, *, upto: int | None = None) -> Loaded[S]:
        """An actor with its stream's history folded in, up to a seq if you like: time travel."""
        loaded = Loaded(self, self._engine.router.actor(actor), address(stream), pinned=upto is not None)
        self._perform(loaded._read(upto))
        return loaded

    def unit(self, *reactors: str | type[Reactor] | Reactor, most: int = 100, keep_commands: bool = True) -> Unit:
        """Some of the registered reactors, to answer a command together in one transaction: see `Unit.execute`.

        `most` is how many messages they may handle before they are taken to run in circles. Without `keep_commands` the
        commands that they handle are not stored, only what follows from them.
        """
        return Unit(self, reactors, most, keep_commands)

    def start(self, workflow: type[Runs[P, R]] | Named[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Run[R]:
        """Starts a run of a workflow, for the workers to carry out. Under an id that was given it is started once."""
        return Run(self, *self._perform(started(self._engine, workflow, args, kwargs)))

    def subscribe(self, *channels: str) -> Subscription:
        """What is published on these channels, from now on: enter it, then iterate, or `get` one note at a time."""
        return Subscription(self._engine, channels)

    def pages(self, *, size: int = 1_000, after: int = 0, **filters: Unpack[Filters]) -> Iterator[list[Message[Any]]]:
        """The log as `read_all` gives it, `size` messages at a time, each page read when it is asked for."""
        while page := self.read_all(after=after, limit=_at_least_one(size), **filters):
            yield page
            after = page[-1].position

    def views(self, projector: type[Projector[V]]) -> Views[V]:
        """The rows of a projector whose state is a `View`."""
        return Views(self, projector)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Client]:
        """A client whose verbs all belong to one transaction; inside one, it joins it."""
        if self._connection is not None:
            yield self
            return
        self._perform(nothing())
        with self._engine.store.transaction() as connection:
            client = Client(self._engine, connection)
            try:
                yield client
            finally:
                client._over = True
        for work in client._later or ():
            drive(work)

    def migrate(self) -> list[str]:
        """Brings the database's tables up to date; the names of the steps that were made.

        Only PostgreSQL needs it, before the first use and after an update. Other stores do it when they are opened.
        """
        _refuse_nesting(self._connection)
        return self._engine.store.migrate()

    def using(self, connection: object) -> Client:
        """A client whose verbs belong to the transaction of a connection that is yours: you commit, or roll back.

        psycopg, sqlite3, a SQLAlchemy connection or session, Django's `connection` inside `atomic`; awaited, psycopg's
        and SQLAlchemy's asynchronous ones. Each verb is undone by itself when it fails, and your transaction goes on.
        Sourced does not learn that you committed, so nothing is remembered, no `@after_commit` runs and nobody is
        woken: `app.wake()` does that, or they look by themselves. On PostgreSQL `dispatch` schedules for now, while
        `append` and `execute` hold their stream's shard until you commit.
        """
        _refuse_nesting(self._connection)
        return Client(self._engine, Borrowed(connection))


class AsyncClient(Verbs, Awaiting):
    """The awaitable twin of everything on `Client`."""

    def __init__(self, engine: Engine, connection: AsyncConnection | Borrowed | None = None) -> None:
        self._engine = engine
        self._connection = connection
        if isinstance(connection, Borrowed):
            self._transact = borrowing_async(engine.store, connection)
        elif connection is None:
            self._transact = transacting_async(engine.store)
        else:
            self._transact = joining_async(engine.store, connection)
        self._later: list[Work] | None = None if connection is None else []
        self.groups = AsyncGroups(self)
        self.parked = AsyncParked(self)
        self.scheduled = AsyncScheduled(self)
        self.workflows = AsyncWorkflows(self)

    async def _perform(self, program: Program[T]) -> T:
        if self._over:
            raise TransactionEnded()
        if isinstance(self._connection, Borrowed):
            await perform_async(introduced(self._engine), transacting_async(self._engine.store))
            return await perform_async(prepared(self._engine, program), self._transact, [])
        return await perform_async(prepared(self._engine, program), self._transact, self._later)

    async def load(self, actor: type[Actor[S]], stream: To, *, upto: int | None = None) -> AsyncLoaded[S]:
        """An actor with its stream's history folded in, up to a seq if you like: time travel."""
        loaded = AsyncLoaded(self, self._engine.router.actor(actor), address(stream), pinned=upto is not None)
        await self._perform(loaded._read(upto))
        return loaded

    def unit(self, *reactors: str | type[Reactor] | Reactor, most: int = 100, keep_commands: bool = True) -> AsyncUnit:
        """Some of the registered reactors, to answer a command together in one transaction: see `Unit.execute`.

        `most` is how many messages they may handle before they are taken to run in circles. Without `keep_commands` the
        commands that they handle are not stored, only what follows from them.
        """
        return AsyncUnit(self, reactors, most, keep_commands)

    async def start(
        self, workflow: type[Runs[P, R]] | Named[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncRun[R]:
        """Starts a run of a workflow, for the workers to carry out. Under an id that was given it is started once."""
        return AsyncRun(self, *(await self._perform(started(self._engine, workflow, args, kwargs))))

    def subscribe(self, *channels: str) -> AsyncSubscription:
        """What is published on these channels, from now on: enter it, then iterate, or `get` one note at a time."""
        return AsyncSubscription(self._engine, channels)

    async def pages(
        self, *, size: int = 1_000, after: int = 0, **filters: Unpack[Filters]
    ) -> AsyncIterator[list[Message[Any]]]:
        """The log as `read_all` gives it, `size` messages at a time, each page read when it is asked for."""
        while page := await self.read_all(after=after, limit=_at_least_one(size), **filters):
            yield page
            after = page[-1].position

    def views(self, projector: type[Projector[V]]) -> AsyncViews[V]:
        """The rows of a projector whose state is a `View`."""
        return AsyncViews(self, projector)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncClient]:
        """A client whose verbs all belong to one transaction; inside one, it joins it."""
        if self._connection is not None:
            yield self
            return
        await self._perform(nothing())
        async with self._engine.store.transaction_async() as connection:
            client = AsyncClient(self._engine, connection)
            try:
                yield client
            finally:
                client._over = True
        await drive_all(client._later or ())

    async def migrate(self) -> list[str]:
        """Brings the database's tables up to date; the names of the steps that were made.

        Only PostgreSQL needs it, before the first use and after an update. Other stores do it when they are opened.
        """
        _refuse_nesting(self._connection)
        return await self._engine.store.migrate_async()

    def using(self, connection: object) -> AsyncClient:
        """A client whose verbs belong to the transaction of a connection that is yours: you commit, or roll back.

        psycopg, sqlite3, a SQLAlchemy connection or session, Django's `connection` inside `atomic`; awaited, psycopg's
        and SQLAlchemy's asynchronous ones. Each verb is undone by itself when it fails, and your transaction goes on.
        Sourced does not learn that you committed, so nothing is remembered, no `@after_commit` runs and nobody is
        woken: `app.wake()` does that, or they look by themselves. On PostgreSQL `dispatch` schedules for now, while
        `append` and `execute` hold their stream's shard until you commit.
        """
        _refuse_nesting(self._connection)
        return AsyncClient(self._engine, Borrowed(connection))


def prepared(engine: Engine, program: Program[T]) -> Program[T]:
    """Every registered group is made known to the store before anything else, so that where it starts is pinned."""
    if engine.unknown_groups():
        yield InTurn(engine.introducing, _introduction(engine))
    return (yield from program)


def _introduction(engine: Engine) -> Program[None]:
    """Of many who come at once the first one does it; for the others there is nothing left to do."""
    if unknown := engine.unknown_groups():
        groups = yield Transact(engine.store.groups(), reading=True)  # most are there, and nobody waits for who reads
        there = {group.name for group in groups}
        for name, start_from in unknown:
            if name not in there:
                yield Transact(engine.store.register(name, start_from))
            yield Afterwards([_started(engine, name)])


def introduced(engine: Engine) -> Program[None]:
    """What there is to make known beside a transaction of the caller's, so that no group waits for its end.

    Where only one transaction writes at a time, the rest is done in his, and again until it is found to have been
    committed.
    """
    if engine.unknown_groups():
        groups = yield Transact(engine.store.groups(), reading=True)
        engine.started.update(group.name for group in groups)
    if engine.store.capabilities.concurrent:
        yield from prepared(engine, nothing())


def _refuse_nesting(connection: object) -> None:
    if connection is not None:
        raise InTransaction("this client belongs to a transaction already; ask the app itself")


def _started(engine: Engine, group: str) -> Work:
    engine.started.add(group)
    yield from ()


def _noted(engine: Engine, channel: str, text: str) -> Work:
    engine.notifier.note(channel, text)
    yield from ()


def _as_json(data: Any) -> str:
    try:
        return msgspec.json.encode(data).decode()
    except (TypeError, UnicodeEncodeError) as error:
        raise Invalid("publish", {"data": f"expected what JSON can hold, found {data!r}: {error}"}) from error


def nothing() -> Program[None]:
    yield from ()


def _id_of(message: str | Message[Any]) -> str:
    if isinstance(message, str | Message):
        return message if isinstance(message, str) else message.id
    raise Invalid("message", {"message": f"expected a stored message or its id, found {message!r}"})


def _at_least_one(size: int) -> int:
    if size < 1:
        raise Invalid("pages", {"size": f"expected 1 or more, found {size}"})
    return size


def _not_negative(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise Invalid("limit", {"limit": f"expected 0 or more, or None for all, found {limit}"})
    return limit


def _position(after: int) -> int:
    if after < 0:
        raise Invalid("after", {"after": f"expected a position, 0 or more, found {after}"})
    return after
