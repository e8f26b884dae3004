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


EMPTYING = """
do $$
declare
  one record;
  used boolean;
begin
  perform pg_terminate_backend(pid, 5000) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend';
  for one in select relname as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace
  loop
    continue when one.name like '%migrations';
    execute format('select exists (select from %I)', one.name) into used;
    if used then
      execute format('truncate %I', one.name);
    end if;
  end loop;
  perform setval(seqrelid, seqstart, false) from pg_sequence;
end $$
"""


class EmptiedDatabases:
    """Databases with all tables in them, used again and again: to empty one takes a tenth of making one."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._life = contextlib.ExitStack()
        self._empty: list[str] = []
        self._relations: list[str] = []

    def __enter__(self) -> EmptiedDatabases:
        self._databases = self._life.enter_context(Databases(self._server, install_all))
        with self._databases.fresh() as url, psycopg.connect(url) as connection:
            self._relations = relations_in(connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._life.close()

    @contextlib.contextmanager
    def one(self) -> Iterator[str]:
        url = self._empty.pop() if self._empty else self._life.enter_context(self._databases.fresh())
        yield url
        with psycopg.connect(url) as connection:
            if relations_in(connection) == self._relations:  # nobody made any of his own
                empty(connection)
                self._empty.append(url)


def told_by_nobody_else(app: Sourced) -> None:
    """What other processes may have done, and a first look in case they have, wakes nobody here."""
    app._engine.notifier = LocalNotifier()


def install_all(url: str) -> None:
    with contextlib.closing(PostgresStore(url)) as store:
        store.migrate()
    with psycopg.connect(url) as connection:
        connection.execute(TABLE)


def relations_in(connection: psycopg.Connection) -> list[str]:
    found = connection.execute(
        "select relname from pg_class join pg_namespace n on n.oid = relnamespace "
        "where nspname not in ('pg_catalog', 'pg_toast', 'information_schema') order by relname"
    )
    return [name for (name,) in found.fetchall()]


def empty(connection: psycopg.Connection) -> None:
    """Whoever was left in it is sent away first, as from a database that is dropped."""
    connection.execute(EMPTYING)
