"""An app and its awaitable twin: what goes in, and what comes out, typed."""

import asyncio
from datetime import datetime, timedelta
from typing import Any, assert_type

from sourced import AsyncClient, AsyncLoaded, Cascade, Client, Decision, Loaded, Message, Sourced
from sourced.audit import ParkedRetried
from tests.typing.good.cart import AddItem, Cart, CartState, ItemAdded, RemoveItem

with Sourced() as app:
    assert_type(app, Sourced)
    app.register(Cart, AddItem)

    cart = app.load(Cart, "c1")
    assert_type(cart, Loaded[CartState])
    assert_type(cart.state, CartState)
    assert_type(cart.state.total, int)
    assert_type(cart.seq, int)
    assert_type(cart.stream, str)
    assert_type(cart.execute(AddItem("p1", price=10), expected_seq=0, metadata={"user": 7}), Decision)
    assert_type(cart.decide(AddItem("p1", price=10)), Decision)
    assert_type(cart.history(), list[Message[Any]])
    assert_type(cart.refresh(), list[Message[Any]])
    assert_type(app.load(Cart, "c1", upto=1).state, CartState)
    assert_type(app.load(Cart, cart), Loaded[CartState])

    assert_type(app.execute(AddItem("p1", 10), to="c1"), Decision)
    assert_type(app.execute(AddItem("p1", 10), to=cart), Decision)
    assert_type(app.execute(AddItem("p1", 10), to=Cart), Decision)
    assert_type(app.execute(Message.new(AddItem("p1", 10), stream="c1")), Decision)
    decision = app.execute(AddItem("p1", 10), to="c1")
    assert_type(decision.command, Message[Any])
    assert_type(decision.events, list[Message[Any]])
    assert_type([event.type for event in decision.events], list[str])

    cascade = app.unit(Cart, most=10).execute(AddItem("p1", 10), to="c1", expected_seq=None)
    assert_type(cascade, Cascade)
    assert_type(cascade.events, tuple[Message[Any], ...])
    assert_type(cascade.of(Cart), tuple[Message[Any], ...])

    message = app.dispatch(AddItem("p1", 10), to="c1")
    assert_type(message, Message[Any])
    app.dispatch(AddItem("p1", 10), to="c1", after=timedelta(hours=1))
    app.dispatch(AddItem("p1", 10), to="c1", after=60.0, metadata={"user": 7})
    app.dispatch(ItemAdded("p1", 10, 1), to="c1")
    app.append("c1", [ItemAdded("p1", 10, 1), message.follow(RemoveItem("p1"))])
    assert_type(app.drain(), int)
    app.wait_for(message, timeout=timedelta(seconds=1))

    assert_type(app.history("c1", after=1, upto=2), list[Message[Any]])
    assert_type(app.read_all(types=[AddItem, ItemAdded], limit=10, backwards=True), list[Message[Any]])
    assert_type(app.trace(message), list[Message[Any]])
    assert_type([stream.stream for stream in app.streams()], list[str])
    assert_type(app.status().position, int)

    assert_type([(group.name, group.lag) for group in app.groups.list()], list[tuple[str, int]])
    assert_type(app.groups.get(Cart).newest, int)
    app.groups.stop(Cart, reason="maintenance")
    app.groups.start("Cart")
    assert_type(app.groups.reset(Cart, "a new column", by="ada", dry_run=True).messages, int)
    assert_type([row.reason for row in app.parked.list(Cart)], list[str])
    assert_type(app.parked.retry(Cart, "c1", error="Boom", type=AddItem, dry_run=True), ParkedRetried)
    assert_type([waiting.at for waiting in app.scheduled.list()], list[datetime])
    app.scheduled.cancel(message.id)
    app.scheduled.run_now(message, reason="it is urgent")

    with app.transaction() as tx:
        assert_type(tx, Client)
        assert_type(tx.load(Cart, "c1").execute(AddItem("p1", 10)), Decision)


async def main(app: Sourced) -> None:
    aio = app.aio
    assert_type(aio, AsyncClient)

    cart = await aio.load(Cart, "c1")
    assert_type(cart, AsyncLoaded[CartState])
    assert_type(cart.state, CartState)
    assert_type(await cart.execute(AddItem("p1", 10)), Decision)
    assert_type(await cart.history(), list[Message[Any]])
    assert_type((await aio.load(Cart, "c1", upto=1)).state.total, int)

    assert_type(await aio.execute(AddItem("p1", 10), to="c1"), Decision)
    message = await aio.dispatch(AddItem("p1", 10), to="c1", after=timedelta(hours=1))
    assert_type(message, Message[Any])
    assert_type(await aio.drain(), int)
    assert_type(await aio.history(cart), list[Message[Any]])
    assert_type([group.name for group in await aio.groups.list()], list[str])
    assert_type([row.stream for row in await aio.parked.list()], list[str])
    assert_type([waiting.at for waiting in await aio.scheduled.list()], list[datetime])
    both = await asyncio.gather(aio.execute(AddItem("p1", 10), to="c2"), aio.execute(AddItem("p2", 10), to="c3"))
    assert_type(both, tuple[Decision, Decision])

    async with aio.transaction() as tx:
        assert_type(tx, AsyncClient)
        await tx.execute(AddItem("p1", 10), to="c1")


another = Sourced()
another.register(Cart)
asyncio.run(main(another))
