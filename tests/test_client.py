"""`app` and `app.aio` are one thing, written once: the same names, the same promises, the same store."""

import asyncio
import inspect

import pytest

from sourced import AsyncClient, AsyncLoaded, Client, Invalid, Loaded, Message, Sourced
from sourced.audit import ScheduleCancelled
from sourced.errors import Conflict, NotKnown
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, ItemAdded, Sales, Stock


def shop():
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock, Sales)
    return app


@pytest.fixture
def app():
    return shop()


def twins(app):
    async def loaded():
        return await app.aio.load(Cart, "c1")

    return [
        ("app", app, app.aio),
        ("app.groups", app.groups, app.aio.groups),
        ("app.parked", app.parked, app.aio.parked),
        ("app.scheduled", app.scheduled, app.aio.scheduled),
        ("a loaded actor", app.load(Cart, "c1"), asyncio.run(loaded())),
    ]


def public(thing):
    names = {name for name in dir(thing) if not name.startswith("_")}
    if isinstance(thing, Sourced):  # what makes an app: it is not asked of a store, so it is nothing to await
        names -= {
            "aio",
            "close",
            "dashboard",
            "lifespan",
            "on",
            "register",
            "run",
            "running",
            "store",
            "telemetry",
            "topology",
        }
    return names


def test_both_sides_have_the_same_names(app):
    for name, here, awaited in twins(app):
        assert public(here) == public(awaited), name


def test_both_sides_take_the_same_and_promise_the_same(app):
    """The signatures are those that people see in `help()`: without `self`, with every default."""
    compared = 0
    for where, here, awaited in twins(app):
        for name in public(here):
            one, other = getattr(here, name), getattr(awaited, name)
            if not callable(one):
                continue
            compared += 1
            assert taken(one) == taken(other), f"{where}.{name}"
            assert "self" not in taken(one), f"{where}.{name}"
            assert one.__doc__ == other.__doc__, f"{where}.{name}"
    assert compared >= 25


def taken(method):
    return dict(inspect.signature(method).parameters)


def test_everything_an_app_offers_says_what_it_promises(app):
    for where, here, _ in twins(app):
        if where in ("app", "a loaded actor"):
            assert not [
                name for name in public(here) if callable(getattr(here, name)) and not getattr(here, name).__doc__
            ]


def test_every_verb_is_a_coroutine_function_on_the_awaitable_side_only(app):
    """Frameworks look, to know whether to await; and a forgotten `await` is warned of by the verb's own name."""
    for _, here, awaited in twins(app):
        for name in public(here) & {
            "execute",
            "dispatch",
            "list",
            "get",
            "stop",
            "refresh",
            "history",
            "drain",
            "load",
        }:
            assert inspect.iscoroutinefunction(getattr(awaited, name)), name
            assert not inspect.iscoroutinefunction(getattr(here, name)), name
    forgotten = app.aio.execute(AddItem("tea"), to="c1")
    assert forgotten.__qualname__.endswith(".execute")
    forgotten.close()
    assert app.read_all() == []


def test_the_classes_are_the_documented_ones(app):
    for _, here, awaited in twins(app)[:1]:
        assert isinstance(here, Client)
        assert isinstance(awaited, AsyncClient)
    assert [type(side) for side in twins(app)[-1][1:]] == [Loaded, AsyncLoaded]
    assert app.aio is app.aio


def tell(app):
    """One story, told on the blocking side."""
    cart = app.load(Cart, "c1")
    cart.execute(AddItem("tea", 2))
    app.execute(AddItem("milk"), to="c1", expected_seq=2)
    queued = app.dispatch(AddItem("honey"), to="c2", metadata={"user": 7})
    later = app.dispatch(AddItem("late"), to="c2", after=60)
    app.append("c3", [ItemAdded("old", 1)], expected_seq=0)
    app.drain()
    app.wait_for(queued, timeout=0)
    cart.refresh()
    cart.add_item("bread")
    with app.transaction() as tx:
        tx.execute(Close(), to="c1")
    with pytest.raises(CartClosed):
        app.execute(AddItem("too late"), to="c1")
    with pytest.raises(Conflict):
        app.append("c3", ItemAdded("x", 1), expected_seq=0)
    app.groups.stop(Sales, "for a test")
    assert len(app.scheduled.cancel(later.id).messages) == 1
    with pytest.raises(NotKnown):
        app.parked.skip(Cart, "c1", reason="no reason")
    past = app.load(Cart, "c1", upto=2)
    return (
        cart.state,
        past.state,
        cart.history(),
        app.history("c2", after=1),
        app.streams(),
        app.status(),
        app.groups.list(),
    )


async def tell_async(app):
    """The same, awaited."""
    cart = await app.aio.load(Cart, "c1")
    await cart.execute(AddItem("tea", 2))
    await app.aio.execute(AddItem("milk"), to="c1", expected_seq=2)
    queued = await app.aio.dispatch(AddItem("honey"), to="c2", metadata={"user": 7})
    later = await app.aio.dispatch(AddItem("late"), to="c2", after=60)
    await app.aio.append("c3", [ItemAdded("old", 1)], expected_seq=0)
    await app.aio.drain()
    await app.aio.wait_for(queued, timeout=0)
    await cart.refresh()
    await cart.add_item("bread")
    async with app.aio.transaction() as tx:
        await tx.execute(Close(), to="c1")
    with pytest.raises(CartClosed):
        await app.aio.execute(AddItem("too late"), to="c1")
    with pytest.raises(Conflict):
        await app.aio.append("c3", ItemAdded("x", 1), expected_seq=0)
    await app.aio.groups.stop(Sales, "for a test")
    assert len((await app.aio.scheduled.cancel(later.id)).messages) == 1
    with pytest.raises(NotKnown):
        await app.aio.parked.skip(Cart, "c1", reason="no reason")
    past = await app.aio.load(Cart, "c1", upto=2)
    return (cart.state, past.state, await cart.history(), await app.aio.history("c2", after=1),
            await app.aio.streams(), await app.aio.status(), await app.aio.groups.list())  # fmt: skip


def test_both_sides_do_the_same(app):
    other = shop()
    told, told_async = tell(app), asyncio.run(tell_async(other))
    assert anonymous(told) == anonymous(told_async)
    assert anonymous(app.read_all()) == anonymous(other.read_all())
    assert app.store.table("sales") == other.store.table("sales")


def anonymous(thing):
    """Without the ids, which differ by nature."""
    if isinstance(thing, Message):
        payload = anonymous(thing.payload)
        return (thing.stream, thing.seq, thing.position, payload, thing.metadata, thing.created_at)
    if isinstance(thing, ScheduleCancelled):
        return [(each.type, each.stream, each.due_at) for each in thing.messages]
    return [anonymous(each) for each in thing] if isinstance(thing, list | tuple) else thing


def test_both_sides_work_on_one_store(app):
    async def main():
        await app.aio.execute(AddItem("tea"), to="c1")
        app.execute(AddItem("milk"), to="c1")
        cart = await app.aio.load(Cart, "c1")
        app.load(Cart, "c1").execute(AddItem("honey"))
        await cart.execute(AddItem("bread"))
        return cart

    cart = asyncio.run(main())
    assert list(cart.state.items) == ["tea", "milk", "honey", "bread"]
    assert app.load(Cart, "c1").state == cart.state


def test_status_is_the_whole_app_at_a_glance(app):
    app.execute(AddItem("tea"), to="c1")
    app.dispatch(AddItem("milk"), to="c2")
    app.dispatch(AddItem("late"), to="c2", after=60)
    before = app.status()
    assert (before.streams, before.position, before.scheduled) == (2, 3, 1)
    assert {group.name: group.lag for group in before.groups} == {"shop.carts": 2, "shop.stock": 0, "shop.sales": 1}
    app.drain()
    after = app.status()
    assert (after.streams, after.position) == (4, 8)
    assert {(group.status, group.lag, group.parked) for group in after.groups} == {("active", 0, ())}


def test_the_log_can_be_read_in_every_direction(app):
    messages = app.append("c1", [ItemAdded(str(n), n) for n in range(1, 6)])
    app.append("c2", Close())
    assert app.read_all(types=[ItemAdded]) == app.history("c1") == messages
    assert [m.position for m in app.read_all(after=2, limit=2)] == [3, 4]
    assert [m.position for m in app.read_all(backwards=True, limit=2)] == [6, 5]
    assert app.read_all(limit=0) == app.read_all(types=[]) == app.history("nowhere") == app.append("c1", []) == []
    for refused in (lambda: app.read_all(limit=-1), lambda: app.streams(-1)):
        with pytest.raises(Invalid, match="expected 0 or more"):
            refused()


def test_a_story_can_be_traced_from_any_of_its_messages(app):
    app.append("c9", ItemAdded("other story", 1))
    app.execute(AddItem("tea"), to="c1")
    app.drain()
    story = [m.type for m in app.trace(app.history("stock-tea")[0])]
    assert story == ["shop.add_item", "shop.item_added", "shop.reserve", "shop.reserved"]
    assert app.trace(app.history("c1")[0].id) == app.trace(app.history("stock-tea")[1])
    assert app.trace("no such id") == []
    with pytest.raises(Invalid, match="expected a stored message or its id, found None"):
        app.trace(None)
