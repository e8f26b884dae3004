"""A fresh store of each kind, for tests of what an app does on any of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from sourced import Sourced
from sourced.notifiers.local import LocalNotifier
from sourced.store import Store
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing.postgres import Databases, Postgres
from tests.rows import TABLE, make_rows

Maker = Callable[[], Store]


def in_memory(closing: contextlib.ExitStack) -> Maker:
    return MemoryStore


def in_files(closing: contextlib.ExitStack, folder: Path) -> Maker:
    made: list[SqliteStore] = []

    def make() -> Store:
        store = SqliteStore(folder / f"{len(made)}.db")
        made.append(store)
        closing.callback(store.close)
        make_rows(store)
        return store

    return make


def in_databases(closing: contextlib.ExitStack, databases: EmptiedDatabases) -> Maker:
    def make() -> Store:
        store = PostgresStore(closing.enter_context(databases.one()))
        closing.callback(store.close)
        return store

    return make


class EmptiedDatabases:
    """Databases with all tables in them, used again and again: to empty one takes a tenth of making one."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._life = contextlib.ExitStack()
        self._empty: list[str] = []

    def __enter__(self) -> EmptiedDatabases:
        self._databases = self._life.enter_context(Databases(self._server, install_all))
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        url = self._empty.pop() if self._empty else self._life.enter_context(self._databases.fresh())
        yield url
        with contextlib.suppress(psycopg.errors.LockNotAvailable):  # somebody was left in it: let him have it
            _empty(url)
            self._empty.append(url)


def told_by_nobody_else(app: Sourced) -> None:
    """What other processes may have done, and a first look in case they have, wakes nobody here."""
    app._engine.notifier = LocalNotifier()


def install_all(url: str) -> None:
    with contextlib.closing(PostgresStore(url)) as store:
        store.migrate()
    with psycopg.connect(url) as connection:
        connection.execute(TABLE)


def _empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("set local lock_timeout = '2s'")
        tables = connection.execute(
            "select string_agg(tablename, ', ') from pg_tables "
            "where schemaname = 'public' and tablename not like '%migrations'"
        ).fetchone()
        assert tables is not None
        connection.execute(f"truncate {tables[0]}".encode())
        connection.execute(
            "select setval(format('%I.%I', schemaname, sequencename), start_value, false) from pg_sequences"
        )
