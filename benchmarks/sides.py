"""The same things done in one database by Sourced and by eventsourcing; by the driver alone in `driver.py`."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID, uuid5

from benchmarks import ours, theirs
from benchmarks.places import Database
from sourced import Sourced
from sourced.envelope import Message
from sourced.store import Entry

FEW = 500  # events they save at once: a save of 10,000 waits for ever on PostgreSQL


class Writes(Protocol):
    """Events appended one by one, each with the seq it is to have; a cart has one writer."""

    def open(self, writers: int) -> None: ...
    def append(self, cart: int, seq: int) -> None: ...
    def count(self) -> int:
        """Events stored so far."""
        ...

    def close(self) -> None: ...


class WritesAsync(Writes, Protocol):
    async def open_async(self, writers: int) -> None: ...
    async def append_async(self, cart: int, seq: int) -> None: ...


class Batches(Writes, Protocol):
    def append_to_each(self, carts: int, seq: int) -> None:
        """One event for each of so many carts, in one transaction."""
        ...

    def read_all(self) -> int:
        """How many events there were to read."""
        ...


class Decides(Writes, Protocol):
    def execute(self, cart: int) -> None: ...


class Reads(Protocol):
    def fill(self, carts: int, events: int) -> None:
        """Events for each cart."""
        ...

    def load(self, cart: int) -> int:
        """The items in it, from the log."""
        ...

    def read_all(self) -> int: ...
    def close(self) -> None: ...


class Ours:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._app = Sourced(database.store())
        self._app.register(ours.Cart)

    def open(self, writers: int) -> None:
        """Connections are opened as they are needed."""

    async def open_async(self, writers: int) -> None:
        """Connections are opened as they are needed."""

    def append(self, cart: int, seq: int) -> None:
        self._app.append(f"cart-{cart}", ours.ItemAdded("p1", 1000, 2), expected_seq=seq - 1)

    async def append_async(self, cart: int, seq: int) -> None:
        await self._app.aio.append(f"cart-{cart}", ours.ItemAdded("p1", 1000, 2), expected_seq=seq - 1)

    def append_to_each(self, carts: int, seq: int) -> None:
        """As a worker's round does."""
        engine = self._app._engine
        now = engine.clock.now()
        entries = []
        for cart in range(carts):
            message = Message.new(ours.ItemAdded("p1", 1000, 2), stream=f"cart-{cart}", now=now)
            entries.append(Entry(message.stream, (engine.codec.encode(message),), seq - 1))
        self._app.store.transact(self._app.store.append(entries))

    def execute(self, cart: int) -> None:
        self._app.execute(ours.AddItem("p1", 1000, 2), to=f"cart-{cart}")

    def fill(self, carts: int, events: int) -> None:
        for cart in range(carts):
            self._app.append(f"cart-{cart}", [ours.ItemAdded("p1", 1000, 2) for _ in range(events)])

    def load(self, cart: int) -> int:
        return self._app.load(ours.Cart, f"cart-{cart}").state.items

    def read_all(self) -> int:
        return len(self._app.read_all())

    def count(self) -> int:
        return len(self._app.read_all(types=[ours.ItemAdded]))

    def close(self) -> None:
        self._app.close()
        self._database.close()


class Theirs:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._shop = theirs.Shop(env=dict(database.environment()))
        self._carts: dict[int, theirs.Cart] = {}

    def open(self, writers: int) -> None:
        """Connections are opened as they are needed."""

    def append(self, cart: int, seq: int) -> None:
        added = theirs.Cart.ItemAdded  # type: ignore[attr-defined]
        event = added(
            originator_id=_id(cart), originator_version=seq, timestamp=added.create_timestamp(),
            product_id="p1", price=1000, quantity=2,
        )  # fmt: skip
        self._shop.events.put([event])

    def execute(self, cart: int) -> None:
        """On the cart at hand: their repository would read it for each command."""
        at_hand = self._carts.get(cart) or self._carts.setdefault(cart, theirs.Cart())
        at_hand.add_item("p1", 1000, 2)
        self._shop.save(at_hand)

    def fill(self, carts: int, events: int) -> None:
        for number in range(carts):
            cart = self._carts[number] = theirs.Cart()
            for event in range(1, events + 1):
                cart.add_item("p1", 1000, 2)
                if event % FEW == 0 or event == events:
                    self._shop.save(cart)

    def load(self, cart: int) -> int:
        loaded: theirs.Cart = self._shop.repository.get(self._carts[cart].id)
        return loaded.items

    def read_all(self) -> int:
        notifications = self._shop.recorder.select_notifications(start=None, limit=2**31)
        events = [self._shop.mapper.to_domain_event(each) for each in notifications]
        return sum(type(event) is theirs.Cart.ItemAdded for event in events)  # type: ignore[attr-defined]

    def count(self) -> int:
        """Of the events, that is; that a cart was opened is none that we have."""
        return (self._shop.recorder.max_notification_id() or 0) - len(self._carts)

    def close(self) -> None:
        self._shop.close()
        self._database.close()


def _id(cart: int) -> UUID:
    return uuid5(_CARTS, str(cart))


_CARTS = UUID(int=0)
