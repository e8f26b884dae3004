"""What messages refuse: changes, missing and wrong fields, and envelopes of something else."""

from typing import Any

from sourced import Command, Event, Message, dispatch, parse, upcast
from tests.typing.good.cart import AddItem, Cart, CartState, ItemAdded

added = ItemAdded("p1", 10, 1)
added.price = 20  # E: both
del added.price  # E: pyright

assert added.colour  # E: both
ItemAdded("p1", "ten", 1)  # E: both
ItemAdded("p1", 10)  # E: both
ItemAdded("p1", 10, 1, "red")  # E: both
ItemAdded(product_id="p1", price=10, amount=1)  # E: both
AddItem("p1", price=None)  # E: both


class Late(Event):
    at: int = 0
    by: str  # E: both


class Odd(Event):
    at: int = "noon"  # E: both


# mypy does not compare a class statement with a metaclass.
class Versioned(Command, version="2"): ...  # E: pyright


class Spread(Command, namespace=7): ...  # E: pyright


class Renamed(Command, aliases=7): ...  # E: pyright


class Current(Event, version=2):
    at: int


@upcast(Current, version="1")  # E: both
def v1(data: dict[str, Any]) -> dict[str, Any]:
    return data


@upcast(Current, version=1)  # E: both
def v1_too(data: Current) -> Current:
    return data


parse(AddItem, ["p1"])  # E: both
parse(CartState, {"id": "c1"})  # E: both
wrong: ItemAdded = parse(AddItem, {"product_id": "p1"})  # E: both

message = Message.new(added, stream="c1")
message.seq = 7  # E: both
message.payload = added  # E: both
assert message.payload.colour  # E: both
another: Message[AddItem] = message  # E: both
narrower: Message[ItemAdded] = Message.new(AddItem("p1", 10), stream="c1")  # E: both
Message.new("added", stream="c1")  # E: both
Message.new(added)  # E: both
Message.new(added, stream=7)  # E: both
message.follow(CartState("c1"))  # E: both

dispatch(CartState("c1"))  # E: both
dispatch(AddItem("p1", 10), to=7)  # E: both
dispatch(AddItem("p1", 10), to=CartState)  # E: both
dispatch(AddItem("p1", 10), after="an hour")  # E: both
dispatch(AddItem("p1", 10), at="noon", to=Cart)  # E: both
dispatch(AddItem("p1", 10), later=7)  # E: both
