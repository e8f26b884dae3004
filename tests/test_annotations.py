"""Handlers whose annotations are strings, as `from __future__ import annotations` makes them of all in a module."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from sourced import Actor, Command, CommandContext, Event, Message, Sourced, decide, evolve, react
from sourced.context import on
from sourced.errors import DefinitionError
from sourced.testing import shop
from sourced.testing.shop import ItemAdded

if TYPE_CHECKING:
    from sourced.testing.shop import Closed


class Opened(Event): ...


class Shut(Event): ...


Either = Opened | Shut


def names(actor):
    return {message.__sourced__.name: handler.name for message, handler in actor.tables.evolve.items()}


def test_names_of_the_module_are_resolved():
    """Plain, dotted, quoted once more, as unions, aliases and envelopes."""

    class Door(Actor[None]):
        @evolve
        def plain(self, door: None, event: ItemAdded): ...

        @evolve
        def quoted(self, door: None, event: "shop.Closed"): ...  # noqa: UP037

        @evolve
        def enveloped(self, door: None, event: Message[Either]): ...

    assert names(Door) == {
        "shop.item_added": "plain",
        "shop.closed": "quoted",
        "opened": "enveloped",
        "shut": "enveloped",
    }


def test_names_of_the_function_around_the_class_are_resolved():
    class Local(Event): ...

    class Outer:
        class Inner:
            class Door(Actor[None]):
                @evolve
                def local(self, door: None, event: Local): ...

    assert names(Outer.Inner.Door) == {"local": "local"}


def test_names_of_the_class_itself_are_resolved():
    """Messages nested in an actor carry its name."""

    class Door(Actor[int]):
        class Knock(Command):
            times: int

        class Knocked(Event):
            times: int

        def initial(self, stream: str) -> int:
            return 0

        @decide
        def knock(self, knocks: int, command: Knock):
            yield self.Knocked(command.times)

        @evolve
        def knocked(self, knocks: int, event: Knocked) -> int:
            return knocks + event.times

    app = Sourced()
    app.register(Door)
    door = app.load(Door, "d1")
    door.knock(times="3")
    assert (door.state, [m.type for m in door.history()]) == (3, ["door.knock", "door.knocked"])


def test_names_that_a_method_closes_over_are_resolved():
    """Even when the class is made somewhere else than the method."""

    class Local(Event): ...

    def a_method():
        def local(self: Any, door: None, event: Local) -> None:
            assert type(event) is Local

        return local

    method = a_method()

    def a_class():
        class Door(Actor[None]):
            local = evolve(method)

        return Door

    assert names(a_class()) == {"local": "local"}


def test_a_base_that_looks_at_its_subclasses_hides_no_names():
    class Local(Event): ...

    class Listed(Actor[None]):
        def __init_subclass__(cls, **options: Any) -> None:
            super().__init_subclass__(**options)
            listed.append(cls)

    listed: list[type] = []

    class Door(Listed):
        @evolve
        def local(self, door: None, event: Local): ...

    assert names(Door) == {"local": "local"}
    assert listed == [Door]


def test_a_parent_made_elsewhere_is_not_resolved_again():
    def parent():
        class Local(Event): ...

        class Parent(Actor[None]):
            @evolve
            def local(self, door: None, event: Local): ...

        return Parent

    class Door(parent()):  # type: ignore[misc]
        @evolve
        def opened(self, door: None, event: Opened): ...

    assert names(Door) == {"local": "local", "opened": "opened"}


def test_a_mixin_means_what_its_own_module_means_by_a_name():
    """Also where the class that takes it up has another message of that name around it."""
    common = "from __future__ import annotations\nfrom sourced import Actor, Event, evolve\n"
    theirs = {"__name__": "theirs"}
    exec(
        common + "class Moved(Event, type='theirs.moved'): ...\n"
        "class Moving:\n    @evolve\n    def moved(self, state, event: Moved): ...\n",
        theirs,
    )
    ours = {"__name__": "ours", "Moving": theirs["Moving"]}
    exec(
        common + "class Moved(Event, type='ours.moved'): ...\nclass Van(Moving, Actor[None]): ...\n",
        ours,
    )
    assert names(ours["Van"]) == {"theirs.moved": "moved"}


def test_a_decorator_from_another_module_hides_no_names():
    """A wrapped method keeps its annotations, and they mean what they meant where they were written."""
    elsewhere: dict[str, Any] = {"wraps": functools.wraps}
    exec("def decorator(method): return wraps(method)(lambda *arguments: method(*arguments))", elsewhere)
    decorator: Callable[..., Any] = elsewhere["decorator"]

    class Door(Actor[None]):
        @evolve
        @decorator
        def opened(self, door: None, event: Opened): ...

    assert names(Door) == {"opened": "opened"}


def test_what_only_the_type_checker_imports_cannot_be_resolved():
    """B38. The error names class, method and annotation, so that the import is moved and not searched for."""
    with pytest.raises(DefinitionError, match=r"Door\.closed: the annotation 'Closed' cannot .*: import it above"):

        class Door(Actor[None]):
            @react
            def closed(self, door: None, event: Closed): ...


def test_hooks_of_a_command_context_are_resolved_alike():
    class Local(Command):
        who: str

    class Context(CommandContext):
        @on
        def local(self, message: Message[Local]) -> Message[Local]:
            return message.with_payload(who="me")

    app = Sourced()
    app.register(Local)
    built = Context(app, stream="d1").build({"type": "local", "payload": {"who": "you"}})
    assert built.payload == Local("me")
