"""A shop for the dashboard to look at; its store is what SHOP names, and its shelf breaks while a file is there."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from sourced import (
    Actor,
    Command,
    Event,
    Meta,
    Park,
    Rejection,
    Retry,
    Sourced,
    Workflow,
    decide,
    dispatch,
    evolve,
    react,
    step,
)


class Order(Command):
    item: str
    quantity: Annotated[int, Meta(ge=1)] = 1
    card: str = "4242"


class Ordered(Event):
    item: str
    quantity: int
    card: str


class Ship(Command):
    item: str


class Shipped(Event):
    item: str


class SoldOut(Rejection):
    """There is none left."""


@dataclass
class CartState:
    id: str
    items: dict[str, int] = field(default_factory=dict)


class Cart(Actor[CartState]):
    snapshot_every = 4

    @decide
    def order(self, cart: CartState, command: Order):
        if command.item == "unicorn":
            raise SoldOut(command.item)
        yield Ordered(command.item, command.quantity, command.card)

    @evolve
    def ordered(self, cart: CartState, event: Ordered):
        cart.items[event.item] = cart.items.get(event.item, 0) + event.quantity

    @react
    def ship(self, cart: CartState, event: Ordered):
        yield dispatch(Ship(event.item), to=f"shelf-{event.item}")


class Shelf(Actor[list[str]]):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def ship(self, shipped: list[str], command: Ship):
        if Path(os.environ["SHOP_BROKEN"]).exists():
            raise ValueError("the shelf is broken")
        yield Shipped(command.item)

    @evolve
    def shipped(self, shipped: list[str], event: Shipped):
        shipped.append(event.item)


class Approved(Event):
    by: str


class Refund(Workflow):
    async def run(self, cents: int) -> str:
        await self.check(cents)
        approval = await self.wait_for(Approved)
        await self.pay(cents)
        return f"{cents} for {approval.by}"

    @step
    def check(self, cents: int) -> bool:
        return cents > 0

    @step
    def pay(self, cents: int) -> None:
        """Money moves."""


def made(url: str) -> Sourced:
    app = Sourced(url, errors=Retry(times=0, then=Park()))
    app.register(Cart, Shelf, Refund)
    return app


if "SHOP" in os.environ:
    app = made(os.environ["SHOP"])
