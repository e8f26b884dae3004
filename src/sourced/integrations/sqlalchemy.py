"""SQLAlchemy sessions in the transaction that a projector, a `@sync` block or a `Sync` action is handed."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

try:
    from sqlalchemy import Engine, NullPool, create_engine
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
    from sqlalchemy.orm import Session
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"sourced.integrations.sqlalchemy needs more: pip install 'sourced-py[sqlalchemy]' ({missing})"
    ) from missing

from sourced.errors import DefinitionError, NeedsAwait

_here: ContextVar[Any] = ContextVar("the connection that a session is about to be made for")


@contextlib.contextmanager
def session_in(tx: object) -> Iterator[Session]:
    """A session whose work is a part of this transaction: it is stored, or not, with everything else in it.

    It is flushed at the end of the block. A rollback of the session takes back what the session did, and no more.
    """
    kind = _kind(tx)
    if kind == "awaited":
        raise NeedsAwait("this transaction, which session_in(tx) cannot wait for: `async with async_session_in(tx)`")
    with _lent(_Lent(tx)), _engine(kind).connect() as connection:
        if _is_open(tx):
            connection.begin()
        with Session(connection, join_transaction_mode=MODE, expire_on_commit=False) as session:
            yield session
            session.commit()


@contextlib.asynccontextmanager
async def async_session_in(tx: object) -> AsyncIterator[AsyncSession]:
    """The same where the transaction is awaited: in `app.aio` on PostgreSQL, and in blocks that are `async def`."""
    if _kind(tx) != "awaited":
        raise DefinitionError(f"async_session_in(tx): expected a psycopg AsyncConnection, found {_named(tx)}")
    with _lent(_LentAsync(tx)):
        async with _async_engine().connect() as connection:
            if _is_open(tx):
                await connection.begin()
            async with AsyncSession(connection, join_transaction_mode=MODE, expire_on_commit=False) as session:
                yield session
                await session.commit()


MODE: Any = "create_savepoint"  # where a transaction was begun


def _is_open(tx: Any) -> bool:
    """To `load` a row, each statement is a transaction by itself."""
    if isinstance(tx, sqlite3.Connection):
        return tx.in_transaction
    return bool(tx.info.transaction_status)  # 0: idle


def _kind(tx: object) -> str:
    if isinstance(tx, sqlite3.Connection):
        return "sqlite"
    names = {cls.__name__ for cls in type(tx).__mro__ if cls.__module__.partition(".")[0] == "psycopg"}
    if not names & {"Connection", "AsyncConnection"}:
        expected = "the transaction of an app on SQLite or PostgreSQL"
        raise DefinitionError(f"session_in(tx): expected {expected}, found {_named(tx)}")
    return "awaited" if "AsyncConnection" in names else "psycopg"


def _named(tx: object) -> str:
    return f"{type(tx).__module__}.{type(tx).__qualname__}"


# -- engines that are lent a connection for as long as a session lasts


@contextlib.contextmanager
def _lent(connection: _Lent | _LentAsync) -> Iterator[None]:
    before = _here.set(connection)
    try:
        yield
    finally:
        _here.reset(before)


@functools.cache
def _engine(kind: str) -> Engine:
    if kind == "sqlite":
        return create_engine("sqlite://", creator=_here.get, poolclass=NullPool)
    return create_engine("postgresql+psycopg://", creator=_here.get, poolclass=NullPool, use_native_hstore=False)


@functools.cache
def _async_engine() -> AsyncEngine:
    async def creator() -> Any:
        return _here.get()

    url = "postgresql+psycopg_async://"
    return create_async_engine(url, async_creator=creator, poolclass=NullPool, use_native_hstore=False)


class _Lent:
    """A connection whose transaction is somebody else's to end, and that is not closed here."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...
    def add_notice_handler(self, handler: object) -> None: ...


class _LentAsync(_Lent):
    async def commit(self) -> None: ...  # type: ignore[override]
    async def rollback(self) -> None: ...  # type: ignore[override]
    async def close(self) -> None: ...  # type: ignore[override]
