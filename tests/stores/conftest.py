"""Databases with the tables of Sourced in them, one for each test that asks."""

import contextlib

import pytest

from sourced.stores.postgres import PostgresStore
from sourced.testing.postgres import Databases, Postgres


@pytest.fixture(scope="session")
def installed(postgres_server: Postgres):
    with Databases(postgres_server, install) as databases:
        yield databases


@pytest.fixture
def database(installed: Databases):
    """The URL of a database that is ready to be used."""
    with installed.fresh() as url:
        yield url


@pytest.fixture
def postgres(database: str):
    with contextlib.closing(PostgresStore(database)) as store:
        yield store


def install(url: str) -> None:
    with contextlib.closing(PostgresStore(url)) as store:
        store.migrate()
