"""A declaration that cannot work is refused when its class is created, with the class and the method named."""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from sourced import Actor, Command, Event, Message, Projector, after_commit, decide, evolve, react, sync
from sourced.errors import DefinitionError


class Order(Event, namespace="orders"): ...


class Placed(Order): ...


class Paid(Order): ...


class Lost(Event): ...


class Place(Command): ...


Role: TypeAlias = Callable[..., Any]


def refused(*sentence):
    """A definition error that names class and method, and says what is wrong."""
    return pytest.raises(DefinitionError, match=".*".join(sentence))


def method_for(annotation):
    def method(self, state, message): ...

    method.__annotations__["message"] = annotation
    return method


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


class Empty(Event, namespace="orders.empty"): ...


@pytest.mark.parametrize(
    ("role", "family", "why"),
    [
        (decide, Command, "is a family of messages: @decide names each"),
        (decide, Order, "is a family of messages: @decide names each"),
        (evolve, Event, "is everybody's: name a family of your own"),
        (evolve, Empty, "has no messages yet; make them before this class"),
    ],
)
def test_families_are_not_decided_and_only_evolve_as_far_as_they_are_known(role: Role, family, why: str):
    with refused(r"Orders\.all: ", why):

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


def test_only_deciding_and_reacting_yield():
    """Elsewhere a `yield` turns the body into something that never runs, or a state into a generator."""
    marked: list[Any] = [
        evolve(lambda self, state, event: (yield)),
        sync(lambda self, state, batch, tx: (yield)),
        after_commit(lambda self, state, batch: (yield)),
    ]
    for method in marked:
        with refused(r"Orders\.method: expected no `yield` in it; only @decide and @react methods yield"):
            type("Orders", (Actor,), {"method": method, "__qualname__": "Orders"})


def test_a_role_its_class_does_not_have_is_refused():
    with refused(r"Listing\.place: there are no @decide methods here; there are @evolve, @react, @sync"):

        class Listing(Projector[None]):
            @decide
            def place(self, row: None, command: Place): ...
