"""`Sourced`, the object programs hold: a store, the reactors registered with it, and all that can be asked of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from sourced.actions import Policy
from sourced.client import AsyncClient, Client
from sourced.clock import Clock, SystemClock, as_delta
from sourced.codec import Codec
from sourced.errors import DefinitionError
from sourced.handling import HandlerFunction
from sourced.messages import Command, Event, Payload, is_payload_class
from sourced.notifiers.local import LocalNotifier
from sourced.notifiers.relayed import RelayedNotifier
from sourced.policy import Retry, check_policy
from sourced.reactor import Reactor, StartFrom
from sourced.runtime.engine import Engine, Memos
from sourced.runtime.introduction import nothing
from sourced.runtime.router import Router
from sourced.runtime.workers.arrival import WAIT
from sourced.runtime.workers.signals import until_told
from sourced.runtime.workers.worker import Worker
from sourced.store import Store
from sourced.stores.apart import SnapshotsApart
from sourced.telemetry import Telemetry
from sourced.topology.drawn import Topology
from sourced.topology.reading import topology_of

P = ParamSpec("P")
R = TypeVar("R")
Until: TypeAlias = Callable[[Callable[[], None]], contextlib.AbstractContextManager[None]]


class Sourced(Client):
    """An application: `Sourced()` keeps everything in memory; `Sourced(url)` is the same program on another store."""

    def __init__(
        self,
        store: str | Store = "memory://",
        *,
        snapshots: str | Store | None = None,
        errors: Policy | None = None,
        clock: Clock | None = None,
        batch: int = 500,
        cache: int = 10_000,
        idle: timedelta | float = 300.0,
        lease: timedelta | float = 30.0,
    ) -> None:
        if errors is not None:
            check_policy("Sourced(errors=…)", errors)
        for name, value, least in (("batch", batch, 1), ("cache", cache, 0)):
            if value < least:
                raise DefinitionError(f"Sourced({name}=…): expected {least} or more, found {value}")
        if as_delta(idle) < timedelta():
            raise DefinitionError(f"Sourced(idle=…): expected a time from 0, found {idle!r}")
        codec, opened, clock = Codec(), _opened(store), clock or SystemClock()
        if snapshots is not None:
            opened = cast("Store", SnapshotsApart(opened, _opened(snapshots)))
        relay = opened.relay()
        super().__init__(
            Engine(
                store=opened,
                codec=codec,
                clock=clock,
                notifier=LocalNotifier() if relay is None else RelayedNotifier(LocalNotifier(), relay),
                errors=Retry() if errors is None else errors,
                router=Router(codec),
                memos=Memos(cache, clock, as_delta(idle)),
                batch=batch,
                lease=as_delta(lease),
            )
        )

    @property
    def store(self) -> Store:
        return self._engine.store

    @property
    def telemetry(self) -> Telemetry:
        """What happens here, for whoever listens: `app.telemetry.listen(print)`."""
        return self._engine.telemetry

    @functools.cached_property
    def aio(self) -> AsyncClient:
        """The awaitable twin of everything here: `await app.aio.execute(…)`."""
        return AsyncClient(self._engine)

    @functools.cached_property
    def dashboard(self) -> Callable[..., Awaitable[None]]:
        """The dashboard as an ASGI application, to be mounted; open to this machine alone.

        `sourced.dashboard.dashboard(app, access=…)` makes one that lets others in.
        """
        try:
            edge: Any = import_module("sourced.dashboard")  # by name: it is made with apps, and not the other way round
        except ModuleNotFoundError as missing:
            raise DefinitionError(f"app.dashboard needs {missing.name}: pip install 'sourced-py[ui]'") from missing
        return edge.dashboard(self)

    def register(self, *things: type[Reactor] | Reactor | type[Payload], inline: bool = False) -> None:
        """Makes reactors part of this app; a message class, or a family, is only made known so that it can be read.

        With `inline` projectors write their rows in the transaction of the append: whoever has stored an event finds it
        in them, and what they cannot take is not stored. What comes due from the schedule is projected by workers.
        """
        for thing in things:
            if thing in (Command, Event, Payload):
                raise DefinitionError(
                    f"register: {thing.__name__} is every app's; name your own family of messages, or its members"
                )
            elif is_payload_class(thing) and not inline:
                self._engine.codec.learn(thing)
            elif isinstance(thing, Reactor) or (isinstance(thing, type) and issubclass(thing, Reactor)):
                self._engine.router.add(thing, inline=inline)
            else:
                wanted = "projectors" if inline else "actors, projectors and other reactors"
                raise DefinitionError(f"register: expected {wanted}, one by one, found {thing!r}")

    def on(
        self,
        *messages: type[Payload],
        group: str | None = None,
        errors: Policy | None = None,
        start_from: StartFrom = "beginning",
    ) -> Callable[[Callable[P, R]], HandlerFunction[P, R]]:
        """Makes a function a reactor of this app, in a group that is named like the function, or as you say.

        Its first parameter is the message; others are given what they are annotated for: `history: History`,
        `replaying: bool`, `log: Logger`, `now: datetime`. It yields or returns what follows. The function stays one.
        """

        for each in messages:
            if not isinstance(each, type):
                raise DefinitionError(
                    f"app.on: expected message classes, found {getattr(each, '__qualname__', repr(each))}; "
                    f"write @app.on(OrderPlaced), with those it is for"
                )

        def register(function: Callable[P, R]) -> HandlerFunction[P, R]:
            handler = HandlerFunction(function, messages, group=group, errors=errors, start_from=start_from)
            self.register(handler)
            return handler

        return register

    def topology(self) -> Topology:
        """Who makes what and who answers it, read from what is registered and from the code of its handlers."""
        return topology_of(self._engine.router, self._engine.codec.known())

    @contextlib.asynccontextmanager
    async def running(self, *, rounds: int = 2, wait: timedelta | float = WAIT) -> AsyncIterator[Sourced]:
        """Works on everything pending for as long as the block lasts, on this event loop: in a web server's lifespan.

        `rounds` is how many of each group may be in hand at a time. The rounds in hand at the end are finished. A store
        that is not there yet is waited for, so long.
        """
        worker = self._worker(rounds)
        await worker.arrive(self._introduced, wait)
        working = asyncio.create_task(worker.run())
        try:
            yield self
        finally:
            worker.stop()
            await working

    @contextlib.asynccontextmanager
    async def lifespan(self, web: object) -> AsyncIterator[None]:
        """`running()` as web frameworks like to be given it: `Starlette(lifespan=app.lifespan)`."""
        async with self.running():
            yield

    def run(self, *, rounds: int = 2, wait: timedelta | float = WAIT) -> None:
        """Works on everything, in this process, until SIGINT or SIGTERM; the rounds in hand are finished first.

        A store that is not there yet is waited for, so long.
        """
        if asyncio._get_running_loop() is not None:
            raise DefinitionError(
                "an event loop is running here, which app.run() would hold up: async with app.running()"
            )
        asyncio.run(self._work(rounds, wait, until_told))

    async def _work(self, rounds: int, wait: timedelta | float, until: Until) -> None:
        worker = self._worker(rounds)
        with until(worker.stop):
            if await worker.arrive(self._introduced, wait):
                await worker.run()

    async def _there(self, wait: timedelta | float, until: Until) -> bool:
        """Waits until others could begin to work; false if it was told to end before."""
        worker = self._worker(1)
        with until(worker.stop):
            return await worker.arrive(self._introduced, wait)

    def _worker(self, rounds: int) -> Worker:
        if rounds < 1:
            raise DefinitionError(f"rounds: expected 1 or more, found {rounds}")
        return Worker(self._engine, rounds=rounds)

    async def _introduced(self) -> None:
        """The store knows the groups."""
        await self.aio._perform(nothing())

    def close(self) -> None:
        self._engine.notifier.close()
        self._engine.store.close()

    def __enter__(self) -> Sourced:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(store: str | Store) -> Store:
    if not isinstance(store, str):
        if not hasattr(store, "transaction"):
            raise DefinitionError(f"Sourced(store): expected a URL such as memory://, or a store, found {store!r}")
        return store
    return store_at(store)


def store_at(url: str, **options: Any) -> Store:
    """The store that a URL names, with options of its class."""
    scheme, _, rest = url.partition("://")
    if scheme == "memory":
        from sourced.stores.memory import MemoryStore

        return MemoryStore(**options)
    if scheme == "sqlite" and "?" in rest:
        raise DefinitionError(
            f"{url!r}: the URL of a file takes no options; give them to the store: Sourced(SqliteStore(path, …))"
        )
    if scheme == "sqlite":
        from sourced.stores.sqlite import SqliteStore

        return SqliteStore(rest.removeprefix("/"), **options)
    if scheme in ("postgresql", "postgres"):
        try:
            from sourced.stores.postgres import PostgresStore
        except ModuleNotFoundError as missing:
            if missing.name != "psycopg":
                raise
            raise DefinitionError("postgresql:// needs psycopg: pip install 'sourced-py[postgres]'") from missing

        return PostgresStore(url, **options)
    if url.startswith("file:"):
        from urllib.request import url2pathname  # which brings HTTP and mail along

        from sourced.stores.file import FileStore

        return FileStore(url2pathname(url.removeprefix("file:").removeprefix("//")), **options)
    known = "expected memory://, sqlite:///shop.db, postgresql://… or file:///folder"
    if "+" in scheme and scheme.partition("+")[0] in ("sqlite", "postgresql", "postgres"):
        known = f"its driver is known here; write {scheme.partition('+')[0]}://…"
    raise DefinitionError(f"no store for {_without_password(url)!r}: {known}")


def _without_password(url: str) -> str:
    return re.sub(r"(?<=//)([^/@:]*):[^/@]*@", r"\1:…@", url)
