"""What `@decide` refuses: anything but `(self, state, command)`, and anything but events from it."""

from sourced import Actor, AsyncCommands, Event, Events, Message, decide, dispatch
from tests.typing.good.cart import AddItem, CartState, ItemAdded, RemoveItem


class Takes(Actor[CartState]):
    """Wrong parameters."""

    @decide  # E: both
    def an_event(self, cart: CartState, event: ItemAdded) -> Events[CartState]:
        yield event

    @decide  # E: both
    def an_event_in_its_envelope(self, cart: CartState, event: Message[ItemAdded]) -> Events[CartState]:
        yield event.payload

    # pyright is content when it finds one member that fits.
    @decide  # E: mypy
    def a_command_or_an_event(self, cart: CartState, cmd: AddItem | ItemAdded) -> Events[CartState]:
        yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)

    @decide  # E: both
    def no_message(self, cart: CartState, cmd: int) -> Events[CartState]:
        yield ItemAdded("p1", cmd, 1)

    @decide  # E: both
    def no_state(self, cmd: AddItem) -> Events[CartState]:
        yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)

    @decide  # E: both
    def the_time(self, cart: CartState, cmd: AddItem, now: float) -> Events[CartState]:
        yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)


class Yields(Actor[CartState]):
    """Anything but events."""

    @decide
    def a_command(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        yield RemoveItem(cmd.product_id)  # E: both

    @decide
    def directions(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        yield dispatch(cmd, to="c2")  # E: both

    @decide
    def the_class(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        yield ItemAdded  # E: both

    @decide
    def nothing(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        yield  # E: both

    @decide
    def returned_from_no_generator(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        return ItemAdded(cmd.product_id, cmd.price, cmd.quantity)  # E: both

    @decide
    def returned_from_a_generator(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        cart = yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)
        return cart  # E: both

    @decide  # E: both
    def one_event(self, cart: CartState, cmd: AddItem) -> ItemAdded:
        return ItemAdded(cmd.product_id, cmd.price, cmd.quantity)

    @decide  # E: both
    def a_list(self, cart: CartState, cmd: AddItem) -> list[Event]:
        return [ItemAdded(cmd.product_id, cmd.price, cmd.quantity)]

    @decide  # E: both
    async def in_time(self, cart: CartState, cmd: AddItem) -> None: ...

    @decide  # E: both
    async def commands_in_time(self, cart: CartState, cmd: AddItem) -> AsyncCommands:
        yield RemoveItem(cmd.product_id)


class Reads(Actor[CartState]):
    """What is not there."""

    @decide
    def of_the_state(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        yield ItemAdded(cart.colour, cmd.price, cmd.quantity)  # E: both

    @decide
    def of_the_state_sent_back(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        after = yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)
        yield ItemAdded(after.colour, cmd.price, cmd.quantity)  # E: both

    @decide
    def the_state_as_something_else(self, cart: CartState, cmd: AddItem) -> Events[CartState]:
        total: int = yield ItemAdded(cmd.product_id, cmd.price, cmd.quantity)  # E: both
        yield ItemAdded(cmd.product_id, total, cmd.quantity)

    @decide
    def of_one_member(self, cart: CartState, cmd: AddItem | RemoveItem) -> Events[CartState]:
        yield ItemAdded(cmd.product_id, cmd.price, 1)  # E: both

    @decide
    def of_the_payload(self, cart: CartState, cmd: Message[AddItem]) -> Events[CartState]:
        yield ItemAdded(cmd.product_id, 10, 1)  # E: both
