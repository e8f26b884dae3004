"""PostgreSQL keeps the contract on both sides."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from sourced.store import Store
from sourced.stores.postgres import PostgresStore
from sourced.testing.conformance import AsyncStoreConformance, StoreConformance
from sourced.testing.conformance.bench import Bench
from tests.every_store import EmptiedDatabases


class Fresh(Bench):
    """Every store in a database of its own, which others have when it is closed and emptied."""

    options: dict[str, Any] = {}

    @pytest.fixture(autouse=True)
    def _databases(self, emptied_databases: EmptiedDatabases):
        with contextlib.ExitStack() as stack:
            self.databases, self.stack = emptied_databases, stack
            yield

    def setup_method(self) -> None:
        """Not before there are databases."""

    @pytest.fixture(autouse=True)
    def _set_up(self, _databases: None):
        super().setup_method()

    def make(self) -> Store:
        return self.stack.enter_context(self.another_store())

    @contextlib.contextmanager
    def another_store(self) -> Iterator[Store]:
        with (
            self.databases.one() as url,
            contextlib.closing(PostgresStore(url, **self.options)) as store,
        ):
            yield store


class TestPostgres(Fresh, StoreConformance):
    """As it comes."""


class TestPostgresAsync(Fresh, AsyncStoreConformance):
    """Through the asynchronous driver."""
