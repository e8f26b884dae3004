"""What user code does in a transaction that it is handed stands or falls with it, on every store."""

import asyncio
from typing import Any

import pytest

from sourced.ops import Call, Op, savepoint
from sourced.store import Store
from sourced.testing.conformance.bench import Broken, breaking, entry
from tests.rows import put, table


def do(store: Store, op: Op[Any], side: str) -> None:
    if side == "blocking":
        store.transact(op)
    else:
        asyncio.run(store.transact_async(op))


def writing(key: str) -> Op[None]:
    yield Call(lambda tx: put(tx, "rows", key, True))


both_sides = pytest.mark.parametrize("side", ["blocking", "awaiting"])


@both_sides
def test_rows_written_first_of_all_are_taken_back_with_the_rest(store: Store, side: str):
    """Nothing was said on the connection before, so nothing has begun the transaction for them."""

    def op() -> Op[None]:
        yield from writing("a")
        yield from store.append([entry("s")])

    with pytest.raises(Broken):
        do(store, breaking(op()), side)
    with pytest.raises(Broken):
        do(store, breaking(writing("b")), side)
    assert table(store, "rows") == {}
    do(store, op(), side)
    do(store, writing("b"), side)
    assert table(store, "rows") == {"a": True, "b": True}
    assert len(store.transact(store.read_all())) == 1


@both_sides
def test_a_savepoint_takes_back_what_was_written_in_it(store: Store, side: str):
    def op() -> Op[None]:
        with pytest.raises(Broken):
            yield from savepoint(breaking(writing("a")))
        yield from savepoint(writing("b"))

    do(store, op(), side)
    assert table(store, "rows") == {"b": True}
