"""Databases that live as long as one test, each quickly made as a copy of another."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import psycopg

CONNECT_WITHIN = 10  # seconds
LEAVE_WITHIN = 5_000  # milliseconds


class Postgres(Protocol):
    """A server, by the URLs of its databases; without a name, of the one from which others are made."""

    def url(self, database: str | None = None) -> str: ...


class Databases:
    """A fresh database for each test, with the schema already in it: `install(url)` puts it in once, at the start.

    with Databases(server, install) as databases:
        with databases.fresh() as url:
            ...
    """

    def __init__(self, server: Postgres, install: Callable[[str], object]) -> None:
        self._server = server
        self._install = install
        self._template = _new_name()

    def __enter__(self) -> Databases:
        _administer(self._server, f'create database "{self._template}"')
        try:
            self._install(self._server.url(self._template))
            self._close_template()
        except BaseException:
            self._drop_template()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._drop_template()

    def fresh(self) -> contextlib.AbstractContextManager[str]:
        """The URL of a copy, dropped at the end of the block whoever is still connected."""
        return _copy(self._server, self._template)

    def _close_template(self) -> None:
        """Nobody can copy what somebody is connected to: a pool that `install` forgot, or the autovacuum."""
        name = self._template
        _administer(
            self._server,
            f'alter database "{name}" allow_connections false',
            f"select pg_terminate_backend(pid, {LEAVE_WITHIN}) from pg_stat_activity where datname = '{name}'",
        )

    def _drop_template(self) -> None:
        _drop(self._server, self._template)


def fresh_database(server: Postgres) -> contextlib.AbstractContextManager[str]:
    """The URL of an empty database, dropped at the end of the block whoever is still connected."""
    return _copy(server, "template1")


def server_version(server: Postgres) -> str:
    with _connect(server) as connection:
        (version,) = connection.execute("show server_version").fetchone() or ("unknown",)
    return str(version)


@contextlib.contextmanager
def _copy(server: Postgres, template: str) -> Iterator[str]:
    name = _new_name()
    _administer(server, f'create database "{name}" template "{template}"')
    try:
        yield server.url(name)
    finally:
        _drop(server, name)


def _drop(server: Postgres, name: str) -> None:
    _administer(server, f'drop database if exists "{name}" with (force)')


def _new_name() -> str:
    return f"sourced_test_{secrets.token_hex(8)}"


def _administer(server: Postgres, *statements: str) -> None:
    with _connect(server) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def _connect(server: Postgres) -> psycopg.Connection:
    try:
        import psycopg
    except ImportError as error:
        raise ImportError("sourced.testing.postgres needs psycopg: pip install 'sourced-py[postgres]'") from error
    return psycopg.connect(server.url(), autocommit=True, connect_timeout=CONNECT_WITHIN)
