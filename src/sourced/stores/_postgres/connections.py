"""An open transaction on PostgreSQL, for callers that block and for callers that await."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from sourced.ops import RELEASE, ROLLBACK, SAVEPOINT, Statement, finish, hand_over
from sourced.stores._postgres.errors import TAKEN_BACK, behind, connection_lost, ended_by_others, taken_back, translated
from sourced.stores._postgres.line import FORGOTTEN, Line, Saying
from sourced.stores._sql.dialect import Query

_BEGIN, _COMMIT = Saying("begin"), Saying("commit", passing=True)
_ROLLBACK = Saying("rollback", passing=True)
_NOTHING = Saying("", passing=True)


class Marks:
    """Savepoints, and how statements are worded."""

    def __init__(self, raw: Any, name: str) -> None:
        self.raw = raw
        self._name = name
        self._depth = 0

    def _worded(self, statement: Statement) -> list[Saying]:
        if isinstance(statement.body, Query):
            return [Saying(statement.body.text, statement.body.bind(statement.args[0]))]
        if statement == SAVEPOINT:
            self._depth += 1
            return [Saying(f"savepoint sourced_{self._depth}", passing=True)]
        name = f"sourced_{self._depth}"
        self._depth -= 1
        released = Saying(f"release savepoint {name}", passing=True)
        if statement == ROLLBACK:
            return [Saying(f"rollback to savepoint {name}", passing=True), released]
        assert statement == RELEASE, statement
        return [released]

    @property
    def begun(self) -> bool:
        """Whether a transaction is open on it, or anything else is under way."""
        return bool(self.raw.pgconn.transaction_status != TransactionStatus.IDLE)

    @property
    def lost(self) -> bool:
        return bool(self.raw.closed)

    def _ended(self, error: Exception) -> Exception | None:
        """That the database ended the transaction, whoever's statement it was that noticed, and whatever wraps it."""
        if self.lost:
            return connection_lost(error, self._name)
        return next((taken_back(each, self._name) for each in behind(error) if each.sqlstate in TAKEN_BACK), None)


class _Owned(Marks):
    """A connection of our own.

    The transaction begins with the first statement. One that nobody waits for an answer to is held back and goes out
    with the next one, or with the commit: in one round trip.
    """

    def __init__(self, raw: Any, name: str, *, alone: bool) -> None:
        super().__init__(raw, name)
        self._alone = alone  # every statement by itself: there is nothing to begin and to commit
        self._open = False  # begun, as far as we know
        self._held: list[Saying] = []
        self._handed = False  # to code that may do anything with it
        self._line = _line(raw)

    @property
    def tx(self) -> Any:
        assert not self._held, "a statement that was held back comes too late for code that is handed the connection"
        self._handed = True
        return self.raw

    @property
    def fit(self) -> bool:
        """Whether somebody else can use it."""
        return not (self.lost or self._line.busy or self.begun)

    def _holds_back(self, statement: Statement) -> bool:
        return statement.silent and not self._alone and self._depth == 0

    def _opening(self, statement: Statement | None) -> list[Saying]:
        """What has to be said before a statement, or before the commit."""
        before, self._held = self._held, []
        if self._open or self._alone or (statement is not None and statement.whole and not before):
            return before
        return [_BEGIN, *before]

    def _redoable(self, error: psycopg.Error, sayings: Sequence[Saying]) -> bool:
        """Nothing was done yet in this transaction, so it may be on a new line, or with statements prepared anew."""
        if self._open:
            return False
        return error.sqlstate == FORGOTTEN or (self.lost and sayings[-1] is not _COMMIT)

    def _to_be_committed(self) -> bool:
        if self._open and not self.begun:
            raise ended_by_others(self._name)
        return self._open or bool(self._held)

    def _take(self, raw: Any) -> None:
        """Another line, as the one before was lost."""
        self.raw, self._line = raw, _line(raw)

    def _translated(self, error: psycopg.Error, *, unsure: bool = False) -> Exception:
        return translated(error, self._name, lost=self.lost, unsure=unsure)


def _is_script(sayings: Sequence[Saying]) -> bool:
    """Several statements in one text: only without arguments, and by themselves."""
    return sayings[0].values is None


def _line(raw: Any) -> Line:
    line: Line | None = getattr(raw, "_sourced_line", None)
    if line is None:
        line = raw._sourced_line = Line(raw)
    return line


class PostgresConnection(_Owned):
    """`tx` is the psycopg connection."""

    def __init__(
        self, raw: Any, name: str, *, alone: bool = False, replace: Callable[[Any], Any] | None = None
    ) -> None:
        super().__init__(raw, name, alone=alone)
        self._replace = replace

    def execute(self, statement: Statement) -> Any:
        sayings = self._worded(statement)
        if self._holds_back(statement):
            self._held += sayings
            return []
        try:
            if _is_script(sayings):
                self._say([*self._opening(None), _NOTHING])
                return self.raw.execute(sayings[0].text.encode())
            return self._say([*self._opening(statement), *sayings])
        except psycopg.Error as error:
            raise self._translated(error) from error

    def call(self, work: Callable[[Any], Any]) -> Any:
        try:
            if before := self._opening(None):
                self._say(before)
        except psycopg.Error as error:
            raise self._translated(error) from error
        try:
            return finish(work(self.tx))
        except Exception as error:
            if ended := self._ended(error):
                raise ended from error
            raise

    def _say(self, sayings: Sequence[Saying]) -> Any:
        if not self._open and self._replace is not None and self._line.lost():
            self._take(self._replace(self.raw))
        try:
            rows = self._exchange(sayings)
        except psycopg.Error as error:
            if not self._redoable(error, sayings):
                raise
            self._line.forget()
            if self.lost:
                if self._replace is None:
                    raise
                self._take(self._replace(self.raw))
            rows = self._exchange([_ROLLBACK, *sayings] if self.begun else sayings)
        self._open = self._open or sayings[0] is _BEGIN
        return rows

    def _exchange(self, sayings: Sequence[Saying]) -> Any:
        return self._line.wait(self._line.exchange(sayings, prepared=not self._handed))

    def commit(self) -> None:
        if not self._to_be_committed():
            return
        try:
            self._say([*self._opening(None), _COMMIT])
        except psycopg.Error as error:
            raise self._translated(error, unsure=True) from error

    def roll_back(self) -> None:
        if not self.lost and self.begun:
            self.raw.rollback()


class AsyncPostgresConnection(_Owned):
    """The same for callers that await; `tx` is psycopg's asynchronous connection."""

    def __init__(
        self, raw: Any, name: str, *, alone: bool = False, replace: Callable[[Any], Awaitable[Any]] | None = None
    ) -> None:
        super().__init__(raw, name, alone=alone)
        self._replace = replace

    async def execute(self, statement: Statement) -> Any:
        sayings = self._worded(statement)
        if self._holds_back(statement):
            self._held += sayings
            return []
        try:
            if _is_script(sayings):
                await self._say([*self._opening(None), _NOTHING])
                return await self.raw.execute(sayings[0].text.encode())
            return await self._say([*self._opening(statement), *sayings])
        except psycopg.Error as error:
            raise self._translated(error) from error

    async def call(self, work: Callable[[Any], Any]) -> Any:
        try:
            if before := self._opening(None):
                await self._say(before)
        except psycopg.Error as error:
            raise self._translated(error) from error
        try:
            return await hand_over(self.tx, work)
        except Exception as error:
            if ended := self._ended(error):
                raise ended from error
            raise

    async def _say(self, sayings: Sequence[Saying]) -> Any:
        if not self._open and self._replace is not None and self._line.lost():
            self._take(await self._replace(self.raw))
        try:
            rows = await self._exchange(sayings)
        except psycopg.Error as error:
            if not self._redoable(error, sayings):
                raise
            self._line.forget()
            if self.lost:
                if self._replace is None:
                    raise
                self._take(await self._replace(self.raw))
            rows = await self._exchange([_ROLLBACK, *sayings] if self.begun else sayings)
        self._open = self._open or sayings[0] is _BEGIN
        return rows

    async def _exchange(self, sayings: Sequence[Saying]) -> Any:
        return await self.raw.wait(self._line.exchange(sayings, prepared=not self._handed))

    async def commit(self) -> None:
        if not self._to_be_committed():
            return
        try:
            await self._say([*self._opening(None), _COMMIT])
        except psycopg.Error as error:
            raise self._translated(error, unsure=True) from error

    async def roll_back(self) -> None:
        if not self.lost and self.begun:
            await self.raw.rollback()
