"""What all tests share: Postgres where there is any, and a fresh store of each kind."""

import contextlib
from pathlib import Path

import pytest

from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.postgres import NoPostgres, Postgres, find_binaries
from tests.every_store import EmptiedDatabases, Maker, in_databases, in_files, in_memory

pytest_plugins = ["pytester", "sourced.testing.pytest_plugin"]
pytest.register_assert_rewrite("sourced.testing.conformance")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A page that starts a server asks for no fixture, and where there is none cannot be run either."""
    if "-postgres.md" in item.name:
        try:
            find_binaries()
        except NoPostgres as none:
            pytest.skip(str(none))


@pytest.fixture(scope="session")
def emptied_databases(postgres_server: Postgres):
    with EmptiedDatabases(postgres_server) as databases:
        yield databases


@pytest.fixture
def emptied_database(emptied_databases: EmptiedDatabases):
    """The URL of a database with all tables in it, and nothing in them."""
    with emptied_databases.one() as url:
        yield url


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path):
    """Makes stores of one kind, each empty; a test that asks for it is run once for every kind."""
    with contextlib.ExitStack() as closing:
        if request.param == "memory":
            yield in_memory(closing)
        elif request.param == "sqlite":
            yield in_files(closing, tmp_path)
        else:
            yield in_databases(closing, request.getfixturevalue("emptied_databases"))


@pytest.fixture
def store(new_store: Maker) -> Store:
    """An empty store; a test that asks for it is run once for every kind."""
    return new_store()
