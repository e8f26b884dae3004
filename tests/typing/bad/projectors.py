"""What projectors and reactors refuse: rows of another type, handlers of another shape."""

from typing import Any

from sourced import (
    Batch,
    Commands,
    Delivery,
    Event,
    Message,
    Projector,
    Reactor,
    Retry,
    Send,
    Sourced,
    after_commit,
    evolve,
    react,
    sync,
)
from sourced.actions import Actions
from tests.typing.good.cart import AddItem, CartState, ItemAdded


class Rows(Projector[CartState]):
    errors = 7  # E: both
    start_from = 7  # E: both

    def load(self, key: str, tx: Any) -> int:  # E: both
        return 7

    @evolve  # E: both
    def added(self, row: CartState, event: ItemAdded) -> int:
        return event.price

    @react
    def reward(self, row: CartState, event: ItemAdded) -> Commands:
        yield event  # E: both


class Shapes(Projector[CartState]):
    start_from = "nwo"  # E: both

    @sync  # E: both
    def without_the_transaction(self, row: CartState, batch: Batch) -> None: ...

    @sync  # E: both
    def one_event(self, row: CartState, event: ItemAdded, tx: Any) -> None: ...

    @after_commit  # E: both
    def with_the_transaction(self, row: CartState, batch: Batch, tx: Any) -> None: ...


class Keys(Projector[CartState]):
    errors = Retry  # E: both

    def load(self, key: int, tx: Any) -> CartState | None:  # E: both
        return None


class Keyless(Projector[CartState]):
    def key(self, message: Message[Any]) -> int:  # E: both
        return 7


Sourced().views(Rows)  # E: both


class Receipts(Reactor):
    handles = (CartState,)  # E: both

    def handle(self, delivery: Delivery) -> Actions:
        if delivery.message.seq == 1:
            return [AddItem("p1", 10)]  # E: both
        return [Send(delivery.message)]  # E: both


class Alone(Reactor):
    handles = ItemAdded  # E: both

    def handle(self, message: Event) -> Actions:  # E: both
        return None
