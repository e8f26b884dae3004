"""Connections that callers own, taken out of what SQLAlchemy and Django wrap around them."""

from __future__ import annotations

from typing import Any

from sourced.errors import DefinitionError, NeedsAwait


def driver_connection(connection: object) -> Any:
    """The driver's connection behind it, with the wrapper's transaction begun, so that its commit is the commit."""
    origin = _origin(connection)
    if origin == "sqlalchemy":
        return _of_sqlalchemy(connection)
    return _of_django(connection) if origin == "django" else connection


async def driver_connection_async(connection: object) -> Any:
    if _origin(connection) == "sqlalchemy":
        from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

        if isinstance(connection, async_scoped_session):
            connection = connection()
        if isinstance(connection, AsyncSession):
            connection = await connection.connection()
        if isinstance(connection, AsyncConnection):
            if not connection.in_transaction():
                await connection.begin()
            return (await connection.get_raw_connection()).driver_connection
    return driver_connection(connection)


def refused(connection: object, raw: object, works: str) -> DefinitionError:
    found = _called(connection) + ("" if raw is connection else f" over {_called(raw)}")
    return DefinitionError(f"using(connection): expected {works}, found {found}")


def _origin(connection: object) -> str:
    """Told by its classes' modules: what is not installed is not imported."""
    roots = {cls.__module__.partition(".")[0] for cls in type(connection).__mro__}
    return next((root for root in ("sqlalchemy", "django") if root in roots), "")


def _of_sqlalchemy(connection: object) -> Any:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session, scoped_session

    if isinstance(connection, scoped_session):
        connection = connection()
    if isinstance(connection, Session):
        connection = connection.connection()
    if not isinstance(connection, Connection):
        if type(connection).__module__.startswith("sqlalchemy.ext.asyncio"):
            raise NeedsAwait(connection)
        raise refused(connection, connection, "a SQLAlchemy Connection or Session")
    if not connection.in_transaction():
        connection.begin()  # as its first statement would: without it, its commit would do nothing
    return connection.connection.driver_connection


def _of_django(connection: Any) -> Any:
    if not hasattr(connection, "in_atomic_block"):
        raise refused(connection, connection, "django.db.connection")
    if not connection.in_atomic_block:
        raise DefinitionError(
            "using(connection): Django commits every statement by itself here; call it inside transaction.atomic()"
        )
    return connection.connection


def _called(connection: object) -> str:
    cls = type(connection)
    return f"{cls.__module__}.{cls.__qualname__}"
