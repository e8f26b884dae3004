"""PostgreSQL keeps the contract on both sides."""

import contextlib
from typing import Any

import pytest

from sourced.store import Store
from sourced.stores.postgres import PostgresStore
from sourced.testing.conformance import AsyncStoreConformance, StoreConformance
from sourced.testing.conformance.bench import Bench
from sourced.testing.postgres import Databases, Postgres


@pytest.fixture(scope="module")
def databases(postgres_server: Postgres):
    with Databases(postgres_server, install) as databases:
        yield databases


def install(url: str) -> None:
    with contextlib.closing(PostgresStore(url)) as store:
        store.migrate()


class Fresh(Bench):
    """Every store in a database of its own, that goes with the case."""

    options: dict[str, Any] = {}

    @pytest.fixture(autouse=True)
    def _databases(self, databases: Databases):
        with contextlib.ExitStack() as stack:
            self.databases, self.stack = databases, stack
            yield

    def setup_method(self) -> None:
        """Not before there are databases."""

    @pytest.fixture(autouse=True)
    def _set_up(self, _databases: None):
        super().setup_method()

    def make(self) -> Store:
        store = PostgresStore(self.stack.enter_context(self.databases.fresh()), **self.options)
        self.stack.callback(store.close)
        return store


class TestPostgres(Fresh, StoreConformance):
    """As it comes."""


class TestPostgresAsync(Fresh, AsyncStoreConformance):
    """Through the asynchronous driver."""
