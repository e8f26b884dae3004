"""Every store answers like the memory store, whatever is asked of it and in whatever order."""

import contextlib
import inspect
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from sourced.store import Store
from sourced.stores.file import FileStore
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing.conformance import machine
from sourced.testing.conformance.machine import StoreMachine
from sourced.testing.postgres import Databases, Postgres

LONGER = int(os.environ.get("SOURCED_MACHINE_TIMES", "1"))  # so many times as long: for a night, say 500


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples * LONGER, stateful_step_count=30, deadline=None, derandomize=LONGER == 1, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
    )  # fmt: skip


class MemoryMachine(StoreMachine):
    def make(self) -> Store:
        return MemoryStore(4)


class InAFolder(StoreMachine):
    def make(self) -> Store:
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        return self.opened()

    def opened(self) -> Store:
        raise NotImplementedError

    def reopened(self, store: Store) -> Store:
        store.close()
        return self.opened()

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()


class SqliteMachine(InAFolder):
    def opened(self) -> Store:
        return SqliteStore(Path(self.folder.name, "machine.db"), shards=4)


class FileMachine(InAFolder):
    def opened(self) -> Store:
        return FileStore(self.folder.name, 4, sync=False)


class PostgresMachine(StoreMachine):
    databases: Databases

    def make(self) -> Store:
        self.stack = contextlib.ExitStack()
        self.url = self.stack.enter_context(self.databases.fresh())
        return self.opened()

    def opened(self) -> Store:
        return PostgresStore(self.url, shards=4)

    def reopened(self, store: Store) -> Store:
        store.close()
        return self.opened()

    def teardown(self) -> None:
        super().teardown()
        self.stack.close()


MemoryMachine.TestCase.settings = bounded(5)
SqliteMachine.TestCase.settings = bounded(120)
FileMachine.TestCase.settings = bounded(100)
PostgresMachine.TestCase.settings = bounded(30)

TestMemoryMachine = MemoryMachine.TestCase
TestSqliteMachine = SqliteMachine.TestCase
TestFileMachine = FileMachine.TestCase


def install(url: str) -> None:
    with contextlib.closing(PostgresStore(url, shards=4)) as store:
        store.migrate()


@pytest.fixture(scope="module")
def databases(postgres_server: Postgres):
    with Databases(postgres_server, install) as PostgresMachine.databases:
        yield


TestPostgresMachine = pytest.mark.usefixtures("databases")(PostgresMachine.TestCase)


def test_the_machine_asks_for_everything_the_port_has():
    """A method that is missing here is one in which stores may differ without anybody noticing."""
    written = "".join(file.read_text() for file in Path(machine.__file__).parent.glob("*.py"))
    about_no_contents = {"relay", "migrate", "migrate_async", "joined", "joined_async", "symptoms"}
    carried_out_by_transact = {"transaction", "transaction_async", "moment"}
    port = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    asked = {name for name in port if f"store.{name}(" in written}
    assert port - asked == about_no_contents | carried_out_by_transact
