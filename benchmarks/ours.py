"""The work of every row as a program on Sourced does it, with nothing tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Trial
from sourced import Actor, Command, Event, Projector, Sourced, decide, dispatch, evolve, react, sync
from sourced.stores.memory import MemoryStore


class AddItem(Command):
    product_id: str
    price: int
    quantity: int


class ItemAdded(Event):
    product_id: str
    price: int
    quantity: int


@dataclass
class CartState:
    id: str
    items: int = 0
    total: int = 0


class Cart(Actor[CartState]):
    @decide
    def add_item(self, cart: CartState, cmd: AddItem):
        yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)

    @evolve
    def item_added(self, cart: CartState, event: ItemAdded):
        cart.items += 1
        cart.total += event.price * event.quantity


# -- commands ----------------------------------------------------------------------------------------------------------


def loading(commands: int, streams: int) -> Trial:
    """Every command on a cart that was read from the log for it."""
    app, names = _carts(streams)

    def work() -> None:
        for number in range(commands):
            cart = app.load(Cart, names[number % streams])
            cart.execute(AddItem("p1", 1000, 2))

    return Trial(work, lambda: _items(app, names))


def routed(commands: int, streams: int) -> Trial:
    """Every command sent to its stream's name; the app remembers the carts it has seen."""
    app, names = _carts(streams)

    def work() -> None:
        for number in range(commands):
            app.execute(AddItem("p1", 1000, 2), to=names[number % streams])

    return Trial(work, lambda: _items(app, names))


def at_hand(commands: int, streams: int) -> Trial:
    """Every command on a cart that the program holds."""
    app, names = _carts(streams)
    carts = [app.load(Cart, name) for name in names]

    def work() -> None:
        for number in range(commands):
            carts[number % streams].execute(AddItem("p1", 1000, 2))

    return Trial(work, lambda: _items(app, names))


def _carts(streams: int) -> tuple[Sourced, list[str]]:
    app = Sourced()
    app.register(Cart)
    return app, [f"cart-{number}" for number in range(streams)]


def _items(app: Sourced, names: list[str]) -> int:
    return sum(app.load(Cart, name).state.items for name in names)


# -- replay ------------------------------------------------------------------------------------------------------------


def replay(events: int, loads: int) -> Trial:
    """One long cart read from the log; its commands lie between its events, as they would."""
    app, names = _carts(1)
    for number in range(events):
        app.execute(AddItem(f"p{number}", 1000, 2), to=names[0])
    found: list[int] = []

    def work() -> None:
        found.extend(app.load(Cart, names[0]).state.items for _ in range(loads))

    return Trial(work, lambda: sum(found))


# -- a projection that catches up --------------------------------------------------------------------------------------


class Tallies(Projector[int]):
    """How many items each cart has got; the row is stored with the checkpoint, so each is counted once."""

    def initial(self, stream: str) -> int:
        return 0

    def load(self, key: str, tx: Any) -> int | None:
        return tx.table("tallies").get(key)

    @evolve
    def counted(self, row: int, event: ItemAdded) -> int:
        return row + 1

    @sync
    def save(self, row: int, batch: Any, tx: Any) -> None:
        tx.table("tallies")[batch.stream] = row


def projection(events: int, streams: int) -> Trial:
    store = MemoryStore()
    app = Sourced(store)
    app.register(Tallies)
    for number in range(streams):
        few = events // streams + (number < events % streams)
        app.append(f"cart-{number}", [ItemAdded("p1", 1000, 2) for _ in range(few)])
    return Trial(app.drain, lambda: sum(store.table("tallies").values()))


# -- flows -------------------------------------------------------------------------------------------------------------


class PlaceOrder(Command):
    product_id: str
    quantity: int


class OrderPlaced(Event):
    product_id: str
    quantity: int


class Reserve(Command):
    order: str
    product_id: str
    quantity: int


class Reserved(Event):
    order: str
    product_id: str
    quantity: int


@dataclass
class OrderState:
    id: str
    quantity: int = 0


class Order(Actor[OrderState]):
    @decide
    def place(self, order: OrderState, cmd: PlaceOrder):
        yield OrderPlaced(cmd.product_id, cmd.quantity)

    @evolve
    def placed(self, order: OrderState, event: OrderPlaced):
        order.quantity = event.quantity

    @react
    def reserve(self, order: OrderState, event: OrderPlaced):
        yield dispatch(Reserve(order.id, event.product_id, event.quantity), to=f"reservation-of-{order.id}")


@dataclass
class ReservationState:
    id: str
    quantity: int = 0


class Reservation(Actor[ReservationState]):
    @decide
    def reserve(self, reservation: ReservationState, cmd: Reserve):
        yield Reserved(cmd.order, cmd.product_id, cmd.quantity)

    @evolve
    def reserved(self, reservation: ReservationState, event: Reserved):
        reservation.quantity = event.quantity


def flows(count: int) -> Trial:
    """Every first command stored for the workers, then the workers' rounds until nothing is left."""
    app = _orders()

    def work() -> None:
        for number in range(count):
            app.dispatch(PlaceOrder("p1", 2), to=f"order-{number}")
        app.drain()

    return Trial(work, lambda: len(app.read_all(types=[Reserved])))


def flows_decided_first(count: int) -> Trial:
    """Every first command decided for its caller, then the workers' rounds until nothing is left."""
    app = _orders()

    def work() -> None:
        for number in range(count):
            app.execute(PlaceOrder("p1", 2), to=f"order-{number}")
        app.drain()

    return Trial(work, lambda: len(app.read_all(types=[Reserved])))


def _orders() -> Sourced:
    app = Sourced()
    app.register(Order, Reservation)
    return app
