"""One transaction at a time in memory: threads and tasks wait for their turn, and nobody waits for themselves."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sourced import Sourced
from sourced.errors import InTransaction
from sourced.ops import run, run_async
from sourced.store import Entry, Range
from sourced.stores.memory import MemoryStore
from sourced.testing.conformance.bench import record
from sourced.testing.shop import AddItem, Cart
from tests.facts import PATIENCE


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """In a thread that can be left behind, should it hang."""
    with_result: list[Any] = []

    def kept() -> None:
        try:
            with_result.append(work())
        except BaseException as error:
            with_result.append(error)

    thread = threading.Thread(target=kept, daemon=True)
    thread.start()
    thread.join(seconds)
    assert with_result, "expected an answer, found a deadlock"
    if isinstance(with_result[0], BaseException):
        raise with_result[0]
    return with_result[0]


@contextlib.asynccontextmanager
async def held(store: MemoryStore) -> AsyncIterator[None]:
    """Another task has a transaction open, until the end of the block."""
    inside, done = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with store.transaction_async():
            inside.set()
            await done.wait()

    holding = asyncio.create_task(holder())
    await inside.wait()
    yield
    done.set()
    await holding


def awaiting(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return within(PATIENCE, lambda: asyncio.run(work()))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def append(store: MemoryStore) -> None:
    with store.transaction() as connection:
        run(store.append([Entry("s", (record("s"),))]), connection)


async def append_async(store: MemoryStore, pause: int = 0) -> None:
    async with store.transaction_async() as connection:
        for _ in range(pause):
            await asyncio.sleep(0)
        await run_async(store.append([Entry("s", (record("s"),))]), connection)
        for _ in range(pause):
            await asyncio.sleep(0)


def seqs(store: MemoryStore) -> list[int]:
    with store.transaction() as connection:
        (records,) = run(store.histories([Range("s")]), connection)
    return [r.seq for r in records]


# -- whoever would wait for themselves is told -----------------------------------------------------------------------


def test_a_thread_in_a_transaction_that_asks_for_another_is_told(store: MemoryStore):
    def nested() -> None:
        with store.transaction(), pytest.raises(InTransaction), store.transaction():
            pass
        append(store)

    within(PATIENCE, nested)
    assert seqs(store) == [1]


def test_a_task_in_a_transaction_that_asks_for_another_is_told(store: MemoryStore):
    async def nested() -> None:
        async with store.transaction_async():
            with pytest.raises(InTransaction):
                await append_async(store)
        await append_async(store)

    awaiting(nested)
    assert seqs(store) == [1]


def test_a_task_in_one_kind_of_transaction_that_asks_for_the_other_is_told(store: MemoryStore):
    async def crossed() -> None:
        async with store.transaction_async():
            with pytest.raises(InTransaction):
                append(store)
        with store.transaction(), pytest.raises(InTransaction):
            await append_async(store)
        await append_async(store)

    awaiting(crossed)
    assert seqs(store) == [1]


def test_an_event_loop_run_inside_a_transaction_that_asks_for_another_is_told(store: MemoryStore):
    def crossed() -> None:
        with store.transaction(), pytest.raises(InTransaction):
            asyncio.run(append_async(store))

    within(PATIENCE, crossed)


def test_blocking_code_is_told_rather_than_stopping_the_loop_that_another_task_needs(store: MemoryStore):
    """The holder could never come to its end while the loop it runs on waits for it."""

    async def crossed() -> None:
        async with held(store):
            with pytest.raises(InTransaction):
                append(store)

    awaiting(crossed)


def test_an_app_says_so_too_and_its_transaction_goes_on():
    app = Sourced()
    app.register(Cart)

    def nested() -> None:
        with app.transaction() as inside:
            with pytest.raises(InTransaction):
                app.dispatch(AddItem("tea"), to="c1")
            inside.dispatch(AddItem("milk"), to="c1")

    within(PATIENCE, nested)
    assert [m.payload for m in app.history("c1")] == [AddItem("milk")]


# -- everybody else waits for their turn -------------------------------------------------------------------------------


def test_many_tasks_at_once_all_have_their_turn(store: MemoryStore):
    async def many() -> None:
        await asyncio.gather(*(append_async(store, pause=number % 3) for number in range(100)))

    awaiting(many)
    assert seqs(store) == list(range(1, 101))


def test_many_threads_and_the_tasks_of_several_loops_at_once_all_have_their_turn(store: MemoryStore):
    def threads(_: int) -> None:
        for _ in range(20):
            append(store)

    def loop(_: int) -> None:
        async def many() -> None:
            await asyncio.gather(*(append_async(store, pause=number % 3) for number in range(20)))

        asyncio.run(many())

    def mixed() -> None:
        with ThreadPoolExecutor(8) as pool:
            for each in [pool.submit(work, number) for number in range(4) for work in (threads, loop)]:
                each.result()

    within(PATIENCE, mixed)
    assert seqs(store) == list(range(1, 161))


def test_a_task_in_a_transaction_may_use_threads_while_many_others_wait(store: MemoryStore):
    """They do not take up the threads that it needs to come to its end."""

    async def many() -> None:
        async def slow() -> None:
            async with store.transaction_async() as connection:
                waiting.set()
                await asyncio.sleep(0)
                await asyncio.to_thread(lambda: None)
                await run_async(store.append([Entry("s", (record("s"),))]), connection)

        waiting = asyncio.Event()
        first = asyncio.create_task(slow())
        await waiting.wait()
        others = [asyncio.create_task(append_async(store)) for _ in range(100)]
        await asyncio.gather(first, *others)

    awaiting(many)
    assert seqs(store) == list(range(1, 102))


def test_a_task_that_gives_up_waiting_leaves_nobody_waiting_for_it(store: MemoryStore):
    async def many() -> None:
        async with held(store):
            waiting = [asyncio.create_task(append_async(store)) for _ in range(6)]
            await asyncio.sleep(0)
            for each in waiting[::2]:
                each.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in results] == [True, False] * 3
        await append_async(store)

    awaiting(many)
    assert seqs(store) == [1, 2, 3, 4]


def test_a_task_cancelled_at_the_moment_of_its_turn_passes_it_on(store: MemoryStore):
    async def many() -> None:
        async with held(store):
            first, second = (asyncio.create_task(append_async(store)) for _ in range(2))
            await asyncio.sleep(0)
        first.cancel()  # it has been told that it is its turn, and has not come to it yet
        await asyncio.gather(first, second, return_exceptions=True)
        assert first.cancelled()

    awaiting(many)
    assert seqs(store) == [1]


def test_a_task_cancelled_inside_its_transaction_leaves_nothing_and_nobody_waiting(store: MemoryStore):
    async def many() -> None:
        inside = asyncio.Event()

        async def holder() -> None:
            async with store.transaction_async() as connection:
                await run_async(store.append([Entry("s", (record("s"),))]), connection)
                inside.set()
                await asyncio.Event().wait()

        holding = asyncio.create_task(holder())
        await inside.wait()
        other = asyncio.create_task(append_async(store))
        await asyncio.sleep(0)
        holding.cancel()
        await asyncio.gather(holding, other, return_exceptions=True)

    awaiting(many)
    assert seqs(store) == [1]


def test_a_loop_that_ended_while_its_task_waited_does_not_keep_the_others_waiting(store: MemoryStore):
    """What is left in the queue by a loop that was closed is passed over."""
    entered, leave = threading.Event(), threading.Event()

    def holder() -> None:
        with store.transaction():
            entered.set()
            assert leave.wait(PATIENCE)

    async def impatient() -> None:
        left_behind = asyncio.create_task(append_async(store))  # cancelled when the loop is closed
        await asyncio.sleep(0)
        assert not left_behind.done()

    def mixed() -> None:
        with ThreadPoolExecutor(2) as pool:
            holding = pool.submit(holder)
            assert entered.wait(PATIENCE)
            asyncio.run(impatient())
            later = pool.submit(asyncio.run, append_async(store))
            leave.set()
            holding.result()
            later.result()

    within(PATIENCE, mixed)
    assert seqs(store) == [1]
