"""Faults on demand: a process that dies at the nth statement, a stolen lease, a wake-up that never comes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from sourced.notifier import Types
from sourced.notifiers.local import LocalNotifier
from sourced.ops import AsyncConnection, Connection, Statement, run
from sourced.store import Claim, Store


class Crash(BaseException):
    """The process is gone: nothing that runs after this point, not even an `except Exception`, would have run."""


class CrashingStore:
    """A store whose process dies just before the nth statement it is asked to execute."""

    def __init__(self, store: Store, at: int) -> None:
        self.store = store
        self.left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def reached(self, statement: Statement) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Crash(f"before {statement.verb!r}")

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Connection]:
        with self.store.transaction(reading=reading) as connection:
            yield _Crashing(self, connection)
            self.reached(Statement("commit"))

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading: bool = False) -> AsyncIterator[AsyncConnection]:
        async with self.store.transaction_async(reading=reading) as connection:
            yield _AsyncCrashing(self, connection)
            self.reached(Statement("commit"))

    transact, transact_async = Store.transact, Store.transact_async  # no short cuts past the count
    commit, commit_async = Store.commit, Store.commit_async


class _Crashing:
    def __init__(self, store: CrashingStore, connection: Connection) -> None:
        self._store, self._connection = store, connection

    @property
    def tx(self) -> Any:
        return self._connection.tx

    def execute(self, statement: Statement) -> Any:
        self._store.reached(statement)
        return self._connection.execute(statement)

    def call(self, work: Callable[[Any], Any]) -> Any:
        return self._connection.call(work)


class _AsyncCrashing:
    def __init__(self, store: CrashingStore, connection: AsyncConnection) -> None:
        self._store, self._connection = store, connection

    @property
    def tx(self) -> Any:
        return self._connection.tx

    async def execute(self, statement: Statement) -> Any:
        self._store.reached(statement)
        return await self._connection.execute(statement)

    async def call(self, work: Callable[[Any], Any]) -> Any:
        return await self._connection.call(work)


def crash_everywhere(
    make: Callable[[], Store], scenario: Callable[[Any], object], check: Callable[[Store], object]
) -> int:
    """Runs a scenario on fresh stores, dying once at each of its statements, and checks what every crash left behind.

    Returns at how many places it died.
    """
    for at in itertools.count(1):
        store = make()
        try:
            scenario(CrashingStore(store, at))
        except Crash:
            check(store)
        else:
            return at - 1
    raise AssertionError("unreachable")


def steal_leases(store: Store, group: str, now: datetime, thief: str = "thief") -> Claim:
    """Takes every lease of a group for somebody else, as after a pause that was longer than they last."""

    def expired() -> datetime:
        return now + timedelta(days=1)

    with store.transaction() as connection:
        return run(
            store.claim(group, thief, now=expired(), until=expired() + timedelta(seconds=30), limit=store.shards),
            connection,
        )


class DeafNotifier(LocalNotifier):
    """Loses every wake-up."""

    def notify(self, types: Types = None) -> None:
        """Nobody hears it."""
