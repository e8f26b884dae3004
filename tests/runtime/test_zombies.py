"""Rounds that wake up too late, and rounds that meet themselves: nothing is decided twice or waits in vain."""

import asyncio
from typing import Any

from sourced import Commands, Park, Sourced, dispatch, react, sync
from sourced.actions import Batch
from sourced.runtime.programs import perform
from sourced.runtime.rounds.round import Round
from sourced.runtime.transacting import transacting
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, ItemAdded, Reserve, Reserved, Stock, StockState
from tests.every_store import Maker
from tests.rows import table
from tests.runtime.listener import Noted, listening


def test_a_paused_round_does_not_bring_back_what_another_has_settled(store: Store):
    """E102. It was about to write down whom it suspects; by the time it wakes up, that is history."""
    clock = VirtualClock()
    app = Sourced(store, clock=clock)
    app.register(Cart)
    app.dispatch(AddItem("tea"), to="c1")
    engine, transact = app._engine, transacting(app.store)
    cart = engine.router.group(Cart)
    dead: Any = Round(engine, cart, "dead").program()
    transact(next(dead))  # claimed, and gone: from here on the shard is handled with care
    clock.advance(31)
    paused: Any = Round(engine, cart, "paused").program()
    claim = transact(next(paused))
    clock.advance(31)
    app.drain()

    def waking_up() -> Any:
        try:
            step = paused.send(claim)
            while True:
                try:
                    answer = yield step
                except Exception as error:
                    step = paused.throw(error)
                else:
                    step = paused.send(answer)
        except StopIteration as end:
            return end.value

    assert perform(waking_up(), transact) == 0
    assert app.groups.get(Cart).stragglers == ()
    clock.advance(31)
    app.drain()
    assert [message.type for message in app.history("c1")] == ["shop.add_item", "shop.item_added"]


def test_what_a_round_sends_is_in_nobody_s_way_who_decides_in_it(store: Store):
    """E99. A stream that others send to in every round is decided in it all the same, sync blocks or not."""

    class Hub(Stock, group="hub"):
        @react
        def forward(self, stock: StockState, event: ItemAdded) -> Commands:
            yield dispatch(Reserve(event.product, 1), to="hub")

        @sync
        def seen(self, stock: StockState, batch: Batch, tx: Any) -> None:
            table(tx, "seen")[batch.stream] = stock.reserved

    app = Sourced(store, errors=Park())
    app.register(Hub)
    app.dispatch(Reserve("tea", 1), to="hub")
    for number in range(12):
        app.append(f"c{number}", ItemAdded("tea", 1))
        app.drain(limit=1)
    app.drain()
    assert app.parked.list() == []
    assert [m.payload for m in app.history("hub") if m.type == "shop.reserved"] == [Reserved(1)] * 13


def test_a_handler_that_awaits_something_cancelled_has_failed(new_store: Maker):
    """E97. It is neither handled for ever nor taken for the end of the program."""
    calls: list[int] = []

    async def awaiting_the_cancelled(delivery: Any) -> Any:
        calls.append(delivery.message.seq)
        raise asyncio.CancelledError

    for awaited in (True, False):
        calls.clear()
        app, _ = listening(awaiting_the_cancelled, errors=Park(), store=new_store())
        app.append("s", Noted())
        asyncio.run(app.aio.drain()) if awaited else app.drain()
        assert calls == [1]
        assert "was cancelled" in app.parked.list()[0].error
