# mypy: allow-untyped-defs, allow-incomplete-defs
"""Handlers that do not say what they return: pyright works it out, mypy takes anything, as it always does."""

from sourced import Actor, decide, dispatch, evolve, react
from tests.typing.good.cart import AddItem, CartState, ItemAdded, RemoveItem, SendReceipt


class Basket(Actor[CartState]):
    @decide  # E: pyright
    def a_command(self, cart: CartState, cmd: AddItem):
        yield RemoveItem(cmd.product_id)

    @decide  # E: pyright
    def a_list(self, cart: CartState, cmd: AddItem):
        return [ItemAdded(cmd.product_id, cmd.price, cmd.quantity)]

    @decide  # E: both
    def an_event_as_command(self, cart: CartState, event: ItemAdded):
        yield event

    @decide
    def what_is_not_there(self, cart: CartState, cmd: AddItem):
        yield ItemAdded(cmd.product_id, cmd.colour, cmd.quantity)  # E: both

    @evolve  # E: pyright
    def something_else(self, cart: CartState, event: ItemAdded):
        return event.price

    @react  # E: pyright
    def an_event(self, cart: CartState, event: ItemAdded):
        yield event

    @react
    def nowhere(self, cart: CartState, event: ItemAdded):
        yield dispatch(SendReceipt(event.product_id), to=cart)  # E: both
