"""An open transaction on SQLite, for callers that block and for callers that await."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeAlias

from sourced.ops import RELEASE, ROLLBACK, SAVEPOINT, Statement, finish, hand_over
from sourced.stores._sql.dialect import Query

Raw: TypeAlias = sqlite3.Connection


class SqliteConnection:
    """An open transaction; `tx` is the `sqlite3` connection."""

    def __init__(self, raw: Raw, translated: Callable[[sqlite3.Error], Exception]) -> None:
        self.tx = raw
        self._plain: Any = raw if raw.row_factory is None else _Plain(raw)
        self._translated = translated
        self._depth = 0

    def execute(self, statement: Statement) -> Any:
        body = statement.body
        try:
            if isinstance(body, Query):
                cursor = self.tx.cursor()
                cursor.row_factory = None  # whatever the owner of the connection likes
                return cursor.execute(body.text, body.bind(statement.args[0])).fetchall()
            if body is not None:
                return body(self._plain, *statement.args)
            return self._mark(statement)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def call(self, work: Callable[[Any], Any]) -> Any:
        return finish(work(self.tx))

    def _mark(self, statement: Statement) -> None:
        if statement == SAVEPOINT:
            self._depth += 1
            self.tx.execute(f"savepoint sourced_{self._depth}")
        elif statement in (RELEASE, ROLLBACK):
            if statement == ROLLBACK:
                self.tx.execute(f"rollback to savepoint sourced_{self._depth}")
            self.tx.execute(f"release savepoint sourced_{self._depth}")
            self._depth -= 1


class _Plain:
    """A connection whose owner likes other rows than tuples."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def execute(self, *args: Any) -> sqlite3.Cursor:
        return self._cursor().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        return self._cursor().executemany(*args)

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self._raw.cursor()
        cursor.row_factory = None
        return cursor


class AsyncSqliteConnection(SqliteConnection):
    """The same for callers that await."""

    async def execute(self, statement: Statement) -> Any:
        return super().execute(statement)

    async def call(self, work: Callable[[Any], Any]) -> Any:
        return await hand_over(self.tx, work)
