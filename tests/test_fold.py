"""A state, folded from one stream's messages in order, from the first state on."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from sourced import Actor, Command, Event, Message, decide, evolve
from sourced.errors import DefinitionError, DifferentStream, SmallerSequence


class Add(Command, type="cart.add"):
    product: str


class Added(Event, type="cart.added"):
    product: str


class Noted(Event, type="cart.noted"): ...


@dataclass
class CartState:
    id: str
    items: list[str] = field(default_factory=list)


class Cart(Actor[CartState]):
    @decide
    def add(self, cart: CartState, command: Add):
        yield Added(command.product)

    @evolve
    def added(self, cart: CartState, event: Added):
        cart.items.append(event.product)


def of(stream, *payloads, after=0):
    """Messages as they are read from a stream."""
    root = Message.new(Noted(), stream=stream)
    return [root.follow(payload, seq=after + n) for n, payload in enumerate(payloads, 1)]


# -- evolving ----------------------------------------------------------------------------------------------------


def test_events_are_folded_into_the_state_and_move_the_seq():
    """B25."""
    cart = Cart.blank("c1")
    assert (cart.seq, cart.state) == (0, CartState("c1"))
    assert cart.evolve(*of("c1", Added("tea"), Added("pot"))) is cart.state
    assert (cart.seq, cart.state.items) == (2, ["tea", "pot"])


def test_a_message_of_another_stream_or_one_seen_before_is_refused():
    """B26. Where it stops, the state stays as of the last message that fitted."""
    cart = Cart.blank("c1")
    with pytest.raises(DifferentStream) as different:
        cart.evolve(*of("c1", Added("tea")), *of("c2", Added("pot")))
    assert (different.value.expected, different.value.found) == ("c1", "c2")
    for seq in (1, 0):
        with pytest.raises(SmallerSequence) as smaller:
            cart.evolve(*of("c1", Added("cup"), after=seq - 1))
        assert (smaller.value.at, smaller.value.found) == (1, seq)
    assert (cart.seq, cart.state.items) == (1, ["tea"])


def test_a_message_nobody_evolves_by_only_moves_the_seq():
    """B27. So does a command, as histories hold them too; and a seq may be left out."""
    cart = Cart.blank("c1")
    cart.evolve(*of("c1", Noted(), Add("tea")), *of("c1", Noted(), after=5))
    assert (cart.seq, cart.state) == (6, CartState("c1"))


def test_evolving_may_return_the_next_state_instead():
    class Counter(Actor[int]):
        def initial(self, stream: str) -> int:
            return 0

        @decide
        def add(self, count: int, command: Add):
            seen.append((yield Added("tea")))
            seen.append((yield Added("pot")))

        @evolve
        def added(self, count: int, event: Message[Added]) -> int:
            return count + 10**event.seq

    seen: list[int] = []
    counter = Counter.blank("c1")
    counter.add("tea")
    assert (counter.state, seen) == (110, [10, 110])


def test_before_evolve_runs_before_each_message_that_is_evolved_by():
    """B41. And for no other."""

    class Watched(Cart):
        def before_evolve(self, state: CartState, message: Message[Any]) -> None:
            state.items.append(f"{message.seq}:")

    cart = Watched.blank("c1")
    cart.evolve(*of("c1", Added("tea"), Noted(), Added("pot")))
    assert cart.state.items == ["1:", "tea", "3:", "pot"]
    cart.add("cup")
    assert cart.state.items[-2:] == ["4:", "cup"]


# -- the first state -----------------------------------------------------------------------------------------------


def test_the_first_state_knows_its_stream():
    assert Cart.blank("c1").state == CartState("c1")
    assert Cart.blank("c1").state is not Cart.blank("c1").state


class Kept(Actor[CartState]):
    @evolve
    def added(self, state: Any, event: Added): ...


def test_an_actor_without_a_state_has_none():
    class Stateless(Actor[None]): ...

    class Silent(Actor): ...  # type: ignore[type-arg]

    class Heir(Kept): ...

    assert (Stateless.blank("c1").state, Silent.blank("c1").state) == (None, None)
    assert Heir.blank("c1").state == CartState("c1")


@pytest.mark.parametrize("state", [dict[str, int], list[str], set, int, str, bytes, object, CartState | None])
def test_a_state_that_cannot_be_made_from_a_stream_has_to_say_how_it_starts(state: Any):
    """A list would take the stream's name letter by letter."""
    actor: Any = type("Odd", (Kept,), {"made_of": None})
    actor.made_of = state
    with pytest.raises(DefinitionError, match=r"Odd: .*override `initial\(self, stream\)`"):
        actor.blank("c1")
