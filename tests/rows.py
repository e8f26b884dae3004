"""Tables that projectors of the tests write to, in the database of whatever store they run on."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Awaitable, Iterator, MutableMapping
from copy import copy
from typing import Any

import psycopg

from sourced import Batch, sync
from sourced.store import Store
from sourced.testing import shop

TABLE = "create table test_rows (name text, key text, value text, primary key (name, key))"


def make_rows(store: Store) -> None:
    with store.transaction() as connection:
        connection.tx.execute(TABLE)


def table(where: Any, name: str) -> MutableMapping[Any, Any]:
    """The table as a dictionary: inside a transaction by its `tx`, and from outside by the store, to be read."""
    if hasattr(where, "table"):
        return where.table(name)
    return Snapshot(where, name) if hasattr(where, "transaction_async") else Rows(where, name)


def get(tx: Any, name: str, key: Any) -> Any:
    """A row or None, or something to await that gives it, where the transaction is an awaited one."""
    if isinstance(tx, psycopg.AsyncConnection):
        return _awaited(Rows(tx, name).reading(key))
    return copy(table(tx, name).get(key))


def put(tx: Any, name: str, key: Any, value: Any) -> Awaitable[Any] | None:
    if isinstance(tx, psycopg.AsyncConnection):
        return _awaited(Rows(tx, name).writing(key, value))
    table(tx, name)[key] = value
    return None


async def _awaited(saying: Awaitable[Any]) -> Any:
    cursor = await saying
    row = await cursor.fetchone() if cursor.description else None
    return literal_eval(row[0]) if row else None


class Rows(MutableMapping[Any, Any]):
    """In SQL: a row for every key, each written and read in the transaction whose connection this is."""

    def __init__(self, raw: Any, name: str) -> None:
        self._raw, self._name = raw, name
        self._mark = "?" if type(raw).__module__ == "sqlite3" else "%s"

    def __getitem__(self, key: Any) -> Any:
        for (value,) in self.reading(key):
            return literal_eval(value)
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.writing(key, value)

    def __delitem__(self, key: Any) -> None:
        self._say("delete from test_rows where name = ? and key = ?", repr(key))

    def __iter__(self) -> Iterator[Any]:
        keys = self._say("select key from test_rows where name = ? order by length(key), key").fetchall()
        return iter([literal_eval(key) for (key,) in keys])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def reading(self, key: Any) -> Any:
        return self._say("select value from test_rows where name = ? and key = ?", repr(key))

    def writing(self, key: Any, value: Any) -> Any:
        return self._say(
            "insert into test_rows values (?, ?, ?) on conflict (name, key) do update set value = excluded.value",
            repr(key), repr(value),
        )  # fmt: skip

    def _say(self, text: str, *values: str) -> Any:
        return self._raw.execute(text.replace("?", self._mark), (self._name, *values))


class Snapshot(dict[Any, Any]):
    """What has been committed to it by now."""

    def __init__(self, store: Store, name: str) -> None:
        with store.transaction() as connection:
            super().__init__(Rows(connection.tx, name))


class Sales(shop.Sales, group="shop.sales"):
    """The shop's sales, on any store."""

    def load(self, key: str, tx: Any) -> Any:
        return get(tx, "sales", key)

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> Any:
        return put(tx, "sales", batch.stream, dict(row))

    def on_reset(self, tx: Any) -> None:
        table(tx, "sales").clear()
