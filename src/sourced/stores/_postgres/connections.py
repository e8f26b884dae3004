"""An open transaction on PostgreSQL, for callers that block and for callers that await."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from sourced.errors import ConnectionLost, SchemaMismatch, SourcedError, Unavailable
from sourced.ops import RELEASE, ROLLBACK, SAVEPOINT, Statement, finish, finish_async
from sourced.stores._sql.dialect import Query

# These, and not what the owner of a connection has his cursors made of.
_cursor: Any = psycopg.Cursor
_async_cursor: Any = psycopg.AsyncCursor


FEW = 100
_BEGIN = "begin"


class _Marks:
    """Savepoints, and what was said on a connection so far."""

    def __init__(self, raw: Any, name: str, *, alone: bool, borrowed: bool) -> None:
        self.tx = raw
        self._borrowed = borrowed
        self._name = name
        self._alone = alone  # every statement by itself: there is nothing to begin and to commit
        self._used = False
        self._depth = 0

    def _spoken(self, statement: Statement) -> tuple[list[str], str, Any]:
        """What is to be said before it, the statement itself, and its arguments."""
        if isinstance(statement.body, Query):
            return [], statement.body.text, statement.body.bind(statement.args[0])
        if statement == SAVEPOINT:
            self._depth += 1
            return [], f"savepoint sourced_{self._depth}", None
        name = f"sourced_{self._depth}"
        self._depth -= 1
        if statement == ROLLBACK:
            return [f"rollback to savepoint {name}"], f"release savepoint {name}", None
        assert statement == RELEASE, statement
        return [], f"release savepoint {name}", None

    def _kept(self) -> Any:
        """The cursor of the statement before, if all went well: it need not look up again how values are written."""
        return self.tx.__dict__.pop("_sourced_cursor", None)

    def _keep(self, cursor: Any, rows: int) -> None:
        if not self._borrowed and rows <= FEW:  # it holds on to them
            self.tx._sourced_cursor = cursor

    @property
    def begun(self) -> bool:
        return bool(self.tx.pgconn.transaction_status != TransactionStatus.IDLE)

    @property
    def lost(self) -> bool:
        return bool(self.tx.closed)


class PostgresConnection(_Marks):
    """`tx` is the psycopg connection; the transaction begins with the first statement."""

    def __init__(
        self, raw: Any, name: str, *, alone: bool = False, borrowed: bool = False,
        replace: Callable[[Any], Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(raw, name, alone=alone, borrowed=borrowed)
        self._replace = replace

    def execute(self, statement: Statement) -> Any:
        before, text, arguments = self._spoken(statement)
        try:
            if not self._used:
                return self._first(text, arguments)
            for each in before:
                self._say(each, None)
            return self._say(text, arguments)
        except psycopg.Error as error:
            raise translated(error, self._name, lost=self.lost) from error

    def _first(self, text: str, arguments: Any) -> Any:
        """A connection may have been lost while it lay idle: nothing was done on it yet, so a new one does as well."""
        self._used = True
        try:
            return self._begin_and_say(text, arguments)
        except psycopg.OperationalError:
            if not self.lost or self._replace is None:
                raise
            self.tx = self._replace(self.tx)
            return self._begin_and_say(text, arguments)

    def _begin_and_say(self, text: str, arguments: Any) -> Any:
        if not self._alone and text != _BEGIN:
            self._say(_BEGIN, None)
        return self._say(text, arguments)

    def _say(self, text: str, arguments: Any) -> Any:
        cursor = self._kept() or _cursor(self.tx, row_factory=tuple_row)
        cursor.execute(text, arguments, binary=arguments is not None)
        rows = cursor.fetchall() if cursor.rownumber is not None else []
        self._keep(cursor, len(rows))
        return rows

    def call(self, work: Callable[[Any], Any]) -> Any:
        try:
            if not (self._used or self._alone):
                self._first(_BEGIN, None)
            self._used = True
            return finish(work(self.tx))
        except Exception as error:
            if self.lost:  # whoever's statement it was that noticed
                raise connection_lost(error, self._name) from error
            raise

    def commit(self) -> None:
        if not self._used or self._alone:
            return
        if not self.begun:
            raise ended_by_others(self._name)
        try:
            self._say("commit", None)
        except psycopg.Error as error:
            raise translated(error, self._name, lost=self.lost, unsure=True) from error

    def roll_back(self) -> None:
        if not self.lost and self.begun:
            self.tx.rollback()


class AsyncPostgresConnection(_Marks):
    """The same for callers that await; `tx` is psycopg's asynchronous connection."""

    def __init__(
        self, raw: Any, name: str, *, alone: bool = False, borrowed: bool = False,
        replace: Callable[[Any], Awaitable[Any]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(raw, name, alone=alone, borrowed=borrowed)
        self._replace = replace

    async def execute(self, statement: Statement) -> Any:
        before, text, arguments = self._spoken(statement)
        try:
            if not self._used:
                return await self._first(text, arguments)
            for each in before:
                await self._say(each, None)
            return await self._say(text, arguments)
        except psycopg.Error as error:
            raise translated(error, self._name, lost=self.lost) from error

    async def _first(self, text: str, arguments: Any) -> Any:
        self._used = True
        try:
            return await self._begin_and_say(text, arguments)
        except psycopg.OperationalError:
            if not self.lost or self._replace is None:
                raise
            self.tx = await self._replace(self.tx)
            return await self._begin_and_say(text, arguments)

    async def _begin_and_say(self, text: str, arguments: Any) -> Any:
        if not self._alone and text != _BEGIN:
            await self._say(_BEGIN, None)
        return await self._say(text, arguments)

    async def _say(self, text: str, arguments: Any) -> Any:
        cursor = self._kept() or _async_cursor(self.tx, row_factory=tuple_row)
        await cursor.execute(text, arguments, binary=arguments is not None)
        rows = await cursor.fetchall() if cursor.rownumber is not None else []
        self._keep(cursor, len(rows))
        return rows

    async def call(self, work: Callable[[Any], Any]) -> Any:
        try:
            if not (self._used or self._alone):
                await self._first(_BEGIN, None)
            self._used = True
            return await finish_async(work(self.tx))
        except Exception as error:
            if self.lost:  # whoever's statement it was that noticed
                raise connection_lost(error, self._name) from error
            raise

    async def commit(self) -> None:
        if not self._used or self._alone:
            return
        if not self.begun:
            raise ended_by_others(self._name)
        try:
            await self._say("commit", None)
        except psycopg.Error as error:
            raise translated(error, self._name, lost=self.lost, unsure=True) from error

    async def roll_back(self) -> None:
        if not self.lost and self.begun:
            await self.tx.rollback()


def ended_by_others(name: str) -> SourcedError:
    return Unavailable(name, "the transaction was ended by code that it was handed to", unsure=True)


def translated(error: psycopg.Error, name: str, *, lost: bool, unsure: bool = False) -> Exception:
    """What psycopg says, as one of our own errors where somebody has to see to something."""
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction):
        return SchemaMismatch(name, expected="the tables of Sourced", found=said, hint="run app.migrate() first")
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return Unavailable(name, f"it may only be read here ({said}); connect to the primary")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Unavailable(name, said)
    if isinstance(error, psycopg.errors.DeadlockDetected):
        return Unavailable(name, "two transactions waited for each other, and this one had to go; do it again")
    return connection_lost(error, name, unsure=unsure) if lost else error


def connection_lost(error: Exception, name: str, *, unsure: bool = False) -> ConnectionLost:
    said = str(error).strip().partition("\n")[0]
    return ConnectionLost(name, f"the connection was lost ({said})", unsure=unsure)
