"""SQLite keeps the contract on both sides, and what a file on disk adds to it."""

import tempfile
from pathlib import Path
from typing import Any

from sourced.store import Store
from sourced.stores.sqlite import SqliteStore
from sourced.testing.conformance import AsyncStoreConformance, StoreConformance
from sourced.testing.conformance.bench import Bench
from sourced.testing.shop import Cart, Products, Stock


class Files(Bench):
    """Every store in a file of its own, in a folder that goes with the case."""

    options: dict[str, Any] = {}

    def setup_method(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.made: list[SqliteStore] = []
        super().setup_method()

    def teardown_method(self) -> None:
        super().teardown_method()
        for store in self.made:
            store.close()
        self.folder.cleanup()

    def make(self) -> Store:
        self.made.append(SqliteStore(Path(self.folder.name, f"{len(self.made)}.db"), **self.options))
        return self.made[-1]


class TestSqlite(Files, StoreConformance):
    """As it comes."""

    reactors = (Cart, Stock, Products)


class TestSqliteAsync(Files, AsyncStoreConformance):
    options = {"shards": 7, "prefix": "p_"}
