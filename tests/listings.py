"""What the tests of views share: listings of carts, kept beside the log."""

from datetime import datetime
from typing import Any

from sourced import (
    Command,
    Commands,
    Deleted,
    Event,
    EventSourced,
    Message,
    Park,
    Projector,
    Sourced,
    View,
    evolve,
    react,
)
from sourced.testing import VirtualClock


class Added(Event, type="list.added"):
    product: str
    price: int = 1


class Renamed(Event, type="list.renamed"):
    name: str


class Emptied(Event, type="list.emptied"): ...


class Discount(Command, type="list.discount"):
    total: int


class Listing(View):
    name: str = ""
    total: int = 0
    products: list[str] = []
    changed_at: datetime | None = None


class Listings(Projector[Listing], group="listings"):
    """A row for each cart."""

    @evolve
    def added(self, row: Listing, event: Message[Added]) -> None:
        row.total += event.payload.price
        row.products.append(event.payload.product)
        row.changed_at = event.created_at

    @evolve
    def renamed(self, row: Listing, event: Renamed) -> Listing:
        return Listing(event.name, row.total, row.products, row.changed_at)

    @evolve
    def emptied(self, row: Listing, event: Emptied) -> Listing:
        return Deleted

    @react
    def discount(self, row: Listing, event: Added) -> Commands:
        if row.total > 20:
            yield Discount(row.total)


class Histories(EventSourced[Listing], group="histories"):
    """The same rows, made of history."""

    added, renamed, emptied, discount = Listings.added, Listings.renamed, Listings.emptied, Listings.discount


class Tally(View):
    count: int = 0
    total: int = 0


class PerProduct(Projector[Tally], group="per product"):
    """A row for each product, whatever cart it is in; what is free is not counted."""

    def key(self, message: Message[Any]) -> str | None:
        return message.payload.product if message.payload.price else None

    @evolve
    def added(self, row: Tally, event: Added) -> None:
        row.count += 1
        row.total += event.price

    @react
    def discount(self, row: Tally, event: Added) -> Commands:
        yield Discount(row.total)


def listing(*projectors: Any, **options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), "errors": Park(), **options})
    app.register(*projectors or (Listings,))
    return app


def discounts(app: Sourced) -> list[int]:
    return [m.payload.total for m in app.read_all(types=[Discount])]
