"""Several things at a time, in the order a test wants them: each in a thread of its own."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg

from sourced.ops import Op, Statement, run
from sourced.store import Store
from sourced.testing import CrashingStore
from tests.facts import PATIENCE

T = TypeVar("T")


@contextmanager
def thread() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(8) as threads:
        yield threads.submit


class Given(Exception):
    """Up."""


class OpenTransaction:
    """A transaction of a thread of its own, that does what it is told and ends when it is told."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(1)
        self._connection = self._threads.submit(self._begin).result(PATIENCE)

    def _begin(self) -> Any:
        self._transaction = self._store.transaction()
        return self._transaction.__enter__()

    def start(self, op: Op[T]) -> Future[T]:
        return self._threads.submit(run, op, self._connection)

    def do(self, op: Op[T]) -> T:
        return self.start(op).result(PATIENCE)

    def commit(self) -> None:
        self._threads.submit(self._transaction.__exit__, None, None, None).result(PATIENCE)
        self._threads.shutdown()

    def roll_back(self) -> None:
        error = Given()
        with suppress(Given):
            self._threads.submit(self._transaction.__exit__, Given, error, None).result(PATIENCE)
        self._threads.shutdown()


class Paced(CrashingStore):
    """A store that comes to a stand after a statement of one of these names, and goes on when it is told."""

    def __init__(self, store: Store, *after: str) -> None:
        super().__init__(store, at=0)
        self.stands, self.go_on = threading.Event(), threading.Event()
        self._after, self._last = after, ""

    def reached(self, statement: Statement) -> None:
        last, self._last = self._last, statement.verb
        if last in self._after and not self.stands.is_set():
            self.stands.set()
            assert self.go_on.wait(PATIENCE)


def waiting_for_locks(database: str) -> int:
    """How many sessions of a PostgreSQL database wait for others."""
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        ).fetchone()
    return found[0] if found else 0


def terminate(database: str, which: str = "true") -> int:
    """Ends the sessions of everybody else, or of some."""
    with psycopg.connect(database, autocommit=True) as connection:
        ended = connection.execute(
            "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity "
            f"where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend' "
            f"and {which}".encode()
        ).fetchone()
    return ended[0] if ended else 0
