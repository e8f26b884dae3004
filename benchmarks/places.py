"""Databases to work in: each one new, of the same kind and on the same terms for everybody who is measured."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.driver import PostgresDriver, SqliteDriver
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing.postgres import Databases, TempPostgres, fresh_database, server_version

MEMORY = Path("/dev/shm")  # a disk would be the slowest part of every row, and the same for all


class Database(Protocol):
    """A new one."""

    def store(self) -> SqliteStore | PostgresStore:
        """Ours, with its tables."""
        ...

    def driver(self) -> SqliteDriver | PostgresDriver:
        """What one writes with the driver alone, with its table."""
        ...

    def url(self) -> str:
        """Where anybody finds it, with nothing in it."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Where eventsourcing finds it."""
        ...

    def close(self) -> None: ...


class Place(Protocol):
    """Where databases are made."""

    name: str
    terms: str

    def database(self) -> Database: ...


# -- SQLite ------------------------------------------------------------------------------------------------------------


class SqliteFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def store(self) -> SqliteStore:
        return SqliteStore(self.path, synchronous="FULL")

    def driver(self) -> SqliteDriver:
        return SqliteDriver(self.path, self.close)

    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def environment(self) -> Mapping[str, str]:
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(self.path)}

    def close(self) -> None:
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


class SqliteFolder:
    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        where = "in memory" if MEMORY in folder.parents else "on a disk"
        self.terms = f"SQLite {sqlite3.sqlite_version}: journal_mode=wal, synchronous=full, files {where}"

    def database(self) -> SqliteFile:
        return SqliteFile(self.folder / f"{secrets.token_hex(8)}.db")


@contextlib.contextmanager
def sqlite_place(*, durable: bool = False) -> Iterator[SqliteFolder]:
    """`durable`: on a disk, which every commit waits for."""
    in_memory = MEMORY.is_dir() and not durable
    folder = Path(tempfile.mkdtemp(prefix="sourced-bench-", dir=MEMORY if in_memory else None))
    try:
        yield SqliteFolder(folder)
    finally:
        shutil.rmtree(folder)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


class PostgresDatabase:
    def __init__(self, server: TempPostgres, ours: Databases) -> None:
        self._server = server
        self._ours = ours
        self._stack = contextlib.ExitStack()

    def store(self) -> PostgresStore:
        return PostgresStore(self._stack.enter_context(self._ours.fresh()))

    def driver(self) -> PostgresDriver:
        return PostgresDriver(self._empty(), self.close)

    def url(self) -> str:
        return self._empty()

    def environment(self) -> Mapping[str, str]:
        parts = {key: str(value) for key, value in conninfo_to_dict(self._empty()).items()}
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": parts["dbname"],
            "POSTGRES_HOST": parts["host"],
            "POSTGRES_PORT": parts["port"],
            "POSTGRES_USER": parts["user"],
            "POSTGRES_PASSWORD": "unused",
        }

    def close(self) -> None:
        self._stack.close()

    def _empty(self) -> str:
        return self._stack.enter_context(fresh_database(self._server))


class PostgresServer:
    name = "PostgreSQL"

    def __init__(self, server: TempPostgres, ours: Databases) -> None:
        self._server = server
        self._ours = ours
        with psycopg.connect(server.url()) as connection:
            rows = connection.execute(
                "select name, setting from pg_settings where name = any (%s) order by name", [list(_TOLD)]
            ).fetchall()
        settings = ", ".join(f"{name}={setting}" for name, setting in rows)
        self.terms = f"PostgreSQL {server_version(server)}: {settings}"

    def database(self) -> PostgresDatabase:
        return PostgresDatabase(self._server, self._ours)


_TOLD = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_level")


@contextlib.contextmanager
def postgres_place(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server of our own, as the tests have it: no commit waits for a disk; or, if `durable`, every one does."""
    with (
        TempPostgres(settings={"shared_buffers": "256MB"}, durable=durable) as server,
        Databases(server, _install) as ours,
    ):
        yield PostgresServer(server, ours)


def _install(url: str) -> None:
    with contextlib.closing(PostgresStore(url)) as store:
        store.migrate()
