"""Stored names to classes and back: what was written yesterday is read by today's classes, or stays what it is."""

from typing import Annotated, Any

import pytest

from sourced import Actor, Command, Event, Invalid, Meta, Projector, Sourced, Unknown, decide, evolve, react
from sourced.errors import DefinitionError, UnknownMessage
from sourced.messages import Payload
from sourced.stores.memory import MemoryStore


class Public(Command, namespace="public"): ...


class SignUp(Public):
    email: str


class Suspend(Command, namespace="internal"): ...


class SuspendUser(Suspend):
    user: str


class SignedUp(Event, type="users.signed_up"):
    email: str


def knowing(*messages, store=None):
    app = Sourced(store=store or MemoryStore())
    app.register(*messages)
    return app


# -- names ---------------------------------------------------------------------------------------------------------


def test_a_class_is_found_from_every_family_above_it_and_from_no_other():
    """A13. The families of one app are asked; a name outside them is unknown, and the error says which."""
    codec = knowing(Public, Suspend, SignedUp)._engine.codec
    for family in (Payload, Command, Public, (Suspend, Public)):
        assert codec.find("public.sign_up", within=family) is SignUp
    for name, family in (("users.signed_up", Command), ("internal.suspend_user", Public), ("nobody", Payload)):
        with pytest.raises(UnknownMessage, match=name) as unknown:
            codec.find(name, within=family)
        assert unknown.value.name == name


def test_registering_a_family_makes_its_members_known_at_every_depth():
    class Deep(Public, namespace="public.deep"): ...

    class Deeper(Deep): ...

    known = set(knowing(Public)._engine.codec.known())
    assert {SignUp, Deeper} < known
    assert not known & {Public, Deep, SuspendUser, SignedUp}


def test_two_classes_under_one_name_are_refused_when_registered():
    """A14. On purpose not "the later definition wins": which class reads a row must not depend on import order."""

    class Again(Event, type="users.signed_up"): ...

    class Aliased(Event, aliases=("users.signed_up",)): ...

    for second in (Again, Aliased):
        app = knowing(SignedUp)
        with pytest.raises(DefinitionError, match=rf"'users.signed_up': .*SignedUp and .*{second.__name__}; give one"):
            app.register(second)
        app.register(SignedUp)  # the same again changes nothing
    knowing(Again)  # and another app knows what it likes


def test_an_actor_whose_messages_clash_is_not_registered_at_all():
    class Again(Event, type="users.signed_up"): ...

    class Greeter(Actor[None]):
        @react
        def signed_up(self, state: None, event: Again): ...

    app = knowing(SignedUp)
    with pytest.raises(DefinitionError, match=r"two messages are stored as 'users\.signed_up'"):
        app.register(Greeter)
    assert app.groups.list() == []


def test_an_actor_brings_along_what_its_handlers_say():
    """So the events it yields can be read although nobody evolves by them."""

    class Greeter(Actor[None]):
        class Greet(Command):
            name: str

        class Greeted(Event): ...

        @decide
        def greet(self, state: None, command: Greet):
            yield self.Greeted() if command.name else SignedUp("")

    names = {cls.__sourced__.name for cls in knowing(Greeter)._engine.codec.known()}
    assert names >= {"greeter.greet", "greeter.greeted", "users.signed_up"}


def test_an_old_name_is_read_by_the_class_that_took_it_over():
    """And what is written from now on has the new name; whoever handles the class gets both."""

    class Placed(Event, type="carts.item_put"):
        product: str

    class Put(Event, type="carts.put", aliases=("carts.item_put", "carts.item")):
        product: str

    class Products(Projector[list[str]]):
        def initial(self, stream: str) -> list[str]:
            return []

        @evolve
        def put(self, products: list[str], event: Put) -> None:
            seen.append(event.product)

    seen: list[str] = []
    old = knowing()
    old.append("cart-1", [Placed("tea"), Placed("pot")])
    new = knowing(Products, store=old.store)
    new.append("cart-1", Put("cup"))
    assert [m.payload for m in new.history("cart-1")] == [Put("tea"), Put("pot"), Put("cup")]
    assert [m.type for m in new.read_all()] == ["carts.item_put", "carts.item_put", "carts.put"]
    assert [m.payload for m in new.read_all(types=[Put])] == [Put("tea"), Put("pot"), Put("cup")]
    new.drain()
    assert seen == ["tea", "pot", "cup"]


# -- names without a class -----------------------------------------------------------------------------------------


def test_a_name_without_a_class_is_read_as_unknown_with_its_data():
    writer = knowing()
    writer.append("user-1", [SignedUp("a@b.c"), SignUp("a@b.c")], metadata={"by": "ann"})
    reader = knowing(Public, store=writer.store)
    unknown, known = reader.history("user-1")
    assert unknown.payload == Unknown("users.signed_up", {"email": "a@b.c"})
    assert (unknown.type, unknown.version, unknown.seq, unknown.metadata) == ("users.signed_up", 1, 1, {"by": "ann"})
    assert known.payload == SignUp("a@b.c")


def test_an_unknown_message_does_not_stand_in_the_way_of_an_actor():
    class Gone(Event, type="users.gone"): ...

    class Users(Actor[list[str]]):
        def initial(self, stream: str) -> list[str]:
            return []

        @decide
        def sign_up(self, users: list[str], command: SignUp):
            yield SignedUp(command.email)

        @evolve
        def signed_up(self, users: list[str], event: SignedUp):
            users.append(event.email)

    writer = knowing()
    writer.append("user-1", [SignedUp("a"), Gone(), SignedUp("b")])
    reader = knowing(Users, store=writer.store)
    users = reader.load(Users, "user-1")
    users.execute(SignUp("c"))
    assert (users.state, users.seq) == (["a", "b", "c"], 5)


def test_an_unknown_message_is_passed_on_as_it_came():
    """Copied to another log by a program that has no class for it, it is read there by one that has."""

    class Priced(Event, type="shop.priced", version=3):
        price: int

    source = knowing()
    source.append("p1", Priced(7), metadata={"by": "ann"})
    middle = knowing(store=source.store)
    target = knowing()
    target.append("p1", middle.history("p1"))
    target.register(Priced)
    assert target.history("p1") == source.history("p1")


# -- what can be stored ----------------------------------------------------------------------------------------------


class Measured(Event, type="measured"):
    value: Annotated[float, Meta(ge=0)]
    what: Any = None


@pytest.mark.parametrize("value", ["1.5", None, -1, float("nan"), [1]])
def test_what_could_not_be_read_back_is_not_stored(value):
    """A5. Built in code nothing is checked; storing is where it is refused, together with all that came with it."""
    app = knowing()
    with pytest.raises(Invalid, match=r"^Measured is not valid: .*Expected `?float"):
        app.append("s1", [Measured(1), Measured(value)])
    with pytest.raises(Invalid):
        app.dispatch(Measured(value), to="s1")
    assert app.read_all() == []


def test_what_json_cannot_hold_is_an_error_in_the_program():
    app = knowing()
    with pytest.raises(DefinitionError, match="Measured cannot be stored as JSON: Encoding objects of type object"):
        app.append("s1", Measured(1, what=object()))
    assert app.read_all() == []


def test_a_stored_payload_does_not_change_with_the_object_it_came_from():
    app, values = knowing(Measured), [1]
    app.append("s1", Measured(1, what=values))
    values.append(2)
    app.history("s1")[0].payload.what.append(3)
    assert app.history("s1")[0].payload == Measured(1, what=[1])
