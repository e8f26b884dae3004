"""Functions and classes of handlers keep their types."""

import logging
from typing import Any, assert_type

from sourced import Command, Handlers, History, Message, Retry, Sourced, dispatch, on
from sourced.envelope import Outgoing
from tests.typing.good.cart import ItemAdded, ItemRemoved, SendReceipt

app = Sourced()


@app.on(ItemAdded, ItemRemoved)
def telemetry(event: Message[ItemAdded | ItemRemoved], history: History, log: logging.Logger) -> None:
    assert_type(event.payload.product_id, str)
    for each in history:
        assert_type(each, Message[Any])
    assert_type(history[:2][0] if history else None, Message[Any] | None)


@app.on(ItemAdded, group="receipts", errors=Retry(times=1), start_from="now")
async def receipt(event: ItemAdded, replaying: bool) -> Command | Outgoing[Command] | None:
    return None if replaying else dispatch(SendReceipt(event.product_id), to="receipts")


class Desk(Handlers, group="desk"):
    errors = Retry(times=2)

    @on
    def added(self, event: ItemAdded) -> list[Command]:
        return [SendReceipt(event.product_id)]


assert_type(telemetry(Message.new(ItemAdded("p1", 1, 1), stream="c1"), History([]), logging.getLogger()), None)
assert_type(Desk().added(ItemAdded("p1", 1, 1)), list[Command])
app.register(Desk, telemetry)
app.groups.reset(telemetry)
