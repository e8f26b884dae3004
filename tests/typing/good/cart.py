"""The shopping cart as a strict user writes it; the other programs here and in `bad` speak its messages."""

from dataclasses import dataclass, field
from typing import assert_type

from sourced import Actor, Command, Commands, Event, Events, Rejection, Sourced, decide, evolve, react


class AddItem(Command):
    product_id: str
    price: int
    quantity: int = 1


class RemoveItem(Command):
    product_id: str


class SendReceipt(Command):
    product_id: str


class ItemAdded(Event):
    product_id: str
    price: int
    quantity: int


class ItemRemoved(Event):
    product_id: str


class DiscountEarned(Event):
    percent: int


class CartClosed(Rejection):
    """The cart takes no more items."""


@dataclass
class CartState:
    id: str
    status: str = "open"
    items: list[ItemAdded] = field(default_factory=list[ItemAdded])

    @property
    def total(self) -> int:
        return sum(item.price * item.quantity for item in self.items)


class Cart(Actor[CartState]):
    @decide
    def add_item(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        if cart.status != "open":
            raise CartClosed(cart.id)
        cart = yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)
        assert_type(cart, CartState)
        if cart.total > 1_000:
            sent_back = yield DiscountEarned(percent=10)
            assert_type(sent_back, CartState)

    @decide
    def remove_item(self, cart: CartState, cmd: RemoveItem) -> Events[CartState]:
        yield ItemRemoved(cmd.product_id)

    @decide
    def receipt(self, cart: CartState, cmd: SendReceipt) -> None: ...

    @evolve
    def item_added(self, cart: CartState, event: ItemAdded) -> None:
        cart.items.append(event)

    @evolve
    def item_removed(self, cart: CartState, event: ItemRemoved) -> CartState:
        return CartState(cart.id, items=[item for item in cart.items if item.product_id != event.product_id])

    @react
    def send_receipt(self, cart: CartState, event: ItemAdded) -> Commands:
        yield SendReceipt(event.product_id)


app = Sourced()
app.register(Cart)
