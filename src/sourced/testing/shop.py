"""A small domain to test stores, workers and tools with: carts, and a warehouse that answers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sourced.actions import Batch
from sourced.actor import Actor
from sourced.envelope import Message, dispatch
from sourced.errors import Rejection
from sourced.handlers import Commands, Events, decide, evolve, react, sync
from sourced.messages import Command, Event
from sourced.projector import Projector
from sourced.view import View


class AddItem(Command, type="shop.add_item"):
    product: str
    quantity: int = 1


class Close(Command, type="shop.close"): ...


class ItemAdded(Event, type="shop.item_added"):
    product: str
    quantity: int


class Closed(Event, type="shop.closed"): ...


class Reserve(Command, type="shop.reserve"):
    product: str
    quantity: int


class Reserved(Event, type="shop.reserved"):
    quantity: int


class CartClosed(Rejection):
    """The cart takes no more items."""


@dataclass
class CartState:
    id: str
    open: bool = True
    items: dict[str, int] = field(default_factory=dict)


class Cart(Actor[CartState], group="shop.carts"):
    """Takes items until it is closed, and has each reserved."""

    @decide
    def add(self, cart: CartState, command: AddItem) -> Events[CartState]:
        if not cart.open:
            raise CartClosed(cart.id)
        yield ItemAdded(command.product, command.quantity)

    @decide
    def close(self, cart: CartState, command: Close) -> Events[CartState]:
        if cart.open:
            yield Closed()

    @evolve
    def added(self, cart: CartState, event: ItemAdded) -> None:
        cart.items[event.product] = cart.items.get(event.product, 0) + event.quantity

    @evolve
    def closed(self, cart: CartState, event: Closed) -> None:
        cart.open = False

    @react
    def reserve(self, cart: CartState, event: ItemAdded) -> Commands:
        yield dispatch(Reserve(event.product, event.quantity), to=f"stock-{event.product}")


@dataclass
class StockState:
    id: str
    reserved: int = 0


class Stock(Actor[StockState], group="shop.stock"):
    """Counts what is reserved of one product."""

    @decide
    def reserve(self, stock: StockState, command: Reserve) -> Events[StockState]:
        yield Reserved(command.quantity)

    @evolve
    def reserved(self, stock: StockState, event: Reserved) -> None:
        stock.reserved += event.quantity


class Sales(Projector[dict[str, int]], group="shop.sales"):
    """How many items each cart holds, as rows of the table `sales`."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"items": 0}

    def load(self, key: str, tx: Any) -> dict[str, int] | None:
        row = tx.table("sales").get(key)
        return dict(row) if row else None

    @evolve
    def added(self, row: dict[str, int], event: ItemAdded) -> None:
        row["items"] += event.quantity

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        tx.table("sales")[batch.stream] = dict(row)

    def on_reset(self, tx: Any) -> None:
        tx.table("sales").clear()


class Sold(View):
    quantity: int = 0
    carts: int = 0


class Products(Projector[Sold], group="shop.products"):
    """How much of each product is in how many carts, as rows beside the log."""

    def key(self, message: Message[ItemAdded]) -> str:
        return message.payload.product

    @evolve
    def added(self, row: Sold, event: ItemAdded) -> None:
        row.quantity += event.quantity
        row.carts += 1
