"""What a store's port says of transactions: one of its own for an op, or the one that the caller has open."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol, TypeVar

from sourced.errors import DefinitionError
from sourced.ops import AsyncConnection, Connection, Op, run, run_async

T = TypeVar("T")

_NOTHING_TO_JOIN = "using(connection): {} keeps nothing in a database; it takes SQLite or PostgreSQL"


class Transactions(Protocol):
    """How ops are carried out, for callers that block and for callers that await."""

    def transaction(self, *, reading: bool = False) -> AbstractContextManager[Connection]:
        """Commits at the end of the block, rolls back everything when it raises; `reading` promises to only read."""
        ...

    def transaction_async(self, *, reading: bool = False) -> AbstractAsyncContextManager[AsyncConnection]: ...

    def moment(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads, and sees the whole store as of one moment, however long it takes."""
        return self.transaction(reading=True)

    # -- one op; a store that knows better ways overrides these

    def transact(self, op: Op[T], *, reading: bool = False) -> T:
        """One op, in a transaction of its own."""
        with self.transaction(reading=reading) as connection:
            return run(op, connection)

    async def transact_async(self, op: Op[T], *, reading: bool = False) -> T:
        async with self.transaction_async(reading=reading) as connection:
            return await run_async(op, connection)

    # -- a transaction that is not ours: a store in a database of the caller's joins what he has open there

    def joined(self, connection: object, *, reading: bool) -> Connection:
        """The caller's connection, to be used in its own transaction: never committed, never closed, left as it is."""
        raise DefinitionError(_NOTHING_TO_JOIN.format(type(self).__name__))

    async def joined_async(self, connection: object, *, reading: bool) -> AsyncConnection:
        raise DefinitionError(_NOTHING_TO_JOIN.format(type(self).__name__))
