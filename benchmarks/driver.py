"""The least one can write with a driver alone: one table for a log, one transaction for an append, nothing checked.

Each append is one statement; that the seq is free is all the table itself can see to.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from sourced.ids import new_id

Row: TypeAlias = tuple[Any, ...]

COLUMNS = "stream, seq, id, type, version, payload, metadata, causation_id, correlation_id, created_at"
TABLE = """
create table log (
  position {serial} primary key, stream text not null, seq integer not null, id text not null, type text not null,
  version integer not null, payload text not null, metadata text not null, causation_id text not null,
  correlation_id text not null, created_at {time} not null, unique (stream, seq)
)
"""
INSERT = f"insert into log ({COLUMNS}) values ({', '.join(['?'] * 10)})"
SELECT = f"select position, {COLUMNS} from log order by position"


def row(cart: int, seq: int, time: Any) -> Row:
    """Event number `seq` of a cart."""
    name, payload = new_id(), '{"product_id":"p1","price":1000,"quantity":2}'
    return (f"cart-{cart}", seq, name, "item_added", 1, payload, "{}", name, name, time)


class SqliteDriver:
    """One connection, and writers queue for it: several that wait for SQLite's own lock sleep most of their time."""

    def __init__(self, path: Path, over: Callable[[], object]) -> None:
        self._over = over
        self._raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._raw.execute("pragma journal_mode = wal")
        self._raw.execute("pragma synchronous = full")
        self._raw.execute(TABLE.format(serial="integer", time="text"))
        self._lock = threading.Lock()

    def open(self, writers: int) -> None:
        """It is open."""

    async def open_async(self, writers: int) -> None:
        """It is open."""

    def append(self, cart: int, seq: int) -> None:
        new = row(cart, seq, datetime.now(UTC).isoformat())
        with self._lock:
            self._raw.execute(INSERT, new)

    async def append_async(self, cart: int, seq: int) -> None:
        self.append(cart, seq)

    def append_to_each(self, carts: int, seq: int) -> None:
        time = datetime.now(UTC).isoformat()
        self._raw.execute("begin immediate")
        self._raw.executemany(INSERT, [row(cart, seq, time) for cart in range(carts)])
        self._raw.execute("commit")

    def read_all(self) -> int:
        return len(self._raw.execute(SELECT).fetchall())

    def count(self) -> int:
        (found,) = self._raw.execute("select count(*) from log").fetchone()
        return int(found)

    def close(self) -> None:
        self._raw.close()
        self._over()


class PostgresDriver:
    """A connection for each writer."""

    def __init__(self, url: str, over: Callable[[], object]) -> None:
        self._over = over
        self._url = url
        self._raw = [psycopg.connect(url, autocommit=True)]
        self._async: list[psycopg.AsyncConnection[Any]] = []
        self._raw[0].execute(TABLE.format(serial="bigserial", time="timestamptz").encode())

    def open(self, writers: int) -> None:
        while len(self._raw) < writers:
            self._raw.append(psycopg.connect(self._url, autocommit=True))

    async def open_async(self, writers: int) -> None:
        while len(self._async) < writers:
            self._async.append(await psycopg.AsyncConnection.connect(self._url, autocommit=True))

    def append(self, cart: int, seq: int) -> None:
        self._raw[cart].execute(_INSERT, row(cart, seq, datetime.now(UTC)))

    async def append_async(self, cart: int, seq: int) -> None:
        await self._async[cart].execute(_INSERT, row(cart, seq, datetime.now(UTC)))

    def append_to_each(self, carts: int, seq: int) -> None:
        time = datetime.now(UTC)
        with self._raw[0].cursor() as cursor, cursor.copy(f"copy log ({COLUMNS}) from stdin".encode()) as copy:
            for cart in range(carts):
                copy.write_row(row(cart, seq, time))

    def read_all(self) -> int:
        return len(self._raw[0].execute(SELECT.encode()).fetchall())

    def count(self) -> int:
        ((found,),) = self._raw[0].execute("select count(*) from log").fetchall()
        return int(found)

    def close(self) -> None:
        for connection in [*self._raw, *self._async]:
            connection.pgconn.finish()
        self._over()


_INSERT = INSERT.replace("?", "%s").encode()
