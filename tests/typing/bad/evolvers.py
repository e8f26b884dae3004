"""What `@evolve` refuses: anything but `(self, state, event)`, and anything but the next state or None from it."""

from sourced import Actor, Events, evolve
from tests.typing.good.cart import CartState, ItemAdded


class Takes(Actor[CartState]):
    @evolve  # E: both
    def no_message(self, cart: CartState, event: int) -> None: ...

    @evolve  # E: both
    def no_state(self, event: ItemAdded) -> None: ...

    @evolve  # E: both
    def the_time(self, cart: CartState, event: ItemAdded, now: float) -> None: ...


class Returns(Actor[CartState]):
    @evolve  # E: both
    def something_else(self, cart: CartState, event: ItemAdded) -> int:
        return event.price

    @evolve  # E: both
    def a_part(self, cart: CartState, event: ItemAdded) -> list[ItemAdded]:
        return [*cart.items, event]

    @evolve  # E: both
    def whether(self, cart: CartState, event: ItemAdded) -> bool:
        return bool(cart.items)

    @evolve
    def what_it_did_not_say(self, cart: CartState, event: ItemAdded) -> CartState:
        return cart.items  # E: both

    @evolve  # E: both
    def a_generator(self, cart: CartState, event: ItemAdded) -> Events[CartState]:
        yield event

    @evolve  # E: both
    async def later(self, cart: CartState, event: ItemAdded) -> None: ...


class Changes(Actor[CartState]):
    @evolve
    def what_happened(self, cart: CartState, event: ItemAdded) -> None:
        event.price = 0  # E: both

    @evolve
    def what_is_not_there(self, cart: CartState, event: ItemAdded) -> None:
        cart.total = event.price  # E: both
        cart.item.append(event)  # E: both


class Starts(Actor[CartState]):
    def initial(self, stream: int) -> CartState:  # E: both
        return CartState(str(stream))
