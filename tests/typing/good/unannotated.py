# pyright: standard
# mypy: allow-untyped-defs, allow-incomplete-defs
"""The north star's cart: handlers say what they take, never what they return. mypy's strict mode minds nothing else."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_type

from sourced import Actor, Batch, Projector, Rejection, Sourced, after_commit, decide, dispatch, evolve, react, sync
from tests.typing.good.cart import AddItem, Cart, DiscountEarned, ItemAdded, ItemRemoved, RemoveItem, SendReceipt


class BasketClosed(Rejection):
    """The basket takes no more items."""


@dataclass
class BasketState:
    id: str
    status: str = "open"
    items: list[ItemAdded] = field(default_factory=list)

    @property
    def total(self):
        return sum(item.price * item.quantity for item in self.items)


class Basket(Actor[BasketState]):
    @decide
    def add_item(self, basket: BasketState, cmd: AddItem):
        if basket.status != "open":
            raise BasketClosed(basket.id)
        basket = yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)
        if basket.total > 1_000:
            yield DiscountEarned(10)

    @decide
    def remove_item(self, basket: BasketState, cmd: RemoveItem):
        yield ItemRemoved(cmd.product_id)

    @decide
    def receipt(self, basket: BasketState, cmd: SendReceipt): ...

    @evolve
    def item_added(self, basket: BasketState, event: ItemAdded):
        basket.items.append(event)

    @evolve
    def item_removed(self, basket: BasketState, event: ItemRemoved):
        return BasketState(basket.id)

    @react
    def send_receipt(self, basket: BasketState, event: ItemAdded):
        yield SendReceipt(event.product_id)
        yield dispatch(AddItem("p2", 0), to=Cart, after=timedelta(minutes=5))

    @react
    async def celebrate(self, basket: BasketState, event: DiscountEarned):
        yield SendReceipt("p1")

    @after_commit
    def tell(self, basket: BasketState, batch: Batch): ...


class Totals(Projector[dict[str, int]]):
    def initial(self, stream):
        return {"total": 0}

    @evolve
    def added(self, row: dict[str, int], event: ItemAdded):
        row["total"] += event.price

    @react
    def reward(self, row: dict[str, int], event: ItemAdded):
        if row["total"] > 1_000:
            yield SendReceipt(event.product_id)

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx): ...


app = Sourced()
app.register(Basket, Totals)
basket = app.load(Basket, "b1")
basket.execute(AddItem("p1", price=1000, quantity=2))
assert_type(basket.state, BasketState)
app.drain()
