"""Handlers are what their annotations say; a declaration that cannot work is refused when its class is created."""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias, Union

import pytest

from sourced import Actor, Command, Event, Message, Projector, decide, evolve, react, sync
from sourced.errors import DefinitionError


class Order(Event, namespace="orders"): ...


class Placed(Order): ...


class Paid(Order): ...


class Shipped(Order): ...


class Lost(Event): ...


class Place(Command): ...


class Pay(Command): ...


Role: TypeAlias = Callable[..., Any]


def registered(table):
    return {message: handler.name for message, handler in table.items()}


def method_for(annotation, seen: list[Any] | None = None):
    def method(self, state, message):
        if seen is not None:
            seen.append(message)

    method.__annotations__["message"] = annotation
    return method


def refused(*sentence):
    """A definition error that names class and method, and says what is wrong."""
    return pytest.raises(DefinitionError, match=".*".join(sentence))


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


# -- what is refused -----------------------------------------------------------------------------------------------


NEITHER = [None, int, Any, Message, Placed | None, Message[Any], "Nowhere", Placed | Message[Paid], [Placed]]


@pytest.mark.parametrize("annotation", NEITHER, ids=range(9))
def test_an_annotation_that_names_no_message_is_refused(annotation):
    """B38."""
    with refused(r"Orders\.ship: ", "(expected a message class, A | B or Message|'Nowhere' cannot be resolved)"):

        class Orders(Actor[None]):
            ship = react(method_for(annotation))


def test_a_handler_without_an_annotation_is_refused():
    with refused(r"Orders\.ship: annotate 'event' with the message it is for"):

        class Orders(Actor[None]):
            @react
            def ship(self, state, event): ...


def test_two_handlers_of_one_class_for_one_message_are_refused():
    with refused(r"Orders\.again: Placed is handled by ", r"Orders\.placed already; keep one @evolve"):

        class Orders(Actor[None]):
            @evolve
            def placed(self, state: None, event: Placed | Paid): ...

            @evolve
            def again(self, state: None, event: Message[Lost | Placed]): ...


def test_two_handlers_of_one_name_are_refused():
    """Python would forget the first without a word."""
    with refused(r"Orders\._: two handlers have this name, so one would be lost"):

        class Orders(Actor[None]):
            @evolve
            def _(self, state: None, event: Placed): ...

            @react
            def _(self, state: None, event: Paid): ...


@pytest.mark.parametrize("inherited", [True, False])
@pytest.mark.parametrize(("role", "word"), [(react, "reacted to"), (evolve, "evolved by")])
def test_a_command_that_is_decided_is_neither_reacted_to_nor_evolved_by(inherited, role: Role, word):
    """It would be handled twice, and a state would differ by where its command was decided."""

    class Decides(Actor[Any]):
        @decide
        def place(self, state: Any, command: Place): ...

    class Answers(Actor[Any]):
        @role
        def placed(self, state: Any, event: Place): ...

    with refused(r"Orders: Place is both decided \(place\) and ", rf"{word} \(placed\); a message has one of the two"):
        if inherited:

            class Orders(Decides, Answers): ...

        else:

            class OtherOrders(Decides):
                @role
                def placed(self, state: Any, event: Place): ...


def test_only_commands_are_decided():
    with refused(r"Orders\.paid: expected a command, found Paid"):

        class Orders(Actor[None]):
            @decide  # type: ignore[type-var]
            def paid(self, state: None, command: Paid): ...


@pytest.mark.parametrize(("role", "family"), [(decide, Command), (evolve, Event), (evolve, Order)])
def test_families_are_only_reacted_to(role: Role, family):
    with refused(r"Orders\.all: ", "is a family of messages; @(decide|evolve) names each one"):

        class Orders(Actor[None]):
            all = role(method_for(family))


def test_a_wrong_number_of_parameters_is_refused():
    methods: list[Any] = [
        lambda self, event: ...,
        lambda self, state, event, more: ...,
        lambda self, state, *, event: ...,
        lambda self, state, *event: ...,
        lambda self, state, **event: ...,
    ]
    for method in methods:
        with refused(r"Orders\.placed: @evolve takes \(self, state, event\), found \(self, "):
            type("Orders", (Actor,), {"placed": evolve(method), "__qualname__": "Orders"})


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
@pytest.mark.parametrize("outside", [True, False])
def test_only_plain_methods_handle_messages(kind, outside):
    def placed(self, state, event: Placed): ...

    method = kind(evolve(placed)) if outside else evolve(kind(placed))
    with refused(rf"Orders\.placed: @evolve is for plain methods, found a {kind.__name__}"):
        type("Orders", (Actor,), {"placed": method, "__qualname__": "Orders"})


def test_deciding_and_evolving_cannot_wait():
    with refused(r"Orders\.placed: @evolve is pure, so it cannot be async"):

        class Orders(Actor[None]):
            @evolve  # type: ignore[misc]
            async def placed(self, state: None, event: Placed): ...

    with refused(r"Places\.place: @decide is pure, so it cannot be async"):

        class Places(Actor[None]):
            @decide  # pyright: ignore[reportArgumentType]
            async def place(self, state: None, command: Place):
                yield Placed()


def test_a_role_its_class_does_not_have_is_refused():
    with refused(r"Listing\.place: there are no @decide methods here; there are @evolve, @react, @sync"):

        class Listing(Projector[None]):
            @decide
            def place(self, row: None, command: Place): ...
