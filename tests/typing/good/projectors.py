"""Projectors with rows of their own or a state rebuilt from history, and a reactor from first principles."""

from dataclasses import dataclass
from typing import Any, assert_type

from sourced import (
    Ack,
    Batch,
    Commands,
    Deleted,
    Delivery,
    EventSourced,
    Message,
    Park,
    Projector,
    Reactor,
    Retry,
    Send,
    Sourced,
    View,
    after_commit,
    evolve,
    react,
    sync,
)
from sourced.actions import Actions
from tests.typing.good.cart import Cart, ItemAdded, ItemRemoved, SendReceipt


@dataclass
class Listing:
    id: str
    total: int = 0


class Listings(Projector[Listing], group="listings"):
    errors = Retry(times=1, then=Park("ask somebody"))

    def load(self, key: str, tx: Any) -> Listing | None:
        return None

    @evolve
    def added(self, row: Listing, event: ItemAdded) -> None:
        row.total += event.price * event.quantity

    @evolve
    def removed(self, row: Listing, event: Message[ItemRemoved]) -> Listing:
        return Listing(row.id)

    @react
    def reward(self, row: Listing, event: ItemAdded) -> Commands:
        if row.total > 1_000:
            yield SendReceipt(event.product_id)

    @sync
    def save(self, row: Listing, batch: Batch, tx: Any) -> None:
        assert_type(batch.replaying, bool)

    @after_commit
    def tell(self, row: Listing, batch: Batch) -> None: ...

    def on_reset(self, tx: Any) -> None: ...


class Items(EventSourced[set[str]]):
    def initial(self, stream: str) -> set[str]:
        return set()

    @evolve
    def added(self, items: set[str], event: ItemAdded) -> set[str]:
        return items | {event.product_id}

    @sync
    async def save(self, items: set[str], batch: Batch, tx: Any) -> None: ...


class Basket(View):
    total: int = 0


class Baskets(Projector[Basket]):
    def key(self, message: Message[Any]) -> str | None:
        return message.stream if message.seq else None

    @evolve
    def added(self, row: Basket, event: ItemAdded) -> None:
        row.total += event.price

    @evolve
    def removed(self, row: Basket, event: ItemRemoved) -> Basket:
        return Deleted if row.total == 0 else Basket(0)


class Receipts(Reactor):
    handles = (ItemAdded, ItemRemoved)

    def handle(self, delivery: Delivery) -> Actions:
        assert_type(delivery.message, Message[Any])
        if delivery.replaying:
            return None
        return [Send((delivery.message.follow(SendReceipt("p1")),)), Ack(delivery.message)]


class Slow(Reactor):
    handles = (ItemAdded,)

    async def handle(self, delivery: Delivery) -> list[Send]:
        return []


app = Sourced()
app.register(Cart, Listings, Items, Baskets, Receipts, Slow())
app.groups.reset(Listings)
assert_type(app.views(Baskets).get("b1"), Basket | None)
assert_type(app.views(Baskets).find(total=1), dict[str, Basket])
assert_type(app.views(Baskets).count(), int)


async def awaited() -> None:
    assert_type(await app.aio.views(Baskets).get("b1"), Basket | None)
    assert_type(await app.aio.views(Baskets).all(limit=3), dict[str, Basket])
