"""What `@react` refuses: anything but `(self, state, event)`, and anything but commands from it."""

from sourced import Actor, AsyncCommands, Command, Commands, Events, dispatch, react
from tests.typing.good.cart import AddItem, CartState, ItemAdded, SendReceipt


class Takes(Actor[CartState]):
    @react  # E: both
    def no_message(self, cart: CartState, event: int) -> Commands:
        yield SendReceipt("p1")

    @react  # E: both
    def no_state(self, event: ItemAdded) -> Commands:
        yield SendReceipt(event.product_id)


class Yields(Actor[CartState]):
    @react
    def an_event(self, cart: CartState, event: ItemAdded) -> Commands:
        yield event  # E: both

    @react
    async def an_event_in_time(self, cart: CartState, event: ItemAdded) -> AsyncCommands:
        yield event  # E: both

    @react  # E: both
    def events(self, cart: CartState, event: ItemAdded) -> Events[CartState]:
        yield event

    @react
    def the_class(self, cart: CartState, event: ItemAdded) -> Commands:
        yield SendReceipt  # E: both

    @react
    def nothing(self, cart: CartState, event: ItemAdded) -> Commands:
        yield  # E: both

    @react
    def an_event_elsewhere(self, cart: CartState, event: ItemAdded) -> Commands:
        yield dispatch(event, to="c2")  # E: both

    @react
    def nowhere(self, cart: CartState, event: ItemAdded) -> Commands:
        yield dispatch(SendReceipt(event.product_id), to=cart)  # E: both

    @react
    def whenever(self, cart: CartState, event: ItemAdded) -> Commands:
        yield dispatch(SendReceipt(event.product_id), after="lunch")  # E: both

    @react  # E: both
    def one_command(self, cart: CartState, event: ItemAdded) -> SendReceipt:
        return SendReceipt(event.product_id)

    @react  # E: both
    def a_list(self, cart: CartState, event: ItemAdded) -> list[Command]:
        return [SendReceipt(event.product_id)]

    @react  # E: both
    async def a_list_in_time(self, cart: CartState, event: ItemAdded) -> AsyncCommands:
        return [SendReceipt(event.product_id)]  # E: both


class Reads(Actor[CartState]):
    @react
    def what_is_sent_back(self, cart: CartState, event: ItemAdded) -> Commands:
        cart = yield SendReceipt(event.product_id)  # E: both
        yield AddItem(event.product_id, cart.total)

    @react
    def what_is_not_there(self, cart: CartState, event: ItemAdded) -> Commands:
        yield AddItem(event.product_id, cart.sum)  # E: both
