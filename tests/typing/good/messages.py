"""Messages: what their classes say, how they are made, read, upgraded and put in envelopes."""

from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias, assert_type

import msgspec

from sourced import Command, Event, Message, Meta, dispatch, parse, upcast
from tests.typing.good.cart import AddItem, Cart, ItemAdded

CorporateEmail: TypeAlias = Annotated[str, Meta(pattern=r"@apple\.com$")]


class CartCommand(Command, namespace="carts"): ...


class Put(CartCommand, aliases=("carts.item_put", "carts.put_item")):
    product_id: str
    quantity: Annotated[int, Meta(gt=0)] = 1
    email: CorporateEmail | None = None
    tags: list[str] = []
    notes: list[str] = msgspec.field(default_factory=list[str])


class Emptied(Event, type="carts.emptied"): ...


class AddressUpdated(Event, version=3):
    street: str
    city: str


class Odd(Event):
    """Any field name is the user's own."""

    id: str
    type: str
    version: int
    payload: dict[str, Any]


class Labelled(Command, kw_only=True, rename="camel"):
    the_label: str


@upcast(AddressUpdated, version=1)
def v1(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "city": ""}


@upcast(AddressUpdated, version=2)
def v2(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "street": data["street"].strip()}


put = Put("p1")
assert_type(put, Put)
assert_type(put.quantity, int)
assert_type(put.email, str | None)
assert_type(put.tags, list[str])
Put("p1", 2, None, ["red"], notes=["fragile"])
Put(product_id="p1", quantity=2, email="tim@apple.com")
Emptied()
Odd(id="1", type="t", version=2, payload={})
Labelled(the_label="x")

match put:
    case Put(product_id, quantity):
        assert_type(product_id, str)
        assert_type(quantity, int)

assert_type(parse(Put, {"product_id": "p1", "quantity": "3"}), Put)

# Envelopes know what they carry, and stand in for wider ones.
message = Message.new(put, stream="cart-1", metadata={"user": 7})
assert_type(message, Message[Put])
assert_type(message.payload, Put)
assert_type(message.metadata, dict[str, Any])
assert_type(message.created_at, datetime)
assert_type(message.follow(Emptied()), Message[Emptied])
assert_type(message.with_metadata({"user": 8}), Message[Put])
assert_type(message.to("cart-2").at(message.created_at + timedelta(days=1)), Message[Put])
assert_type(message.correlate(Message.new(Emptied(), stream="cart-1")), Message[Emptied])
wider: Message[Command] = message
either: Message[Put | Emptied] = message

dispatch(put, to="cart-1")
dispatch(put, to=message)
dispatch(AddItem("p1", 10), to=Cart, after=5)
dispatch(put, after=timedelta(minutes=5), metadata={"user": 7})
dispatch(put, at=message.created_at)


def described(event: ItemAdded | Emptied) -> str:
    match event:
        case ItemAdded(product_id=product_id):
            return product_id
        case Emptied():
            return "nothing"
