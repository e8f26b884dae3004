"""`wait_for` reads your own writes: it ends when everybody who wants a message has handled it, or says why not."""

import asyncio
import threading
from datetime import timedelta

import pytest

from sourced import Actor, Invalid, Park, Sourced, decide
from sourced.errors import StillWaiting
from sourced.runtime import foreground
from sourced.testing import DeafNotifier, VirtualClock, steal_leases
from sourced.testing.shop import AddItem, Cart, ItemAdded, Sales, Stock
from tests.facts import PATIENCE


def shop(**options):
    app = Sourced(clock=VirtualClock(), **options)
    app.register(Cart, Stock, Sales)
    return app


@pytest.fixture
def app():
    return shop()


def why(app, message):
    with pytest.raises(StillWaiting) as waiting:
        app.wait_for(message, timeout=0)
    return waiting.value.groups


def test_it_returns_at_once_when_there_is_nothing_to_wait_for(app):
    message = app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    app.wait_for(message, timeout=0)
    app.wait_for(message.id, timeout=timedelta(0))


def test_a_message_nobody_wants_is_not_waited_for(app):
    app.groups.stop(Cart)
    (unwanted,) = Sourced(app.store).append("c1", [ItemAdded("x", 1)])
    only_stock = Sourced(app.store)
    only_stock.register(Stock)
    only_stock.wait_for(unwanted, timeout=0)


def test_an_executed_command_has_been_handled_by_the_one_who_decided_it(app):
    command, events = app.execute(AddItem("tea"), to="c1")
    app.wait_for(command, timeout=0)
    assert set(why(app, events[0])) == {"shop.carts", "shop.sales"}


@pytest.fixture(params=["local", "deaf"])
def woken(request, app, monkeypatch):
    """An app whose waiters hear everything and never look by themselves, or the other way round."""
    if request.param == "deaf":
        app._engine.notifier = DeafNotifier()
    else:
        monkeypatch.setattr(foreground, "LOOK_AGAIN", 60)
    return app


def test_a_thread_that_waits_hears_of_the_thread_that_works(woken):
    """J167. A lost wake-up costs a moment and never the message: whoever waits also looks by itself."""
    message = woken.dispatch(AddItem("tea"), to="c1")
    waiter = threading.Thread(target=woken.wait_for, args=(message,))
    worker = threading.Thread(target=woken.drain)
    for thread in (waiter, worker):
        thread.start()
    for thread in (waiter, worker):
        thread.join(PATIENCE)
    assert not waiter.is_alive()
    assert woken.store.table("sales")["c1"] == {"items": 1}


@pytest.mark.parametrize("worker", ["task", "thread"])
def test_a_task_that_waits_hears_of_whoever_works(woken, worker):
    """J167."""

    async def main():
        message = await woken.aio.dispatch(AddItem("tea"), to="c1")
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            tasks.create_task(woken.aio.wait_for(message))
            await asyncio.sleep(0)
            tasks.create_task(woken.aio.drain() if worker == "task" else asyncio.to_thread(woken.drain))

    asyncio.run(main())
    assert woken.store.table("sales")["c1"] == {"items": 1}


def test_one_hint_wakes_everybody_who_waits(app, monkeypatch):
    monkeypatch.setattr(foreground, "LOOK_AGAIN", 60)
    messages = [app.dispatch(AddItem("tea"), to=f"c{n}") for n in range(5)]

    async def main():
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for message in messages:
                tasks.create_task(app.aio.wait_for(message))
                tasks.create_task(asyncio.to_thread(app.wait_for, message))
            await asyncio.sleep(0)
            tasks.create_task(app.aio.drain())

    asyncio.run(main())


class TestItSaysWhy:
    def test_nobody_has_come_yet(self, app):
        message = app.dispatch(AddItem("tea"), to="c1")
        assert why(app, message) == {
            "shop.carts": "nobody has come to it yet; is a worker running, or did anybody call drain()?"
        }
        with pytest.raises(StillWaiting, match=r"was not handled within 0 s \(shop.carts: nobody"):
            app.wait_for(message, timeout=0)

    def test_it_is_a_time_out_for_those_who_know_only_python(self, app):
        message = app.dispatch(AddItem("tea"), to="c1")
        with pytest.raises(TimeoutError) as waiting:
            app.wait_for(message, timeout=0)
        assert isinstance(waiting.value, StillWaiting)
        assert waiting.value.message_id == message.id

    def test_the_group_is_stopped(self, app):
        message = app.dispatch(AddItem("tea"), to="c1")
        app.groups.stop(Cart, "stocktaking")
        app.drain()
        assert why(app, message) == {"shop.carts": "the group was stopped: stocktaking"}
        app.groups.start(Cart)
        app.drain()
        app.wait_for(message, timeout=0)

    def test_it_is_scheduled(self, app):
        message = app.dispatch(AddItem("tea"), to="c1", after=60)
        assert why(app, message) == {"the schedule": "it is due at 2026-01-01 12:01:00+00:00"}
        app._engine.clock.advance(60)
        app.drain()
        app.wait_for(message, timeout=0)

    def test_there_is_no_such_message(self, app):
        assert why(app, "no such id") == {"the log": "no message with this id is stored"}
        for mistake in (None, 5, AddItem("tea"), app.execute(AddItem("tea"), to="c1")):
            with pytest.raises(Invalid, match="expected a stored message or its id, found"):
                app.wait_for(mistake)

    def test_its_stream_failed_or_is_parked(self):
        class Broken(Actor[None]):
            @decide
            def add(self, state, command: AddItem):
                raise ValueError("out of paper")

        for app in (Sourced(clock=VirtualClock()), Sourced(clock=VirtualClock(), errors=Park())):
            app.register(Broken)
            first, behind = (app.dispatch(AddItem("tea"), to="c1") for _ in range(2))
            app.drain()
            how = "parked" if app.parked.list() else "to be tried again at 2026-01-01 12:00:03+00:00"
            expected = {"Broken": f"stream 'c1' is {how} since seq 1: ValueError: out of paper"}
            assert why(app, first) == why(app, behind) == expected

    def test_somebody_is_at_work_on_it_and_does_not_come_back(self, app):
        message = app.dispatch(AddItem("tea"), to="c1")
        steal_leases(app.store, "shop.carts", app._engine.clock.now())
        app.drain()
        assert list(why(app, message)) == ["shop.carts"]

    def test_several_groups_each_for_a_reason_of_its_own(self, app):
        _, (event,) = app.execute(AddItem("tea"), to="c1")
        app.groups.stop(Sales, "moving house")
        reasons = why(app, event)
        assert reasons["shop.sales"] == "the group was stopped: moving house"
        assert reasons["shop.carts"].startswith("nobody has come to it yet")
        app.drain()
        assert list(why(app, event)) == ["shop.sales"]


def test_after_a_reset_a_message_is_waited_for_anew(app):
    message = app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    app.groups.reset(Cart)
    assert list(why(app, message)) == ["shop.carts"]
    app.drain()
    app.wait_for(message, timeout=0)


def test_what_came_before_a_group_began_is_not_waited_for(app):
    class Fresh(Sales, group="fresh"):
        start_from = "now"

    message = app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    event = app.history("c1")[1]
    app.register(Fresh)
    app.wait_for(message, timeout=0)
    app.wait_for(event, timeout=0)


@pytest.mark.parametrize("timeout", ["5", None, float("nan"), float("inf"), object()])
def test_a_time_that_is_none_is_refused(app, timeout):
    with pytest.raises(Invalid, match="expected a number of seconds or a timedelta"):
        app.wait_for("id", timeout=timeout)
