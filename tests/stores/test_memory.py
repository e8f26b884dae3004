"""The memory store keeps the contract on both sides, and adds tables of one's own to it."""

import asyncio
from typing import Any

import pytest

from sourced.ops import Call, Op, run, run_async, savepoint
from sourced.store import Snapshot, Store
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash
from sourced.testing.conformance import AsyncStoreConformance, StoreConformance
from sourced.testing.conformance.bench import Broken, breaking
from sourced.testing.conformance.day import Day
from sourced.testing.shop import Cart, Products, Sales, Stock


class TestMemory(StoreConformance):
    reactors = (Cart, Stock, Sales, Products)

    def make(self) -> Store:
        return MemoryStore()

    def outcome(self, day: Day, store: Store) -> object:
        """The rows a projector writes in the settling transaction stand or fall with it."""
        assert isinstance(store, MemoryStore)
        return super().outcome(day, store), dict(store.table("sales"))


class TestMemoryAsync(AsyncStoreConformance):
    def make(self) -> Store:
        return MemoryStore(shards=7)


# -- tables of one's own -----------------------------------------------------------------------------------------------


def writing(**rows: Any) -> Op[None]:
    def write(tx: Any) -> None:
        tx.table("rows").update(rows)

    yield Call(write)


def do(store: MemoryStore, op: Op[Any]) -> Any:
    with store.transaction() as connection:
        return run(op, connection)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    do(store, writing(a=1, b=2))
    return store


def test_a_table_is_written_in_a_transaction_and_read_anywhere(store: MemoryStore):
    assert store.table("rows") == {"a": 1, "b": 2}
    assert store.table("nothing") == {}
    with store.transaction() as connection:
        table = connection.tx.table("rows")
        table["c"] = 3
        del table["a"]
        assert (dict(table), len(table), "a" in table, repr(table)) == ({"b": 2, "c": 3}, 2, False, "{'b': 2, 'c': 3}")
    assert store.table("rows") == {"b": 2, "c": 3}


def test_a_table_cannot_be_written_outside_a_transaction(store: MemoryStore):
    """Otherwise somebody else's rollback would take it back."""
    with pytest.raises(TypeError):
        store.table("rows")["c"] = 3  # type: ignore[index]


@pytest.mark.parametrize("error", [ValueError, Crash, KeyboardInterrupt])
def test_a_table_is_as_it_was_when_the_transaction_fails(store: MemoryStore, error: type[BaseException]):
    def fail(tx: Any) -> None:
        table = tx.table("rows")
        table["a"] = table["new"] = 9
        table.clear()
        table["b"] = 5
        tx.table("another")["x"] = 1
        raise error

    def op() -> Op[None]:
        yield Call(fail)

    with pytest.raises(error):
        do(store, op())
    assert store.table("rows") == {"a": 1, "b": 2}
    assert store.table("another") == {}


def test_a_table_is_as_it_was_when_a_savepoint_fails(store: MemoryStore):
    def op() -> Op[None]:
        yield from writing(b=3)
        with pytest.raises(Broken):
            yield from savepoint(breaking(writing(a=9, c=9)))
        yield from writing(d=4)

    do(store, op())
    assert store.table("rows") == {"a": 1, "b": 3, "d": 4}


def test_a_row_that_is_not_there_is_a_key_error_and_changes_nothing(store: MemoryStore):
    with store.transaction() as connection:
        table = connection.tx.table("rows")
        with pytest.raises(KeyError):
            del table["nobody"]
        with pytest.raises(KeyError):
            table["nobody"]
    assert store.table("rows") == {"a": 1, "b": 2}


def test_a_table_is_the_same_on_both_sides(store: MemoryStore):
    async def write() -> None:
        async with store.transaction_async() as connection:
            await run_async(writing(c=3), connection)

    asyncio.run(write())
    assert store.table("rows") == {"a": 1, "b": 2, "c": 3}


# -- what only this store lets one see ---------------------------------------------------------------------------------


def test_as_many_snapshots_are_kept_as_were_asked_for():
    """SN. The newest ones, of each stream by itself."""
    store = MemoryStore()
    for seq in (5, 2, 9, 7):
        for stream, keep in (("one", 1), ("three", 3)):
            do(store, store.save_snapshot(Snapshot("g", stream, seq, "{}", ""), keep))
    assert [each.seq for each in store._tables.snapshots["g", "one"]] == [9]
    assert [each.seq for each in store._tables.snapshots["g", "three"]] == [9, 7, 5]


def test_what_a_transaction_remembers_to_undo_is_forgotten_at_its_end(store: MemoryStore):
    """A long life must not fill the memory with what could once have been undone."""
    with pytest.raises(Broken):
        do(store, breaking(writing(x=1)))
    do(store, writing(x=1))
    assert store._tables.undo == []
