"""Where the bank may be, and what can be done to it there: a file, or a PostgreSQL server of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from sourced.app import store_at
from sourced.store import Store
from sourced.testing.postgres import TempPostgres
from tests.chaos import bank, boards
from tests.stores.lines import Line

TABLES = (*bank.TABLES, *boards.TABLES, "create table receipts (number bigint primary key)")


def opened(url: str) -> Store:
    """With little patience, so that what is away is noticed soon."""
    return store_at(url, timeout=2.0)


class Place:
    """A database, and the harm that can come to it alone."""

    name = ""
    url = ""
    errors: tuple[type[Exception], ...] = ()  # what the driver says when something is in the way

    @property
    def harm(self) -> dict[str, Callable[[Random], None]]:
        return {}

    @contextlib.contextmanager
    def asked(self) -> Iterator[Any]:
        """A plain connection, for whoever trusts nobody else."""
        raise NotImplementedError

    @contextlib.contextmanager
    def joined(self) -> Iterator[Any]:
        """A connection with a transaction of the caller's open on it, which is committed at the end of the block."""
        raise NotImplementedError

    def say(self, connection: Any, text: str, *values: Any) -> None:
        connection.execute(text, values)

    @property
    def roundabout(self) -> str:
        """The way to it that may be cut."""
        return self.url


class SqlitePlace(Place):
    name = "SQLite"
    errors = (sqlite3.OperationalError,)

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bank.db"
        self.url = f"sqlite:///{self.path}"
        with contextlib.closing(opened(self.url)), self.asked() as raw:
            for table in TABLES:
                raw.execute(table.format(serial="integer"))

    @contextlib.contextmanager
    def asked(self) -> Iterator[Any]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as raw:
            yield raw

    @contextlib.contextmanager
    def joined(self) -> Iterator[Any]:
        with self.asked() as raw:
            raw.execute("begin immediate")
            yield raw
            raw.execute("commit")

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
    errors = (psycopg.OperationalError,)

    def __init__(self, server: TempPostgres, line: Line) -> None:
        self._server = server
        self._line = line
        self.url = server.url()
        with contextlib.closing(opened(self.url)) as store, self.asked() as raw:
            store.migrate()
            for table in TABLES:
                raw.execute(table.format(serial="bigserial"))

    @contextlib.contextmanager
    def asked(self) -> Iterator[Any]:
        with psycopg.connect(self.url, autocommit=True) as raw:
            yield raw

    @contextlib.contextmanager
    def joined(self) -> Iterator[Any]:
        with psycopg.connect(self.roundabout) as raw:
            yield raw

    def say(self, connection: Any, text: str, *values: Any) -> None:
        connection.execute(text.replace("?", "%s"), values)

    @property
    def roundabout(self) -> str:
        host = conninfo_to_dict(self._line.url)["host"]
        return self.url.replace(f"host={self._server.home}", f"host={host}")

    @property
    def harm(self) -> dict[str, Callable[[Random], None]]:
        return {
            "cut a line before the answer": lambda luck: self._line.cut_after(*[b""] * luck.randint(1, 3)),
            "cut a line after a commit": lambda luck: self._line.cut_after(b"commit"),
            "killed a backend": self._kill_backend,
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

    def _kill_backend(self, luck: Random) -> None:
        """Which its server takes for a crash of the whole, and recovers from."""
        with self.asked() as raw:
            pids = raw.execute(
                "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
            ).fetchall()
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(luck.choice(pids)[0], signal.SIGKILL)

    def _terminate_some(self, luck: Random) -> None:
        self._terminate(luck, 0.3)

    def _crash(self, luck: Random) -> None:
        self._server.kill9()
        threading.Event().wait(luck.uniform(0, 1))
        self._server.start()
