"""`register` makes reactors part of an app; what cannot work together is refused when it is put together."""

from datetime import UTC, datetime

import pytest

from sourced import Actor, Command, DefinitionError, Event, Reactor, Sourced, decide, evolve
from sourced.errors import NotKnown
from sourced.testing.shop import AddItem, Cart, CartState, Close


class Ring(Command):
    tone: str = "a"


class Rang(Event):
    tone: str


class Bell(Actor[None]):
    @decide
    def ring(self, state, command: Ring):
        yield Rang(command.tone)


def refused(*things, **options):
    """What the app says about things that cannot be registered."""
    app = Sourced(**options)
    with pytest.raises(DefinitionError) as error:
        app.register(*things)
    return str(error.value)


def test_the_same_class_twice_is_fine():
    """O252."""
    app = Sourced()
    app.register(Cart, Cart)
    app.register(Cart)
    app.execute(AddItem("tea"), to="c1")
    assert [group.name for group in app.groups.list()] == ["shop.carts"]


def test_the_same_instance_twice_and_its_class_are_fine():
    app, bell = Sourced(), Bell()
    app.register(bell, bell, Bell)
    assert app.execute(Ring(), to="b").events


def test_two_instances_of_one_class_are_not():
    """O252. Which of them would it be?"""
    assert "two reactors share the group 'Bell'" in refused(Bell(), Bell())
    assert "two reactors share the group 'Bell'" in refused(Bell, Bell())


def test_two_reactors_of_one_group_are_named_both():
    """O252."""

    class Other(Actor[None], group="shop.carts"):
        @decide
        def ring(self, state, command: Ring): ...

    message = refused(Cart, Other)
    assert message.startswith("two reactors share the group 'shop.carts': sourced.testing.shop.Cart and tests.")
    assert message.endswith("Other; give one of them a name of its own with group=…")


def test_two_actors_that_decide_one_command_are_named_both():
    class Gong(Actor[None]):
        @decide
        def ring(self, state, command: Ring): ...

    message = refused(Bell, Gong)
    assert message.startswith("Ring is decided by ")
    assert "Bell and by " in message
    assert message.endswith("Gong; a command has one actor")


def test_two_messages_under_one_name_are_named_both():
    class Elsewhere(Command, type="ring"): ...

    class Gong(Actor[None]):
        @decide
        def ring(self, state, command: Elsewhere): ...

    message = refused(Bell, Gong)
    assert "two messages are stored as 'ring'" in message
    assert "Ring and " in message
    assert "Elsewhere; give one a type=" in message


def test_what_was_refused_is_no_part_of_the_app():
    class Gong(Actor[None]):
        @decide
        def gong(self, state, command: Close): ...
        @decide
        def ring(self, state, command: Ring): ...

    app = Sourced()
    app.register(Bell)
    with pytest.raises(DefinitionError):
        app.register(Gong)
    assert [group.name for group in app.groups.list()] == ["Bell"]
    with pytest.raises(NotKnown):
        app.execute(Close(), to="b")
    assert app.execute(Ring(), to="b").events


@pytest.mark.parametrize("thing", [None, 3, "Cart", CartState, [Bell, Cart], AddItem("tea"), Sourced, object()])
def test_what_is_no_reactor(thing):
    message = refused(thing)
    assert "expected actors, projectors and other reactors, one by one, found" in message
    assert repr(thing) in message


def test_reactors_that_handle_nothing():
    class Idle(Actor[None]): ...

    class Empty(Reactor): ...

    for idle in (Idle, Empty, Actor, Reactor):
        assert f"{idle.__qualname__} handles no messages; give it methods or `handles`" in refused(idle)


def test_a_reactor_with_dependencies_is_registered_as_an_instance():
    class Mailer(Reactor):
        handles = (Rang,)

        def __init__(self, outbox):
            self.outbox = outbox

        def handle(self, delivery):
            self.outbox.append(delivery.message.payload.tone)

    message = refused(Mailer)
    assert "Mailer() failed: " in message
    assert "missing 1 required positional argument: 'outbox'" in message
    assert "register one that you made: app.register(" in message
    outbox: list[str] = []
    app = Sourced()
    app.register(Mailer(outbox), Bell)
    app.execute(Ring("b"), to="b")
    app.drain()
    assert outbox == ["b"]


def test_an_actor_with_dependencies_is_loaded_by_its_class():
    class Tuned(Actor[list[str]]):
        def __init__(self, tone):
            self.tone = tone

        def initial(self, stream):
            return [self.tone]

        @decide
        def ring(self, state, command: Ring):
            yield Rang(self.tone)

        @evolve
        def rang(self, state, event: Rang):
            state.append(event.tone)

    app = Sourced()
    app.register(Tuned("c"))
    assert app.load(Tuned, "b").execute(Ring()).events[0].payload == Rang("c")
    assert app.load(Tuned, "b").state == ["c", "c"]


def test_a_message_class_or_a_family_is_only_made_known():
    class Family(Event, namespace="family"): ...

    class Member(Family): ...

    app = Sourced()
    app.register(Family, Ring)
    Sourced(app.store).append("s", [Member(), Ring()])
    assert [m.payload for m in app.read_all()] == [Member(), Ring()]
    assert app.groups.list() == []


@pytest.mark.parametrize("start", ["end", 3, None, datetime(2026, 1, 1), lambda: "yesterday"])  # noqa: DTZ001
def test_a_start_that_is_none(start):
    """G132."""
    late = type("Late", (Bell,), {"start_from": staticmethod(start) if callable(start) else start})
    assert "start_from: expected 'beginning', 'now' or a time with a zone, found" in refused(late)


def test_the_messages_of_what_was_refused_are_not_known_either():
    class Wrong(Bell, group="wrong"):
        start_from = "the end"  # type: ignore[assignment]

    class Other(Command, type="ring"): ...

    app = Sourced()
    with pytest.raises(DefinitionError):
        app.register(Wrong)
    app.register(Other)


def test_a_start_that_is_asked_for_is_asked_once():
    asked: list[object] = []

    class Late(Bell, group="late"):
        def start_from(self):
            asked.append(self)
            return datetime(2026, 1, 1, tzinfo=UTC)

    app = Sourced()
    app.register(Late)
    app.drain()
    app.register(Late)
    app.drain()
    assert len(asked) == 1


def test_registering_late_is_as_good_as_early():
    app = Sourced()
    app.dispatch(Ring(), to="b")
    assert app.drain() == 0
    app.register(Bell)
    assert app.drain() == 1
    assert [m.payload for m in app.history("b")] == [Ring(), Rang("a")]
