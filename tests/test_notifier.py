"""Wake-ups are hints: all who listen hear them, none gets lost between two waits, and a lost one loses no work."""

import asyncio
import threading

import pytest

from sourced import Sourced
from sourced.notifiers.local import LocalNotifier
from sourced.testing import DeafNotifier
from sourced.testing.shop import AddItem, Cart, Stock
from tests.facts import PATIENCE


@pytest.fixture
def notifier():
    return LocalNotifier()


def test_a_hint_sent_before_the_wait_is_heard_by_it(notifier):
    with notifier.listen() as listener:
        notifier.notify()
        assert listener.wait(0)
        assert not listener.wait(0)


def test_a_hint_from_before_one_listened_is_not_ones_own(notifier):
    notifier.notify()
    with notifier.listen() as listener:
        assert not listener.wait(0)


def test_many_hints_are_one(notifier):
    """Whoever wakes up looks at everything there is: there is nothing to count."""
    with notifier.listen() as listener:
        for _ in range(1000):
            notifier.notify()
        assert listener.wait(0)
        assert not listener.wait(0)


def test_nobody_takes_anothers_hint_away(notifier):
    with notifier.listen() as one, notifier.listen() as other:
        notifier.notify()
        assert one.wait(0)
        assert other.wait(0)


def test_who_has_left_is_told_nothing(notifier):
    with notifier.listen() as listener:
        pass
    notifier.notify()
    assert not listener.wait(0)


def test_a_thread_is_woken_by_a_thread(notifier):
    with notifier.listen() as listener:
        waker = threading.Thread(target=notifier.notify)
        waker.start()
        assert listener.wait(PATIENCE)
        waker.join()


def test_a_task_is_woken_by_a_thread_and_by_a_task(notifier):
    async def main():
        with notifier.listen() as listener:
            notifier.notify()
            assert await listener.wait_async(0)
            assert not await listener.wait_async(0)
            for notify in (asyncio.to_thread(notifier.notify), _soon(notifier)):
                waiting = asyncio.create_task(listener.wait_async(5))
                await asyncio.sleep(0)
                await notify
                assert await waiting
            assert not await listener.wait_async(0)

    asyncio.run(main())


async def _soon(notifier):
    notifier.notify()


def test_a_loop_is_only_touched_in_the_way_that_is_safe_for_threads(notifier):
    """In its debug mode a loop refuses everything else."""

    async def main():
        with notifier.listen() as listener:
            waiting = asyncio.create_task(listener.wait_async(60))
            await asyncio.sleep(0)
            waker = threading.Thread(target=notifier.notify)
            waker.start()
            waker.join()
            async with asyncio.timeout(PATIENCE):
                assert await waiting

    asyncio.run(main(), debug=True)


def test_a_wait_that_is_cancelled_leaves_the_listener_in_order(notifier):
    async def main():
        with notifier.listen() as listener:
            waiting = asyncio.create_task(listener.wait_async(60))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            notifier.notify()
            assert await listener.wait_async(0)

    asyncio.run(main())


def test_listeners_of_several_event_loops_hear_one_notifier(notifier):
    ready, heard = threading.Barrier(4), []

    async def wait(listener):
        waiting = asyncio.create_task(listener.wait_async(5))
        await asyncio.sleep(0)
        await asyncio.to_thread(ready.wait)
        heard.append(await waiting)

    def live():
        with notifier.listen() as listener:
            asyncio.run(wait(listener))

    threads = [threading.Thread(target=live) for _ in range(3)]
    for thread in threads:
        thread.start()
    ready.wait(PATIENCE)
    notifier.notify()
    for thread in threads:
        thread.join(PATIENCE)
    assert heard == [True] * 3


def test_a_loop_that_was_closed_with_somebody_waiting_disturbs_nobody(notifier):
    with notifier.listen() as gone, notifier.listen() as here:
        loop = asyncio.new_event_loop()
        waiting = loop.create_task(gone.wait_async(60))
        loop.run_until_complete(asyncio.sleep(0))
        closed, gone._waiting = asyncio.new_event_loop(), gone._waiting
        closed.close()
        event = gone._waiting[1]
        gone._waiting = (closed, event)
        notifier.notify()
        assert here.wait(0)
        waiting.cancel()
        loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
        loop.close()


def test_a_deaf_notifier_loses_hints_and_no_messages():
    app = Sourced()
    app._engine.notifier = DeafNotifier()
    app.register(Cart, Stock)
    with app._engine.notifier.listen() as listener:
        message = app.dispatch(AddItem("tea"), to="c1")
        assert not listener.wait(0)
    app.drain()
    app.wait_for(message, timeout=0)
    assert app.load(Stock, "stock-tea").state.reserved == 1


def test_everything_that_makes_work_sends_a_hint(notifier):
    """J164, as far as hints go: whoever wakes up looks for itself whether any of it is its own."""
    app = Sourced()
    app._engine.notifier = notifier
    app.register(Cart, Stock)
    later = app.dispatch(AddItem("late"), to="c2", after=60)
    with notifier.listen() as listener:
        for work in (
            lambda: app.dispatch(AddItem("tea"), to="c1"),
            lambda: app.execute(AddItem("tea"), to="c1"),
            lambda: app.append("c1", AddItem("tea")),
            lambda: app.drain(limit=1),
            lambda: app.groups.start(Cart),
            lambda: app.groups.reset(Cart),
            lambda: app.parked.retry(),
            lambda: app.scheduled.promote(),
            lambda: app.scheduled.cancel(later),
        ):
            work()
            assert listener.wait(0)
        for quiet in (app.read_all, app.status, app.groups.list, lambda: app.load(Cart, "c1"),
                      lambda: app.groups.reset(Cart, dry_run=True)):  # fmt: skip
            quiet()
            assert not listener.wait(0)
