"""A small shop, as a tour: `make tour`, or `python examples/cart.py`. It needs Sourced and nothing else.

First comes the shop, which is all of the program. What follows it shows the shop at work.
"""

import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sourced import Actor, Command, Event, Message, Rejection, Sourced, decide, dispatch, evolve, react
from sourced.testing import VirtualClock

# -- the shop ----------------------------------------------------------------------------------------------------------


class AddItem(Command):
    product: str
    price: int  # in cents
    quantity: int = 1


class ItemAdded(Event):
    product: str
    price: int
    quantity: int


class CheckOut(Command): ...


class CheckedOut(Event):
    total: int


class SendReceipt(Command):
    total: int


class ReceiptSent(Event):
    total: int


class Pack(Command):
    pieces: int


class Packed(Event):
    grams: int


class PrintLabel(Command): ...


class LabelPrinted(Event): ...


class CartClosed(Rejection):
    """The cart takes no more items."""


@dataclass
class CartState:
    id: str
    status: str = "open"
    items: list[ItemAdded] = field(default_factory=list)

    @property
    def pieces(self) -> int:
        return sum(item.quantity for item in self.items)

    @property
    def total(self) -> int:
        return sum(item.price * item.quantity for item in self.items)


class Cart(Actor[CartState]):
    """Takes items until it is checked out, then sends a receipt, and for a parcel."""

    @decide
    def add_item(self, cart: CartState, command: AddItem):
        if cart.status != "open":
            raise CartClosed(cart.id)
        yield ItemAdded(command.product, command.price, command.quantity)

    @decide
    def check_out(self, cart: CartState, command: CheckOut):
        if cart.status == "open":
            yield CheckedOut(cart.total)

    @evolve
    def item_added(self, cart: CartState, event: ItemAdded):
        cart.items.append(event)

    @evolve
    def checked_out(self, cart: CartState, event: CheckedOut):
        cart.status = "closed"

    @decide
    def send_receipt(self, cart: CartState, command: SendReceipt):
        yield ReceiptSent(command.total)

    @react
    def close(self, cart: CartState, event: CheckedOut):
        yield SendReceipt(event.total)
        yield dispatch(Pack(cart.pieces), to=cart.id.replace("cart", "parcel"))


@dataclass
class ParcelState:
    id: str
    grams: int = 0
    label: bool = False


class Parcel(Actor[ParcelState]):
    """Is packed, then gets a label."""

    jammed = False  # the label printer

    @decide
    def pack(self, parcel: ParcelState, command: Pack):
        yield Packed(grams=350 * command.pieces)

    @decide
    def print_label(self, parcel: ParcelState, command: PrintLabel):
        if self.jammed:
            raise OSError("the label printer is jammed")
        yield LabelPrinted()

    @evolve
    def packed(self, parcel: ParcelState, event: Packed):
        parcel.grams = event.grams

    @evolve
    def label_printed(self, parcel: ParcelState, event: LabelPrinted):
        parcel.label = True

    @react
    def ask_for_a_label(self, parcel: ParcelState, event: Packed):
        yield PrintLabel()


# -- the tour ----------------------------------------------------------------------------------------------------------


def tour() -> None:
    clock = VirtualClock()  # turned by hand, so that nobody has to wait for a retry
    app = Sourced(clock=clock)
    app.register(Cart, Parcel)

    title("Sourced: a shopping cart, from the first command to a jammed printer")
    people_shop(app)
    the_shop_says_no(app)
    back_in_time(app)
    reactions_answer(app)
    the_whole_story(app)
    something_breaks(app, clock)
    the_app_at_a_glance(app)
    print(f"\n{dim('That was examples/cart.py. The same, slowly and from the beginning: docs/tutorial.md')}\n")


def people_shop(app: Sourced) -> None:
    chapter("Commands are decided, events are what happened")
    cart = app.load(Cart, "cart-1")
    for command in (AddItem("tea", 450, quantity=2), AddItem("mug", 1200), CheckOut()):
        decision = cart.execute(command)
        say(f"{blue(named(decision.command))}  decided")
        for event in decision.events:
            say(f"   └─ {green(named(event))}  happened; the total is now {euros(cart.state.total)}")


def the_shop_says_no(app: Sourced) -> None:
    chapter("A rejection is the domain saying no")
    before = len(app.history("cart-1"))
    try:
        app.execute(AddItem("jam", 390), to="cart-1")
    except CartClosed as no:
        say(f"{blue('add_item')}  refused: {red(str(no))}")
    say(f"The stream had {before} messages and has {len(app.history('cart-1'))}: nothing was stored.")


def back_in_time(app: Sourced) -> None:
    chapter("The state can be had as of any moment")
    say(dim("seq  message        status   total"))
    for message in app.history("cart-1"):
        then = app.load(Cart, "cart-1", upto=message.seq).state
        say(f"{message.seq:>3}  {coloured(message, 12)}   {then.status:<6} {euros(then.total):>7}")


def reactions_answer(app: Sourced) -> None:
    chapter("Reactions answer events, in the background")
    say(f"Before: {parcel(app, 'parcel-1')}.")
    say(f"app.drain() worked on {app.drain()} messages.")
    say(f"After:  {parcel(app, 'parcel-1')}.")


def the_whole_story(app: Sourced) -> None:
    chapter("Every message knows what caused it")
    story = app.trace(app.history("parcel-1")[-1])
    for branch, message in tree(story):
        say(f"{dim(branch)}{coloured(message)}  {dim(f'{message.stream}, seq {message.seq}')}")


def something_breaks(app: Sourced, clock: VirtualClock) -> None:
    chapter("What fails waits in its own stream; nobody else does")
    Parcel.jammed = True
    app.execute(AddItem("ink", 890), to="cart-2")
    app.execute(CheckOut(), to="cart-2")
    started = clock.now()
    app.drain()
    while not app.parked.list():
        [waiting] = app.groups.get(Parcel).stragglers
        assert waiting.retry_at
        wait = waiting.retry_at - clock.now()
        say(f"{red(waiting.error)} (try {waiting.attempts}, again in {wait.seconds} s)")
        clock.advance(wait)
        app.drain()
    [parked] = app.parked.list()
    say(f"{red(parked.error)} (try {parked.attempts})")
    seconds = (clock.now() - started).seconds
    say(f"After {seconds} s {parked.stream} is {red('parked')} at seq {parked.from_seq}, for a person to look at.")

    Parcel.jammed = False
    app.execute(AddItem("pen", 300), to="cart-3")
    app.execute(CheckOut(), to="cart-3")
    app.drain()
    say(f"Meanwhile:  {parcel(app, 'parcel-3')}.")

    app.parked.skip(Parcel, "parcel-2", reason="fetched by hand")
    app.drain()
    say(f"Skipped:    {parcel(app, 'parcel-2')}, and {len(app.parked.list())} streams are parked.")


def the_app_at_a_glance(app: Sourced) -> None:
    chapter("app.status()")
    status = app.status()
    say(f"{status.position} messages in {status.streams} streams, {status.scheduled} scheduled")
    say(dim("group    status   behind  parked"))
    for group in status.groups:
        say(f"{group.name:<8} {green(f'{group.status:<8}')}  {group.lag:>5}  {len(group.parked):>6}")


# -- how it looks ------------------------------------------------------------------------------------------------------

COLOURS = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
chapters = 0


def painted(code: int, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def bold(text: str) -> str:
    return painted(1, text)


def dim(text: str) -> str:
    return painted(2, text)


def red(text: str) -> str:
    return painted(31, text)


def green(text: str) -> str:
    return painted(32, text)


def blue(text: str) -> str:
    return painted(34, text)


def say(text: str) -> None:
    print(f"   {text}")


def title(text: str) -> None:
    print(f"\n{bold(text)}")


def chapter(text: str) -> None:
    global chapters
    chapters += 1
    print(f"\n{bold(f'{chapters}. {text}')}\n")


def coloured(message: Message[Any], width: int = 0) -> str:
    """Commands are blue, events are green."""
    return (blue if isinstance(message.payload, Command) else green)(message.type.ljust(width))


def named(message: Message[Any]) -> str:
    fields = ", ".join(f"{name}={getattr(message.payload, name)!r}" for name in message.payload.__struct_fields__)
    return f"{message.type}({fields})"


def euros(cents: int) -> str:
    return f"€{cents / 100:.2f}"


def parcel(app: Sourced, stream: str) -> str:
    state = app.load(Parcel, stream).state
    return f"{stream} weighs {state.grams} g and has {'a' if state.label else 'no'} label"


def tree(story: Sequence[Message[Any]]) -> Iterator[tuple[str, Message[Any]]]:
    """A story's messages, each below the one that caused it, with the branch that it hangs on."""

    def below(cause: Message[Any], trunk: str) -> Iterator[tuple[str, Message[Any]]]:
        caused = [m for m in story if m.causation_id == cause.id and m is not cause]
        for message in caused:
            last = message is caused[-1]
            yield trunk + ("└─ " if last else "├─ "), message
            yield from below(message, trunk + ("   " if last else "│  "))

    yield "", story[0]
    yield from below(story[0], "")


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without these signs shows others
    logging.getLogger("sourced").addHandler(logging.NullHandler())  # the tour itself tells what fails
    tour()
