"""Commands as methods: `cart.add(product="tea")` on a blank actor thinks, on a loaded one acts."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import pytest

from sourced import Actor, Command, Event, Invalid, Meta, Sourced, decide, evolve
from sourced.ops import Op
from sourced.store import Entry, Outcome
from sourced.stores.memory import MemoryStore


class Add(Command, type="cart.add"):
    product: str
    quantity: Annotated[int, Meta(ge=1)] = 1


class Look(Command, type="cart.look"): ...


class Added(Event, type="cart.added"):
    product: str
    quantity: int


class Remind(Command): ...


class Cart(Actor[list[str]]):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def add(self, items: list[str], command: Add):
        yield Added(command.product, command.quantity)

    @decide
    def look(self, items: list[str], command: Look): ...

    @evolve
    def added(self, items: list[str], event: Added):
        items.append(event.product)


def shop(store=None):
    app = Sourced(store=store or MemoryStore())
    app.register(Cart)
    return app


def test_on_a_blank_actor_nothing_is_stored():
    """B48. The pair of command and events; the state and the seq move."""
    cart = Cart.blank("c1")
    command, events = cart.add(product="tea", quantity="2")
    assert (command.payload, [e.payload for e in events]) == (Add("tea", 2), [Added("tea", 2)])
    assert (cart.seq, cart.state) == (1, ["tea"])
    assert cart.add("pot", 3).command.payload == Add("pot", 3)


def test_on_a_loaded_actor_it_is_stored():
    """B49. What comes back is what is stored, the command included, for it has a place of its own."""
    app = shop()
    cart = app.load(Cart, "c1")
    command, events = cart.add("tea", quantity="2")
    assert app.history("c1") == [command, *events]
    assert [(m.seq, m.payload) for m in (command, *events)] == [(1, Add("tea", 2)), (2, Added("tea", 2))]
    assert (cart.seq, cart.state) == (2, ["tea"])


def test_on_an_actor_loaded_on_the_event_loop_it_is_awaited():
    app = shop()

    async def main():
        cart = await app.aio.load(Cart, "c1")
        await cart.add("tea")
        return cart.state

    assert asyncio.run(main()) == ["tea"]
    assert len(app.history("c1")) == 2


@pytest.mark.parametrize("loaded", [True, False])
def test_an_invalid_one_changes_nothing(loaded):
    """B48, B49. On purpose there is no invalid command to look at: `Invalid` tells every wrong field."""
    app = shop()
    cart = app.load(Cart, "c1") if loaded else Cart.blank("c1")
    with pytest.raises(Invalid) as refused:
        cart.add(quantity=0)
    assert refused.value.fields == {"product": "Required", "quantity": "Expected int >= 1"}
    assert (cart.seq, cart.state, app.history("c1")) == (0, [], [])


class Disk(MemoryStore):
    full = False

    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        if self.full:
            raise OSError("no space left")
        return super().append(entries)


def test_a_store_that_fails_is_heard_and_the_actor_is_where_it_was():
    """B49. The store's own error reaches the caller, and the next command is decided on what is stored."""
    disk = Disk()
    app = shop(disk)
    cart = app.load(Cart, "c1")
    cart.add("tea")
    disk.full = True
    with pytest.raises(OSError, match="no space left"):
        cart.add("pot")
    assert (cart.seq, cart.state) == (2, ["tea"])
    disk.full = False
    cart.add("cup")
    assert app.load(Cart, "c1").state == cart.state == ["tea", "cup"]


def test_one_that_yields_no_events_is_no_failure():
    """B50. The command is stored alone."""
    app = shop()
    decision = app.load(Cart, "c1").look()
    assert decision.events == []
    assert app.history("c1") == [decision.command]


def test_a_misspelt_field_is_an_error_and_never_dropped():
    """Input of strangers is trimmed; a call in a program is meant as it is written."""
    cart = Cart.blank("c1")
    wrong: list[tuple[Any, Any]] = [(("tea",), {"quantiy": 2}), (("tea", 1, 4), {}), (("tea",), {"product": "pot"})]
    for arguments, fields in wrong:
        with pytest.raises(TypeError, match=r"^add: (got an unexpected|too many|multiple values)"):
            cart.add(*arguments, **fields)
    assert cart.seq == 0


def test_no_field_name_is_in_the_way():
    class Odd(Command, rename="camel"):
        self: str
        cls: str
        stream_id: str

    class Odds(Actor[None]):
        @decide
        def odd(self, state: None, command: Odd): ...

    odd = Odds.blank("c1").odd(self="a", cls="b", stream_id="c")
    assert odd.command.payload == Odd("a", "b", "c")


def test_a_name_that_is_no_command_is_no_attribute():
    cart = Cart.blank("c1")
    assert not hasattr(cart, "added")
    with pytest.raises(AttributeError, match="Cart has no attribute and decides no command named 'remind'"):
        cart.remind()


class Apply(Command): ...


class Hold(Command): ...


class Restart(Command): ...


class Follow(Command): ...


class Feed(Command): ...


class Machine(Actor[None]):
    @decide
    def any_of_them(self, state: None, command: Apply | Hold | Restart | Follow | Feed):
        yield Added("", 1)


@pytest.mark.parametrize("command", ["apply", "hold", "restart", "follow", "feed"])
def test_a_command_is_a_method_whatever_it_is_called(command):
    """`machine.restart()` must not forget its state without a word."""
    machine = Machine.blank("m1")
    getattr(machine, command)()
    assert machine.seq == 1
