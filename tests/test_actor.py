"""An actor in memory decides: its events are applied as they are yielded, and one that fails leaves nothing behind."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

import pytest

from sourced import Actor, Command, Event, Invalid, Message, Meta, Rejection, decide, evolve
from sourced.errors import DifferentStream, NotKnown

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Add(Command, type="cart.add"):
    product: str
    quantity: Annotated[int, Meta(ge=1)] = 1
    then: str = ""


class Added(Event, type="cart.added"):
    product: str
    quantity: Annotated[int, Meta(ge=1)] = 1
    fails: bool = False


class Counted(Event, type="cart.counted"):
    items: int


class Noted(Event, type="cart.noted"): ...


class Look(Command, type="cart.look"): ...


class Remind(Command): ...


class Full(Rejection):
    """The cart is full."""


@dataclass
class CartState:
    id: str
    items: list[str] = field(default_factory=list)


class Cart(Actor[CartState]):
    @decide
    def add(self, cart: CartState, command: Add):
        cart = yield Added(command.product, command.quantity, fails=command.then == "fail to evolve")
        if command.then == "count":
            yield Counted(len(cart.items))
        if command.then == "fail":
            raise RuntimeError("no more")
        if command.then == "reject":
            raise Full(cart.id)

    @decide
    def look(self, cart: CartState, command: Look): ...

    @evolve
    def added(self, cart: CartState, event: Added):
        cart.items.append(event.product)
        if event.fails:
            raise RuntimeError("half done")


def test_events_get_the_next_seqs_and_are_in_the_state():
    """B28. Decided in memory, a command is stored nowhere and takes no seq."""
    cart = Cart.blank("c1")
    command, events = cart.decide(Add("tea", then="count"), now=NOON)
    assert [(e.seq, e.payload) for e in events] == [(1, Added("tea")), (2, Counted(1))]
    assert {(e.stream, e.causation_id, e.correlation_id, e.created_at) for e in events} == {
        ("c1", command.id, command.id, NOON)
    }
    assert (cart.seq, cart.state.items) == (2, ["tea"])
    assert [e.seq for e in cart.decide(Add("pot")).events] == [3]


def test_a_decider_sees_what_it_has_just_yielded():
    """B29. `yield` answers with the state as it is by then."""
    cart = Cart.blank("c1")
    cart.decide(Add("tea"))
    assert cart.decide(Add("pot", then="count")).events[-1].payload == Counted(2)


def test_a_command_may_come_in_its_envelope():
    command = Message.new(Add("tea"), stream="c1", metadata={"user": "ann"})
    decision = Cart.blank("c1").decide(command)
    assert decision.command is command
    assert (decision.events[0].metadata, decision.events[0].causation_id) == ({"user": "ann"}, command.id)
    with pytest.raises(DifferentStream):
        Cart.blank("c2").decide(command)


@pytest.mark.parametrize("then", ["fail", "reject", "fail to evolve"])
def test_a_failed_decision_leaves_nothing_behind(then):
    """B46. No event, no state, no seq: not of what was yielded, nor of what was half evolved."""
    cart = Cart.blank("c1")
    cart.decide(Add("tea"))
    with pytest.raises((RuntimeError, Full)):
        cart.decide(Add("pot", then=then))
    assert (cart.seq, cart.state) == (1, CartState("c1", ["tea"]))
    assert [(e.seq, e.payload) for e in cart.decide(Add("cup")).events] == [(2, Added("cup"))]
    assert cart.state.items == ["tea", "cup"]


def test_an_event_that_could_not_be_stored_is_refused_in_memory_too():
    """So a test on a blank actor does not pass where the real one would fail."""

    class Careless(Actor[list[str]]):
        def initial(self, stream: str) -> list[str]:
            return []

        @decide
        def add(self, items: list[str], command: Add):
            yield Added("tea", -1)

        @evolve
        def added(self, items: list[str], event: Added):
            items.append(event.product)

    careless = Careless.blank("c1")
    with pytest.raises(Invalid, match="Added is not valid: quantity: Expected int >= 1"):
        careless.decide(Add("tea"))
    assert (careless.seq, careless.state) == (0, [])


def test_an_answer_of_no_events_is_a_good_answer():
    """B50. From a decider that yields nothing, and from one without a body."""
    assert Cart.blank("c1").decide(Look()).events == []


def test_a_command_nobody_decides_is_refused():
    with pytest.raises(NotKnown, match="Cart decides no Remind; it has no @decide method for it"):
        Cart.blank("c1").decide(Remind())


def yields(*things):
    yield from things


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([Added("tea")], r"returned \[Added\(.*; a decider yields its events"),
        (Added("tea"), r"returned Added\(.*; a decider yields its events"),
        (yields(Look()), r"yielded Look\(\); a decider yields events"),
        (yields(None), r"yielded None; a decider yields events"),
        (yields(Added), r"yielded <class .*Added'>; a decider yields events"),
    ],
)
def test_a_decider_that_answers_anything_but_events_is_named(answer, why):
    class Odd(Actor[None]):
        @decide
        def look(self, state: None, command: Look):
            return answer

    with pytest.raises(TypeError, match=r"Odd\.look " + why):
        Odd.blank("c1").decide(Look())


def test_what_a_decider_returns_after_its_yields_is_not_lost_silently():
    class Odd(Actor[None]):
        @decide  # pyright: ignore[reportArgumentType]
        def look(self, state: None, command: Look):
            yield Noted()
            return Noted()

    with pytest.raises(TypeError, match=r"Odd\.look returned Noted\(\); a decider .* returns nothing"):
        Odd.blank("c1").decide(Look())
