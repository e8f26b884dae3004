"""Handlers are what their annotations say, in the class that declares them and in those that inherit from it."""

import functools
from collections.abc import Callable
from typing import Any, Union

import pytest

from sourced import (
    Actor,
    Command,
    DefinitionError,
    Event,
    Message,
    Projector,
    Sourced,
    View,
    decide,
    evolve,
    react,
    sync,
)
from sourced.store import Store


class Order(Event, namespace="orders"): ...


class Placed(Order): ...


class Paid(Order): ...


class Shipped(Order): ...


class Lost(Event): ...


class Place(Command): ...


class Pay(Command): ...


def registered(table):
    return {message: handler.name for message, handler in table.items()}


def method_for(annotation, seen):
    def method(self, state, message):
        seen.append(message)

    method.__annotations__["message"] = annotation
    return method


# -- what is registered ------------------------------------------------------------------------------------------


def test_an_actor_handles_what_it_decides_and_reacts_to():
    """B23. Evolving is no handling: those events come along with the history."""

    class Orders(Actor[None]):
        class Cancel(Command): ...

        class Cancelled(Event): ...

        @decide
        def place(self, state: None, command: Place): ...

        @decide
        def cancel(self, state: None, command: Cancel): ...

        @react
        def ship(self, state: None, event: Paid): ...

        @react
        def refund(self, state: None, event: Cancelled): ...

        @evolve
        def placed(self, state: None, event: Placed): ...

    assert set(Orders().handles) == {Place, Orders.Cancel, Paid, Orders.Cancelled}


BOTH = [
    Placed | Paid,
    Union[Placed, Paid],  # noqa: UP007
    Message[Placed | Paid],
    Message[Placed] | Message[Paid],
]


@pytest.mark.parametrize("both", BOTH, ids=range(4))
def test_one_method_takes_several_messages(both):
    """B37. With `Message[…]` it is handed the envelope."""
    seen: list[Any] = []

    class Orders(Actor[None]):
        anything = evolve(method_for(both, seen))

    placed = Message.new(Placed(), stream="o1").follow(Placed(), seq=1)
    paid = placed.follow(Paid(), seq=2)
    Orders.blank("o1").evolve(placed, paid)
    enveloped = "Message" in repr(both)
    assert seen == ([placed, paid] if enveloped else [Placed(), Paid()])


def test_a_wildcard_reacts_to_every_evolved_event_without_a_reaction_of_its_own():
    """B35, B36. Of its family, wherever in the class it stands: on purpose, the order of methods means nothing."""

    class Orders(Actor[None]):
        @react
        def anything(self, state: None, event: Order): ...

        @react
        def placed(self, state: None, event: Placed): ...

        @evolve
        def keep(self, state: None, event: Placed | Paid | Lost): ...

        @evolve
        def later(self, state: None, event: Shipped): ...

    assert registered(Orders().reactions) == {Placed: "placed", Paid: "anything", Shipped: "anything"}


def test_a_family_evolves_by_a_method_but_for_those_that_have_their_own():
    """AC8. Wherever in the class it stands, and inherited like any other."""

    class Parcel(Event, namespace="parcels"): ...

    class Packed(Parcel): ...

    class Sent(Parcel): ...

    class Dropped(Parcel): ...

    class Parcels(Projector[None]):
        @evolve
        def anything(self, state: None, event: Message[Parcel]): ...

        @evolve
        def packed(self, state: None, event: Packed): ...

    class Losses(Parcels):
        @evolve
        def dropped(self, state: None, event: Dropped): ...

    expected = {Packed: "packed", Sent: "anything", Dropped: "anything"}
    assert registered(Parcels.tables.evolve) == expected
    assert set(Parcels().handles) == {*expected}
    assert registered(Losses.tables.evolve) == expected | {Dropped: "dropped"}


def test_the_narrower_family_wins_and_what_is_decided_does_not_evolve():
    """An actor's own commands are decided; a projector may follow all of them."""

    class Journey(Command, namespace="journeys"): ...

    class Begin(Journey): ...

    class Leg(Journey, namespace="journeys.legs"): ...

    class Fly(Leg): ...

    class Sail(Leg): ...

    class Traveller(Actor[None]):
        @decide
        def fly(self, state: None, command: Fly): ...

        @evolve
        def any_at_all(self, state: None, event: Journey): ...

        @evolve
        def a_leg(self, state: None, event: Leg): ...

    assert registered(Traveller.tables.evolve) == {Begin: "any_at_all", Sail: "a_leg"}


def test_a_message_that_a_family_gets_later_is_not_passed_over_in_silence():
    class Trip(Event, namespace="trips"): ...

    class Begun(Trip): ...

    class Trips(Projector[None]):
        @evolve
        def anything(self, state: None, event: Trip): ...

    Sourced().register(Trips)

    class Ended(Trip): ...

    with pytest.raises(DefinitionError, match=r"Trips evolves by all messages of a family, but .*Ended was made after"):
        Sourced().register(Trips)


def test_all_that_happens_to_a_row_is_seen_to_by_one_method(store: Store):
    class Step(Event, namespace="steps"): ...

    class Walked(Step):
        metres: int

    class Rested(Step): ...

    class Day(View):
        metres: int = 0
        steps: int = 0
        last: str = ""

    class Days(Projector[Day]):
        def before_evolve(self, state: Day, message: Message[Any]) -> None:
            state.steps += 1

        @evolve
        def anything(self, row: Day, event: Message[Step]):
            row.last = event.type

        @evolve
        def walked(self, row: Day, event: Walked):
            row.metres += event.metres

    app = Sourced(store)
    app.register(Days)
    app.append("monday", [Walked(300), Rested(), Walked(20)])
    app.drain()
    assert app.views(Days).get("monday") == Day(320, 3, "steps.rested")


def test_the_narrower_wildcard_wins():
    class Urgent(Order, namespace="orders.urgent"): ...

    class Called(Urgent): ...

    class Orders(Actor[None]):
        @react
        def any_at_all(self, state: None, event: Event): ...

        @react
        def urgent(self, state: None, event: Message[Urgent]): ...

        @react
        def order(self, state: None, event: Order): ...

        @evolve
        def keep(self, state: None, event: Called | Paid | Lost): ...

    assert registered(Orders().reactions) == {Called: "urgent", Paid: "order", Lost: "any_at_all"}


# -- inheritance -------------------------------------------------------------------------------------------------


class Base(Actor[list[str]]):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def place(self, state: list[str], command: Place):
        yield Placed()

    @evolve
    def placed(self, state: list[str], event: Placed):
        state.append("base")

    @react
    def ship(self, state: list[str], event: Paid): ...

    @sync
    def save(self, state: list[str], batch: Any, tx: Any): ...


def test_a_subclass_inherits_and_adds_without_changing_its_parent():
    """B40."""
    before = set(Base().handles), dict(Base.tables.evolve), list(Base.tables.sync)

    class Special(Base):
        @decide
        def pay(self, state: list[str], command: Pay): ...

        @evolve
        def paid(self, state: list[str], event: Paid): ...

        @sync
        def mail(self, state: list[str], batch: Any, tx: Any): ...

    assert set(Special().handles) == {Place, Pay, Paid}
    assert registered(Special.tables.evolve) == {Placed: "placed", Paid: "paid"}
    assert Special.tables.sync == ["save", "mail"]
    assert (set(Base().handles), dict(Base.tables.evolve), list(Base.tables.sync)) == before


def test_a_subclass_replaces_what_it_handles_anew():
    """By the method's name, decorated again or not, or by taking its message."""

    class Redecorated(Base):
        @evolve
        def placed(self, state: list[str], event: Paid):  # type: ignore[override]
            state.append("redecorated")

    class Plain(Base):
        def placed(self, state: list[str], event: Placed):
            state.append("plain")

    class Taken(Base):
        @evolve
        def mine(self, state: list[str], event: Placed):
            state.append("taken")

    first = Message.new(Placed(), stream="o1").follow(Placed(), seq=1)
    assert registered(Redecorated.tables.evolve) == {Paid: "placed"}
    assert Plain.blank("o1").evolve(first) == ["plain"]
    assert Taken.blank("o1").evolve(first) == ["taken"]
    assert Base.blank("o1").evolve(first) == ["base"]


def test_handlers_come_from_every_base_and_from_plain_mixins():
    class Audited:
        @evolve
        def lost(self, state: Any, event: Lost): ...

    class Payable(Actor[Any]):
        @decide
        def pay(self, state: Any, command: Pay): ...

    class Order(Audited, Payable, Base): ...

    assert registered(Order.tables.decide) == {Place: "place", Pay: "pay"}
    assert registered(Order.tables.evolve) == {Placed: "placed", Lost: "lost"}


def test_a_decorated_handler_is_still_what_its_annotation_says():
    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def wrapper(self, *arguments):
            calls.append(method.__name__)
            return method(self, *arguments)

        return wrapper

    class Orders(Base):
        @evolve
        @counted
        def paid(self, state: list[str], event: Paid):
            state.append("paid")

        @counted
        @evolve
        def lost(self, state: list[str], event: Lost):
            state.append("lost")

    calls: list[str] = []
    paid = Message.new(Paid(), stream="o1").follow(Paid(), seq=1)
    assert Orders.blank("o1").evolve(paid, paid.follow(Lost(), seq=2)) == ["paid", "lost"]
    assert calls == ["paid", "lost"]
