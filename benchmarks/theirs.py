"""The same work as a program on `eventsourcing` does it: events in memory, JSON by its own transcoder."""

from __future__ import annotations

from threading import Event as Flag
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import ApplicationRecorder, Tracking
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.system import NewSingleThreadedRunner, ProcessApplication, Runner, SingleThreadedRunner, System
from eventsourcing.utils import get_topic

from benchmarks.measure import Trial


class Cart(Aggregate):
    @event("Opened")
    def __init__(self) -> None:
        self.items = 0
        self.total = 0

    @event("ItemAdded")
    def add_item(self, product_id: str, price: int, quantity: int) -> None:
        self.items += 1
        self.total += price * quantity


class Shop(Application[UUID]):
    """Carts; nothing but what every application has."""


CACHED = {"AGGREGATE_CACHE_MAXSIZE": "10000"}
TRUSTED = CACHED | {"AGGREGATE_CACHE_FASTFORWARD": "n", "DEEPCOPY_FROM_AGGREGATE_CACHE": "n"}


# -- commands ----------------------------------------------------------------------------------------------------------


def loading(commands: int, streams: int) -> Trial:
    """Every command on a cart that was read from the log for it: the library's default."""
    return _through_the_repository(commands, streams, {})


def cached(commands: int, streams: int) -> Trial:
    """Every command on a copy of a cached cart, brought up to date first: the cache's default."""
    return _through_the_repository(commands, streams, CACHED)


def trusted(commands: int, streams: int) -> Trial:
    """Every command on the cached cart itself, not brought up to date: the fastest the cache can be set to."""
    return _through_the_repository(commands, streams, TRUSTED)


def at_hand(commands: int, streams: int) -> Trial:
    """Every command on a cart that the program holds."""
    shop, names = _carts(streams, {})
    carts: list[Cart] = [shop.repository.get(name) for name in names]

    def work() -> None:
        for number in range(commands):
            cart = carts[number % streams]
            cart.add_item("p1", 1000, 2)
            shop.save(cart)

    return Trial(work, lambda: _items(shop, names))


def _through_the_repository(commands: int, streams: int, env: dict[str, str]) -> Trial:
    shop, names = _carts(streams, env)

    def work() -> None:
        for number in range(commands):
            cart: Cart = shop.repository.get(names[number % streams])
            cart.add_item("p1", 1000, 2)
            shop.save(cart)

    return Trial(work, lambda: _items(shop, names))


def _carts(streams: int, env: dict[str, str]) -> tuple[Shop, list[UUID]]:
    shop = Shop(env=env)
    carts = [Cart() for _ in range(streams)]
    shop.save(*carts)
    return shop, [cart.id for cart in carts]


def _items(shop: Shop, names: list[UUID]) -> int:
    """From the log, whatever the cache says."""
    return sum(sum(type(each) is Cart.ItemAdded for each in shop.events.get(name)) for name in names)


# -- replay ------------------------------------------------------------------------------------------------------------


def replay(events: int, loads: int) -> Trial:
    shop, names = _carts(1, {})
    _fill(shop, names[0], events)
    found: list[Cart] = []

    def work() -> None:
        found.extend(shop.repository.get(names[0]) for _ in range(loads))

    return Trial(work, lambda: sum(cart.items for cart in found))


def _fill(shop: Shop, name: UUID, events: int) -> None:
    cart: Cart = shop.repository.get(name)
    for number in range(events):
        cart.add_item(f"p{number}", 1000, 2)
    shop.save(cart)


# -- a projection that catches up --------------------------------------------------------------------------------------


class TallyView(POPOTrackingRecorder):
    """How many items each cart has got, counted in the same step as the position: each is counted once."""

    def __init__(self) -> None:
        super().__init__()
        self.tallies: dict[UUID, int] = {}
        self.expected = 0
        self.through = Flag()

    def count(self, cart: UUID, tracking: Tracking) -> None:
        with self._database_lock:
            self._assert_tracking_uniqueness(tracking)
            self._insert_tracking(tracking)
            self.tallies[cart] = self.tallies.get(cart, 0) + 1
            if tracking.notification_id == self.expected:
                self.through.set()


class Tallies(Projection[TallyView]):
    topics = (get_topic(Cart.ItemAdded),)

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise NotImplementedError

    @process_event.register
    def item_added(self, domain_event: Cart.ItemAdded, tracking: Tracking) -> None:
        self.view.count(domain_event.originator_id, tracking)


def projection(events: int, streams: int) -> Trial:
    """Their runner makes its own application, and in memory that one would be empty: it is given the full log."""
    filled, names = _carts(streams, {})
    for number, name in enumerate(names):
        _fill(filled, name, events // streams + (number < events % streams))

    class FullShop(Shop):
        name = Shop.name

        def construct_recorder(self) -> ApplicationRecorder:
            return filled.recorder

    class View(TallyView):
        def __init__(self) -> None:
            super().__init__()
            self.expected = filled.recorder.max_notification_id() or 0

    counted: list[int] = []

    def work() -> None:
        runner = ProjectionRunner(application_class=FullShop, projection_class=Tallies, view_class=View)
        with runner:
            while not (runner.view.through.wait(1.0) or runner.is_interrupted.is_set()):
                pass  # a runner that failed says so when it is left
        counted.append(sum(runner.view.tallies.values()))

    return Trial(work, lambda: sum(counted))


# -- flows -------------------------------------------------------------------------------------------------------------


class Order(Aggregate):
    @event("Placed")
    def __init__(self, product_id: str, quantity: int) -> None:
        self.product_id = product_id
        self.quantity = quantity


class Reservation(Aggregate):
    @event("Reserved")
    def __init__(self, order: UUID, product_id: str, quantity: int) -> None:
        self.order = order
        self.product_id = product_id
        self.quantity = quantity


class Orders(Application[UUID]):
    def place(self, product_id: str, quantity: int) -> None:
        self.save(Order(product_id, quantity))


class Reservations(ProcessApplication[UUID]):
    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: Any) -> None:
        """What is of no interest passes."""

    @policy.register
    def order_placed(self, domain_event: Order.Placed, processing_event: Any) -> None:
        reservation = Reservation(domain_event.originator_id, domain_event.product_id, domain_event.quantity)
        processing_event.collect_events(reservation)


SYSTEM = System(pipes=[[Orders, Reservations]])


def flows(count: int) -> Trial:
    return _flows(count, SingleThreadedRunner(SYSTEM))


def flows_handed_over(count: int) -> Trial:
    """On their newer runner, which hands an event over as it was saved instead of reading it back."""
    return _flows(count, NewSingleThreadedRunner(SYSTEM))


def _flows(count: int, runner: Runner[UUID]) -> Trial:
    runner.start()
    orders, reservations = runner.get(Orders), runner.get(Reservations)

    def work() -> None:
        for _ in range(count):
            orders.place("p1", 2)

    return Trial(work, lambda: reservations.recorder.max_notification_id() or 0)
