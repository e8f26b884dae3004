"""A day at the shop that can be lived twice: whoever is not sure what was done says it again, under the same ids."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sourced.codec import Record
from sourced.envelope import Message
from sourced.errors import Duplicate
from sourced.messages import Command
from sourced.testing.clock import START, VirtualClock
from sourced.testing.shop import AddItem, Cart, Close, Stock

LEASE = 30.0
CARTS = ("cart-1", "cart-2", "cart-3")
STOCK = ("stock-pen", "stock-ink", "stock-nib")


def said(id: str, command: Command, cart: str) -> Message[Any]:
    return Message.new(command, stream=cart, id=id, now=START)


class Day:
    """Orders come in from the web and from a queue, one of them for later; everything is worked off in between."""

    orders = (
        said("order-1", AddItem("pen", 2), "cart-1"),
        said("order-2", AddItem("pen"), "cart-2"),
        said("order-3", Close(), "cart-2"),
        said("order-4", AddItem("ink", 9), "cart-2"),  # refused: the cart is closed by then
    )

    def __init__(self, app: Any, clock: VirtualClock) -> None:
        self.app = app
        self.clock = clock

    def live(self) -> None:
        for order in self.orders:
            self.app.dispatch(order)
        self.app.dispatch(said("order-5", AddItem("nib", 5), "cart-3"), after=60)
        self.app.drain()
        with contextlib.suppress(Duplicate):
            self.app.execute(said("order-6", AddItem("nib", 3), "cart-1"))
        self.clock.advance(120)
        self.app.drain()

    def take_over(self) -> None:
        """What another process left behind is worked off once its leases, and a few attempts, are over."""
        for _ in range(4):
            self.clock.advance(LEASE + 1)
            self.app.drain()

    def outcome(self) -> dict[str, Any]:
        """What it all comes to: what was asked and what followed, each in order. (In which order two carts reach the
        stock, and whether two orders were waiting at once or came one by one, is nobody's business.)"""
        found: dict[str, Any] = {}
        for stream in (*CARTS, *STOCK):
            history = self.app.history(stream)
            commands = [m.payload for m in history if m.type in COMMANDS]
            events = [m.payload for m in history if m.type not in COMMANDS]
            in_order = list if stream in CARTS else sorted
            found[stream] = in_order(map(repr, commands)), in_order(map(repr, events))
            found[f"state of {stream}"] = self.app.load(Cart if stream in CARTS else Stock, stream).state
        status = self.app.status()
        assert status.scheduled == 0, self.app.scheduled.list()
        assert all(group.lag == 0 and not group.stragglers for group in status.groups), status
        return found


COMMANDS = ("shop.add_item", "shop.close", "shop.reserve")
ANSWERED = (*COMMANDS, "shop.item_added")  # with an event, a rejection, or, by a reaction, with a command


def check_invariants(log: Sequence[Record], *, everything_done: bool = False) -> None:
    """What holds of every log, whatever has happened; and of one where nothing is left to do."""
    streams: dict[str, list[Record]] = defaultdict(list)
    for each in log:
        streams[each.stream].append(each)
    answers = Counter(each.causation_id for each in log if each.causation_id != each.id)
    for stream, records in streams.items():
        assert [r.seq for r in records] == list(range(1, len(records) + 1)), f"expected no gap in {stream!r}"
        commands = [r.id for r in records if r.type in COMMANDS]
        decided = [r.causation_id for r in records if r.causation_id in commands and r.causation_id != r.id]
        assert decided == [each for each in commands if each in decided], "expected decisions in the commands' order"
    assert len({r.id for r in log}) == len({r.position for r in log}) == len(log), "expected every message once"
    assert not [each for each in answers if answers[each] > 1], f"expected one answer each: {answers}"
    half = [r.id for r in log if r.settled_by and not answers[r.id]]
    assert not half, f"expected what was decided when it was stored to stand with its event: {half}"
    if everything_done:
        left = [r for r in log if r.type in ANSWERED and not answers[r.id]]
        assert not left, f"expected every message to be answered, found {left}"
