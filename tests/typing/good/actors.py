"""Every shape a handler may have: envelopes, unions, families, delegation, async, and states of any type."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from sourced import (
    Actor,
    Aggregate,
    AsyncCommands,
    Batch,
    Command,
    Commands,
    Event,
    Events,
    Message,
    Sourced,
    after_commit,
    decide,
    dispatch,
    evolve,
    react,
    sync,
)
from sourced.envelope import Outgoing
from tests.typing.good.cart import AddItem, Cart, ItemAdded, ItemRemoved, RemoveItem, SendReceipt


class OrderEvent(Event, namespace="orders"): ...


class Placed(OrderEvent):
    order: str


class Shipped(OrderEvent):
    order: str


class Place(Command):
    order: str


class Pack(Command):
    order: str


class Ship(Command):
    order: str


@dataclass
class OrderState:
    id: str
    shipped: bool = False


class Order(Actor[OrderState], group="orders"):
    start_from = "now"
    batch_size = 10

    @decide
    def either(self, order: OrderState, cmd: AddItem | RemoveItem) -> Events[OrderState]:
        assert_type(cmd.product_id, str)
        if isinstance(cmd, AddItem):
            assert_type(cmd.price, int)
            yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)
        else:
            yield ItemRemoved(cmd.product_id)

    @decide
    def enveloped(self, order: OrderState, cmd: Message[Place | Pack]) -> Events[OrderState]:
        assert_type(cmd.payload, Place | Pack)
        assert_type(cmd.metadata, dict[str, Any])
        order = yield Placed(cmd.payload.order)
        assert_type(order, OrderState)

    @decide
    def by_another(self, order: OrderState, cmd: Ship) -> Events[OrderState]:
        yield from self.either(order, AddItem(cmd.order, 10))
        yield Shipped(cmd.order)

    @decide
    def receipt(self, order: OrderState, cmd: SendReceipt) -> None: ...

    @evolve
    def placed(self, order: OrderState, event: Message[Placed]) -> None:
        assert_type(event.payload, Placed)

    @evolve
    def shipped(self, order: OrderState, event: Shipped | ItemRemoved) -> OrderState | None:
        return OrderState(order.id, shipped=True) if isinstance(event, Shipped) else None

    @react
    def next_step(self, order: OrderState, event: Placed) -> Commands:
        yield Ship(event.order)
        yield dispatch(Ship(event.order), to="order-9")
        yield dispatch(AddItem("p1", 10), to=Cart, after=timedelta(minutes=5), metadata={"why": "gift"})

    @react
    async def over_the_network(self, order: OrderState, event: ItemAdded | ItemRemoved) -> AsyncCommands:
        yield SendReceipt(event.product_id)
        yield dispatch(SendReceipt(event.product_id), to="order-9")

    @react
    async def waits_and_is_silent(self, order: OrderState, event: Shipped) -> None: ...

    @react
    def any_other(self, order: OrderState, event: OrderEvent) -> Commands:
        yield SendReceipt("p1")

    @sync
    def save(self, order: OrderState, batch: Batch, tx: Any) -> None:
        assert_type(batch.events, list[Message[Any]])

    @after_commit
    def tell(self, order: OrderState, batch: Batch) -> None: ...


class Archive(Order, group="archive"):
    @react
    def next_step(self, order: OrderState, event: Placed) -> Commands:
        yield SendReceipt(event.order)


class Count(Actor[int]):
    """A state that cannot change in place: `@evolve` returns the next one."""

    def initial(self, stream: str) -> int:
        return 0

    @decide
    def add(self, count: int, cmd: AddItem) -> Events[int]:
        while count < cmd.quantity:
            count = yield ItemAdded(cmd.product_id, cmd.price, 1)
            assert_type(count, int)

    @evolve
    def added(self, count: int, event: ItemAdded) -> int:
        return count + event.quantity


class Tally(Actor[dict[str, int]]):
    def initial(self, stream: str) -> dict[str, int]:
        return {"items": 0}

    def before_evolve(self, state: dict[str, int], message: Message[Any]) -> None:
        state["seen"] = message.seq

    @decide
    def add(self, state: dict[str, int], cmd: AddItem) -> Events[dict[str, int]]:
        yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)

    @evolve
    def added(self, state: dict[str, int], event: ItemAdded) -> None:
        state["items"] += event.quantity


assert_type(list(Order().either(OrderState("o1"), AddItem("p1", 10))), list[Event])
assert_type(list(Order().next_step(OrderState("o1"), Placed("o1"))), list[Command | Outgoing[Command]])
assert_type(Order.blank("o1"), Aggregate[OrderState])
assert_type(Order.blank("o1").decide(Place("o1")).events, list[Message[Any]])
assert_type(Count.blank("c1").state, int)

for actor in (Order, Archive, Count, Tally):
    app = Sourced()
    app.register(actor)
    app.execute(AddItem("p1", 10), to="one")
