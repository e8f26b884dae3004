"""A transaction of the caller's on PostgreSQL, joined by us, for callers that block and for callers that await."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from sourced.ops import Statement, finish, hand_over
from sourced.stores._postgres.connections import Marks
from sourced.stores._postgres.errors import translated


class BorrowedConnection(Marks):
    """A connection of the caller's, in his transaction: through psycopg's cursors, and nothing of ours stays on it."""

    @property
    def tx(self) -> Any:
        return self.raw

    def execute(self, statement: Statement) -> Any:
        rows: list[Any] = []
        try:
            for each in self._worded(statement):
                cursor = _cursor(self.raw, row_factory=tuple_row)
                cursor.execute(each.text.encode(), each.values or None, binary=bool(each.values))
                rows = cursor.fetchall() if cursor.rownumber is not None else []
        except psycopg.Error as error:
            raise translated(error, self._name, lost=self.lost) from error
        return rows

    def call(self, work: Callable[[Any], Any]) -> Any:
        try:
            return finish(work(self.raw))
        except Exception as error:
            if ended := self._ended(error):
                raise ended from error
            raise


class AsyncBorrowedConnection(Marks):
    """The same for callers that await."""

    @property
    def tx(self) -> Any:
        return self.raw

    async def execute(self, statement: Statement) -> Any:
        rows: list[Any] = []
        try:
            for each in self._worded(statement):
                cursor = _async_cursor(self.raw, row_factory=tuple_row)
                await cursor.execute(each.text.encode(), each.values or None, binary=bool(each.values))
                rows = await cursor.fetchall() if cursor.rownumber is not None else []
        except psycopg.Error as error:
            raise translated(error, self._name, lost=self.lost) from error
        return rows

    async def call(self, work: Callable[[Any], Any]) -> Any:
        try:
            return await hand_over(self.raw, work)
        except Exception as error:
            if ended := self._ended(error):
                raise ended from error
            raise


# These, and not what the owner of a connection has his cursors made of.
_cursor: Any = psycopg.RawCursor
_async_cursor: Any = psycopg.AsyncRawCursor
