"""Handlers may be coroutines: awaited streams run side by side, order per stream stands, failures are told apart."""

import asyncio
from typing import Any

import pytest

from sourced import AfterCommit, Delivery, Park, Reactor, Retry, Sourced, Sync
from sourced.actions import Actions
from sourced.errors import NeedsAwait
from sourced.store import Store
from sourced.testing import Crash, VirtualClock
from tests.runtime.bells import Answer, Bell, Ring, Rings, Rung, bells, both_sides, drained, rings
from tests.runtime.listener import Listener, Noted, listening


@both_sides
@pytest.mark.parametrize("batch", [1, 3, 500])
def test_async_reactions_and_sync_blocks_do_what_plain_ones_do(how: str, batch: int, store: Store):
    """One log and one table, whoever drives the round."""
    app = bells(batch=batch, store=store)
    for n in range(1, 7):
        app.dispatch(Ring(n), to=f"b{n % 2}")
    drained(app, how)
    assert app.load(Bell, "b1").state == [1, 3, 5]
    answers = {(m.stream, m.payload.total) for m in app.read_all(types=[Answer])}
    assert answers == {("b1", 1), ("b1", 4), ("b1", 9), ("b0", 2), ("b0", 6), ("b0", 12)}
    assert rings(app) == {"b0": 12, "b1": 9}


@both_sides
def test_an_async_failure_keeps_the_good_prefix_and_no_more(how: str, store: Store):
    """E96, H143. In a reaction, and in a sync block: the right message is blamed, the others are through."""
    app = bells(store=store)
    app.append("reaction", [Rung(1), Rung(13), Rung(2)])
    app.append("sync", [Rung(600), Rung(66), Rung(1)])
    app.append("fine", [Rung(1), Rung(2)])
    drained(app, how)
    assert rings(app) == {"reaction": 1, "sync": 600, "fine": 3}
    assert {row.stream: (row.from_seq, row.error) for row in app.parked.list(Rings)} == {
        "reaction": (2, "ValueError: unlucky"),
        "sync": (2, "ValueError: damned"),
    }


def test_streams_are_handled_side_by_side():
    """Two handlers that wait for each other both come through: one after the other would wait for ever."""

    async def both(delivery: Delivery) -> Any:
        if delivery.message.seq == 1:
            await asyncio.wait_for(barrier.wait(), 10)
        order.append((delivery.message.stream, delivery.message.seq))

    async def main() -> int:
        return await app.aio.drain()

    barrier = asyncio.Barrier(2)
    order: list[tuple[str, int]] = []
    app, _ = listening(both)
    for stream in "ab":
        app.append(stream, [Noted(), Noted()])
    assert asyncio.run(main()) == 4
    for stream in "ab":
        assert [seq for name, seq in order if name == stream] == [1, 2]


def test_one_slow_stream_of_a_round_does_not_hold_up_the_handling_of_the_others():
    """The others are through all of their messages before the slow one is through its first."""
    order: list[str] = []

    async def handle(delivery: Delivery) -> Any:
        if delivery.message.stream == "slow":
            await asyncio.wait_for(others_done.wait(), 10)
        order.append(delivery.message.stream)
        if order.count("fast") == 3:
            others_done.set()

    async def main() -> None:
        await app.aio.drain()

    others_done = asyncio.Event()
    app, _ = listening(handle)
    app.append("slow", Noted())
    app.append("fast", [Noted(), Noted(), Noted()])
    asyncio.run(main())
    assert order == ["fast", "fast", "fast", "slow"]


def test_several_tasks_drain_one_store_and_miss_nothing(store: Store):
    """E79. Three tasks, each an app of its own on one store, with handlers that let the others go on."""

    async def handle(delivery: Delivery) -> Any:
        await asyncio.sleep(0)

    workers = [listening(handle, store=store, batch=5) for _ in range(3)]
    for n in range(120):
        workers[0][0].append(f"s{n % 6}", Noted(str(n)))

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for app, _ in workers:
                tasks.create_task(app.aio.drain())

    asyncio.run(main())
    seen = [place for _, listener in workers for place in listener.places]
    assert sorted(seen) == sorted((f"s{n}", seq) for n in range(6) for seq in range(1, 21))
    for _, listener in workers:
        for n in range(6):
            mine = [seq for name, seq in listener.places if name == f"s{n}"]
            assert mine == sorted(mine)


def test_after_commit_work_may_be_async_and_may_fail():
    """It runs when everything is durable; a failure is logged and changes nothing."""
    done: list[str] = []

    async def tell(text: str) -> None:
        await asyncio.sleep(0)
        if text == "bad":
            raise ValueError(text)
        done.append(text)

    def answer(delivery: Delivery) -> Actions:
        text = delivery.message.payload.text
        return (AfterCommit(lambda: tell(text)), Sync(lambda tx: tx.table("rows").update({text: True})))

    for how in ("blocking", "awaiting"):
        app, _ = listening(answer)
        app.append("s", [Noted("good"), Noted("bad"), Noted("better")])
        assert drained(app, how) == 3
        assert (sorted(done), app.parked.list()) == (["better", "good"], [])
        assert len(app.store.table("rows")) == 3  # type: ignore[attr-defined]
        done.clear()


def test_a_cancelled_drain_gives_its_shards_back_and_blames_nobody(store: Store):
    """Whoever is asked to stop in the middle of a handler leaves everything as it was for the next one."""
    app, listener = listening(errors=Retry(), store=store)

    async def main() -> None:
        entered = asyncio.Event()

        async def forever(delivery: Delivery) -> Any:
            entered.set()
            await asyncio.Event().wait()

        listener.answer = forever
        task = asyncio.create_task(app.aio.drain())
        await asyncio.wait_for(entered.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        listener.answer = lambda delivery: ()
        assert await app.aio.drain() == 2

    app.append("s", [Noted(), Noted()])
    asyncio.run(main())
    assert app.groups.get(listener).stragglers == ()


def test_a_coroutine_that_kills_its_process_is_parked_in_the_end(store: Store):
    """A crash is a crash, awaited or not."""

    class Deadly(Listener, group="deadly"):
        async def handle(self, delivery: Delivery) -> Actions:  # type: ignore[override]
            self.seen.append(delivery)
            await asyncio.sleep(0)
            if delivery.message.stream == "bad":
                raise Crash
            return ()

    clock, deadly = VirtualClock(), Deadly()
    app = Sourced(store, clock=clock, errors=Retry(times=1, after=0))
    app.register(deadly)
    app.append("bad", Noted())
    app.append("good", [Noted(), Noted()])
    for _ in range(12):
        try:
            asyncio.run(app.aio.drain())
        except* Crash:
            pass
        clock.advance(31)
    assert [row.stream for row in app.parked.list()] == ["bad"]
    assert app.groups.get(deadly).lag == 0
    assert ("good", 2) in deadly.places


def test_draining_without_await_inside_a_running_loop_is_the_callers_mistake():
    """It reaches the caller and is not blamed on the message, whose handler is fine."""
    app = bells()
    app.append("s", Rung(1))

    async def main() -> None:
        with pytest.raises(NeedsAwait):
            app.drain()
        assert app.parked.list() == []
        await app.aio.drain()

    asyncio.run(main())
    assert rings(app) == {"s": 1}


def test_what_a_coroutine_answers_is_checked_like_any_answer():
    class Odd(Reactor):
        handles = (Noted,)

        async def handle(self, delivery: Delivery) -> Any:
            return 7

    app = Sourced(errors=Park())
    app.register(Odd)
    app.append("s", Noted())
    for how in ("blocking", "awaiting"):
        drained(app, how)
        assert [row.error.partition(":")[0] for row in app.parked.list()] == ["TypeError"]
        app.parked.retry()
