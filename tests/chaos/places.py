"""Where the bank may be, and what can be done to it there: a file, or a PostgreSQL server of its own."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from sourced.app import store_at
from sourced.store import Store
from sourced.testing.postgres import TempPostgres
from tests.chaos.bank import TABLES


def opened(url: str) -> Store:
    """With little patience, so that what is away is noticed soon."""
    return store_at(url, timeout=2.0)


class Place:
    """A database, and the harm that can come to it alone."""

    name = ""
    url = ""

    @property
    def harm(self) -> dict[str, Callable[[Random], None]]:
        return {}

    @contextlib.contextmanager
    def asked(self) -> Iterator[Any]:
        """A plain connection, for whoever trusts nobody else."""
        raise NotImplementedError


class SqlitePlace(Place):
    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bank.db"
        self.url = f"sqlite:///{self._path}"
        with contextlib.closing(opened(self.url)), self.asked() as raw:
            for table in TABLES:
                raw.execute(table.format(serial="integer"))

    @contextlib.contextmanager
    def asked(self) -> Iterator[Any]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as raw:
            yield raw

    @property
    def harm(self) -> dict[str, Callable[[Random], None]]:
        return {"kept its file locked": self._lock, "truncated its journal": self._checkpoint}

    def _lock(self, luck: Random) -> None:
        with self.asked() as raw:
            raw.execute("begin immediate")
            threading.Event().wait(luck.uniform(0.1, 1.5))
            raw.execute("rollback")

    def _checkpoint(self, luck: Random) -> None:
        with self.asked() as raw:
            raw.execute("pragma wal_checkpoint(truncate)")


class PostgresPlace(Place):
    name = "PostgreSQL"

    def __init__(self, server: TempPostgres) -> None:
        self._server = server
        self.url = server.url()
        with contextlib.closing(opened(self.url)) as store, self.asked() as raw:
            store.migrate()
            for table in TABLES:
                raw.execute(table.format(serial="bigserial"))

    @contextlib.contextmanager
    def asked(self) -> Iterator[Any]:
        with psycopg.connect(self.url, autocommit=True) as raw:
            yield raw

    @property
    def harm(self) -> dict[str, Callable[[Random], None]]:
        return {
            "terminated all connections": self._terminate,
            "terminated some connections": self._terminate_some,
            "restarted the server": lambda luck: self._server.restart(),
            "crashed the server": self._crash,
        }

    def _terminate(self, luck: Random, share: float = 1.0) -> None:
        with self.asked() as raw:
            raw.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < %s",
                [share],
            )

    def _terminate_some(self, luck: Random) -> None:
        self._terminate(luck, 0.3)

    def _crash(self, luck: Random) -> None:
        self._server.kill9()
        threading.Event().wait(luck.uniform(0, 1))
        self._server.start()
