"""The log in transactions, small and large: what belongs together is stored together, or none of it is."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from sourced import Batch, Duplicate, Invalid, Sourced, sync
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.shop import Cart, Reserve, Stock, StockState
from tests.every_store import told_by_nobody_else
from tests.logbook import Marked, Noted, noted, seqs, told
from tests.rows import put, table


@pytest.fixture
def app(store: Store) -> Sourced:
    app = Sourced(store, clock=VirtualClock())
    app.register(Noted, Marked, Cart, Stock)
    return app


def test_a_list_whose_third_cannot_be_stored_stores_none_and_wakes_nobody(app: Sourced):
    """D70. Whether the store refuses it, or it does not even fit its class."""
    app.append("s2", noted("s2", id="known"))
    told_by_nobody_else(app)
    third: Any = Noted(3)  # type: ignore[arg-type]
    with app._engine.notifier.listen() as listener:
        for wrong, error in ((noted("s1", id="known"), Duplicate), (third, Invalid), (noted("s2"), Invalid)):
            with pytest.raises(error):
                app.append("s1", [Noted("one"), Noted("two"), wrong])
        assert not listener.wait(0)
        assert seqs(app, "s1") == []
        app.append("s1", Noted("one"))
        assert listener.wait(0)


def test_a_transaction_that_raises_takes_its_appends_back_and_the_error_is_the_callers(app: Sourced):
    """D71."""
    app.append("s1", Noted("kept"))

    def work() -> None:
        with app.transaction() as tx:
            tx.append("s1", Noted("undone"))
            tx.append("s2", Noted("undone"))
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        work()
    assert told(app.read_all()) == ["kept"]
    assert [m.seq for m in app.append("s1", Noted("next"))] == [2]


def test_a_transaction_inside_another_joins_it(app: Sourced):
    """D71. Both commit at the end of the outer one; an error after the inner one's end takes both back."""

    def work(fail: bool) -> None:
        with app.transaction() as outer:
            outer.append("s1", Noted("outer"))
            with outer.transaction() as inner:
                inner.append("s1", Noted("inner"))
                assert told(outer.history("s1"))[-2:] == ["outer", "inner"]
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work(fail=True)
    assert app.read_all() == []
    work(fail=False)
    assert told(app.history("s1")) == ["outer", "inner"]


def test_an_error_in_the_transaction_inside_takes_the_outer_one_back_unless_it_is_caught(app: Sourced):
    """D71."""

    def work() -> None:
        with app.transaction() as outer:
            outer.append("s1", Noted("outer"))
            with outer.transaction() as inner:
                inner.append("s1", Noted("inner"))
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert app.read_all() == []


def test_all_of_it_holds_for_transactions_that_are_awaited(app: Sourced):
    """D71."""

    async def work(fail: bool) -> None:
        async with app.aio.transaction() as outer:
            await outer.append("s1", Noted("outer"))
            async with outer.transaction() as inner:
                await inner.append("s1", Noted("inner"))
            assert told(await outer.history("s1")) == ["outer", "inner"]
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(work(fail=True))
    assert app.read_all() == []
    asyncio.run(work(fail=False))
    assert told(app.history("s1")) == ["outer", "inner"]


def test_transactions_of_many_tasks_at_once_do_not_mix(app: Sourced):
    """D71. Each sees its own and what was committed, never the half of another."""

    async def work(number: int) -> None:
        async with app.aio.transaction() as tx:
            for text in "ab":
                await tx.append(f"s{number % 3}", Noted(f"{number}{text}"))
                await asyncio.sleep(0)
            if number % 4 == 0:
                raise ZeroDivisionError

    async def many() -> list[Any]:
        return await asyncio.gather(*(work(number) for number in range(24)), return_exceptions=True)

    outcomes = asyncio.run(many())
    assert [isinstance(outcome, ZeroDivisionError) for outcome in outcomes] == [n % 4 == 0 for n in range(24)]
    assert sorted(told(app.read_all())) == sorted(f"{n}{text}" for n in range(24) for text in "ab" if n % 4)
    for stream in ("s0", "s1", "s2"):
        texts = told(app.history(stream))
        assert all(first[:-1] == second[:-1] for first, second in zip(texts[::2], texts[1::2], strict=True))


def test_a_verb_that_is_cancelled_inside_a_transaction_leaves_nothing_of_itself(store: Store):
    """D70, D71. A time-out that the caller deals with: what else the transaction has done is stored."""

    class Slow(Stock, group="slow"):
        @sync
        async def never(self, stock: StockState, batch: Batch, tx: Any) -> None:
            if (written := put(tx, "rows", "half", True)) is not None:
                await written
            patience[0].reschedule(0)
            await asyncio.Event().wait()

    app = Sourced(store, clock=VirtualClock())
    app.register(Slow, Noted)

    patience: list[asyncio.Timeout] = []

    async def impatient(verb: Coroutine[Any, Any, Any]) -> None:
        async with asyncio.timeout(None) as limit:
            patience.append(limit)
            await verb

    async def work() -> None:
        async with app.aio.transaction() as tx:
            await tx.append("s1", Noted("before"))
            with pytest.raises(TimeoutError):
                await impatient(tx.execute(Reserve("tea", 1), to="stock-tea"))
            await tx.append("s1", Noted("after"))

    asyncio.run(work())
    assert told(app.read_all()) == ["before", "after"]
    assert table(app.store, "rows") == {}
