"""Commands from a web request, with hooks for what must be checked or added on the way."""

from typing import Any, assert_type

from sourced import Command, CommandContext, Message
from sourced.context import on
from tests.typing.good.cart import AddItem, RemoveItem, app


class Web(CommandContext):
    scope = (AddItem, RemoveItem)

    @on
    def items(self, message: Message[AddItem | RemoveItem]) -> Message[AddItem | RemoveItem]:
        assert_type(message.payload.product_id, str)
        return message.with_payload(product_id=message.payload.product_id.lower())

    @on
    def all_of_them(self, message: Message[Command]) -> Message[Command]:
        return message.with_metadata({"seen": True})


context = Web(app, stream="c1", metadata={"user": 7}, scope=AddItem)
message = context.build({"type": "add_item", "payload": {"product_id": "P1", "price": "10"}})
assert_type(message, Message[Any])
removal = Web(app).build({"stream": "c1", "payload": {"product_id": "P1"}}, RemoveItem)
assert_type(removal, Message[RemoveItem])
app.execute(message)
