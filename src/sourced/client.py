"""All an app can be asked to do: on a `Client` it happens here and now, on an `AsyncClient` it is awaited.

The verbs themselves are told by what they are for: `storing`, `reading`, `working`, `views`, `subscription`; and in
`operations` and `workflows`, which are namespaces of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Iterator
from typing import Any, ParamSpec, TypeVar

from typing_extensions import Unpack

from sourced.actor import Actor
from sourced.envelope import Message, To, address
from sourced.errors import InTransaction, TransactionEnded
from sourced.loaded import AsyncLoaded, Loaded
from sourced.operations.sides import (
    AsyncGroups,
    AsyncParked,
    AsyncScheduled,
    BlockingGroups,
    BlockingParked,
    BlockingScheduled,
)
from sourced.ops import AsyncConnection, Connection, run, run_async
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.reading import Filters, ReadingVerbs, at_least_one
from sourced.runtime.directing import started
from sourced.runtime.engine import Engine
from sourced.runtime.introduction import introduced, nothing, prepared
from sourced.runtime.programs import Program, Transact, Work, drive, drive_all, perform, perform_async
from sourced.runtime.transacting import (
    Borrowed,
    borrowing,
    borrowing_async,
    joining,
    joining_async,
    transacting,
    transacting_async,
)
from sourced.storing import StoringVerbs
from sourced.subscription import AsyncSubscription, NoteVerbs, Subscription
from sourced.unit import AsyncUnit, Unit
from sourced.verbs import Awaiting, Blocking
from sourced.view import View
from sourced.views import AsyncViews, RowVerbs, Views
from sourced.workflow.workflow import Named, Runs
from sourced.workflows import AsyncRun, AsyncWorkflows, BlockingWorkflows, Run
from sourced.working import WorkingVerbs

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V", bound=View)


class Verbs(StoringVerbs, ReadingVerbs, WorkingVerbs, RowVerbs, NoteVerbs):
    """What `app.…` and `app.aio.…` offer."""

    _connection: Connection | AsyncConnection | Borrowed | None  # what has the transaction that all of it belongs to
    _over = False  # that transaction has ended


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
        if self._engine.unknown_groups():
            program = prepared(self._engine, program)
        return perform(program, self._transact, self._later)

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
        while page := self.read_all(after=after, limit=at_least_one(size), **filters):
            yield page
            after = page[-1].position

    def views(self, projector: type[Projector[V]]) -> Views[V]:
        """The rows of a projector whose state is a `View`."""
        return Views(self, projector)

    @contextlib.contextmanager
    def transaction(self, *, streams: Collection[To] = ()) -> Iterator[Client]:
        """A client whose verbs all belong to one transaction; inside one, it joins it.

        `streams`, where it will store: on PostgreSQL the places of all of them are taken at once and in order, so that
        two transactions that store in the same ones never wait for each other.
        """
        if self._connection is not None:
            if streams:
                self._perform(reserving(self._engine, streams))
            yield self
            return
        self._perform(nothing())
        with self._engine.store.transaction() as connection:
            if streams:
                run(self._engine.store.reserve({address(each) for each in streams}), connection)
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

    def using(self, connection: object, *, streams: Collection[To] = ()) -> Client:
        """A client whose verbs belong to the transaction of a connection that is yours: you commit, or roll back.

        psycopg, sqlite3, a SQLAlchemy connection or session, Django's `connection` inside `atomic`; awaited, psycopg's
        and SQLAlchemy's asynchronous ones. Each verb is undone by itself when it fails, and your transaction goes on.
        Sourced does not learn that you committed, so nothing is remembered, no `@after_commit` runs and nobody is
        woken: `app.wake()` does that, or they look by themselves. On PostgreSQL `dispatch` schedules for now, while
        `append` and `execute` hold their stream's shard until you commit. `streams` says where you will store: the
        first verb that writes takes the places of all of them in order, as in `transaction`.
        """
        _refuse_nesting(self._connection)
        return Client(self._engine, Borrowed(connection, frozenset(address(each) for each in streams)))


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
        if self._engine.unknown_groups():
            program = prepared(self._engine, program)
        return await perform_async(program, self._transact, self._later)

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
        while page := await self.read_all(after=after, limit=at_least_one(size), **filters):
            yield page
            after = page[-1].position

    def views(self, projector: type[Projector[V]]) -> AsyncViews[V]:
        """The rows of a projector whose state is a `View`."""
        return AsyncViews(self, projector)

    @contextlib.asynccontextmanager
    async def transaction(self, *, streams: Collection[To] = ()) -> AsyncIterator[AsyncClient]:
        """A client whose verbs all belong to one transaction; inside one, it joins it.

        `streams`, where it will store: on PostgreSQL the places of all of them are taken at once and in order, so that
        two transactions that store in the same ones never wait for each other.
        """
        if self._connection is not None:
            if streams:
                await self._perform(reserving(self._engine, streams))
            yield self
            return
        await self._perform(nothing())
        async with self._engine.store.transaction_async() as connection:
            if streams:
                await run_async(self._engine.store.reserve({address(each) for each in streams}), connection)
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

    def using(self, connection: object, *, streams: Collection[To] = ()) -> AsyncClient:
        """A client whose verbs belong to the transaction of a connection that is yours: you commit, or roll back.

        psycopg, sqlite3, a SQLAlchemy connection or session, Django's `connection` inside `atomic`; awaited, psycopg's
        and SQLAlchemy's asynchronous ones. Each verb is undone by itself when it fails, and your transaction goes on.
        Sourced does not learn that you committed, so nothing is remembered, no `@after_commit` runs and nobody is
        woken: `app.wake()` does that, or they look by themselves. On PostgreSQL `dispatch` schedules for now, while
        `append` and `execute` hold their stream's shard until you commit. `streams` says where you will store: the
        first verb that writes takes the places of all of them in order, as in `transaction`.
        """
        _refuse_nesting(self._connection)
        return AsyncClient(self._engine, Borrowed(connection, frozenset(address(each) for each in streams)))


def reserving(engine: Engine, streams: Collection[To]) -> Program[None]:
    """Takes the places of streams in a transaction that is open already."""
    yield Transact(engine.store.reserve({address(each) for each in streams}))


def _refuse_nesting(connection: object) -> None:
    if connection is not None:
        raise InTransaction("this client belongs to a transaction already; ask the app itself")
