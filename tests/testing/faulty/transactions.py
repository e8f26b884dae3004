"""Faults of transactions."""

import contextlib

from sourced.ops import ROLLBACK
from sourced.stores.memory import MemoryConnection
from tests.testing.faulty._registry import Faulty, breaks


class _Deaf(MemoryConnection):
    def execute(self, statement):
        return None if statement == ROLLBACK else super().execute(statement)


@breaks("transaction")
class NoRollback(Faulty):
    """keeps what was done before an error."""

    @contextlib.contextmanager
    def transaction(self, *, reading=False):
        error = None
        with super().transaction() as connection:
            try:
                yield connection
            except BaseException as raised:
                error = raised
        if error:
            raise error

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading=False):
        error = None
        async with super().transaction_async() as connection:
            try:
                yield connection
            except BaseException as raised:
                error = raised
        if error:
            raise error


@breaks("transaction")
class NoSavepoints(Faulty):
    """forgets to undo a savepoint."""

    @contextlib.contextmanager
    def transaction(self, *, reading=False):
        with super().transaction():
            yield _Deaf(self._tables)

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading=False):
        async with super().transaction_async() as connection:
            connection._connection = _Deaf(self._tables)
            yield connection


@breaks("moment")
class Fleeting(Faulty):
    """sees what comes after the moment."""

    @contextlib.contextmanager
    def moment(self):
        yield MemoryConnection(self._tables)
