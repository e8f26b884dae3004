"""The mistakes of a first day: each error names the thing, what was expected, what was found, and what to do next."""

import asyncio
import copy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sourced import Actor, Command, Event, Exponential, Park, Retry, Sourced, decide, dispatch, evolve, react
from sourced.testing import VirtualClock, given
from sourced.testing.shop import AddItem, Cart, CartState, Close, ItemAdded, Products, Reserve, Sales, Sold, Stock


class Greet(Command):
    name: str


class Greeted(Event):
    name: str


class NeedsMail(Cart, group="needs mail"):
    def __init__(self, mailer):
        self.mailer = mailer


@dataclass
class NoId:
    names: list[str] = field(default_factory=list)


def state_without_an_id():
    class Nameless(Actor[NoId]):
        @decide
        def greet(self, state: NoId, command: Greet):
            yield Greeted(command.name)


class Returns(Actor[None]):
    @decide
    def greet(self, state, command: Greet):
        return Greeted(command.name)


class ListsThem(Actor[None]):
    @decide
    def greet(self, state, command: Greet):
        return [Greeted(command.name)]


class YieldsTheClass(Actor[None]):
    @decide
    def greet(self, state, command: Greet):
        yield Greeted


class Dispatches(Actor[None]):
    @decide
    def greet(self, state, command: Greet):
        yield dispatch(Greeted(command.name), to="elsewhere")


class Commands(Actor[None]):
    @decide
    def greet(self, state, command: Greet):
        yield Greet(command.name)


class Holds(Actor[dict[str, int]]):
    @decide
    def greet(self, state: dict[str, int], command: Greet):
        yield Greeted(command.name)

    @evolve
    def greeted(self, state: dict[str, int], event: Greeted):
        state[event.name] = 1


def shop():
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock, Products)
    return app


def anything(call: Any) -> Any:
    """For mistakes that a type checker would have told already."""
    return call


def greet(actor):
    app = Sourced()
    app.register(actor)
    return app.execute(Greet("you"), to="s")


def never_drained(app):
    app.wait_for(app.dispatch(AddItem("tea"), to="c1"), timeout=0)


def typo(app):
    return app.load(Cart, "c1").exceute(AddItem("tea"))


def app_in_its_transaction(app):
    with app.transaction():
        app.execute(AddItem("tea"), to="c1")


MISTAKES: dict[str, tuple[Any, str]] = {
    "forgot to register, and loads": (
        lambda app: Sourced().load(Cart, "c1"),
        "Cart is not registered here; call app.register(Cart) first",
    ),
    "forgot to register, and executes": (
        lambda app: Sourced().execute(AddItem("tea"), to="c1"),
        "no registered actor decides AddItem; register the actor with a @decide method for it; decided here are: none",
    ),
    "forgot to say where to": (
        lambda app: app.execute(AddItem("tea")),
        "AddItem is not valid: stream: expected to=…, the stream this AddItem is for",
    ),
    "gives the class": (
        lambda app: app.execute(AddItem, to="c1"),
        "expected a command or an event, found the class AddItem; make a AddItem(…)",
    ),
    "gives a dictionary": (
        lambda app: app.dispatch({"product": "tea"}, to="c1"),
        "expected a command or an event, found {'product': 'tea'}",
    ),
    "executes an event": (
        lambda app: app.execute(ItemAdded("tea", 1), to="c1"),
        "ItemAdded; an event is nobody's to decide: store it with app.append(…) or app.dispatch(…)",
    ),
    "executes another's command": (
        lambda app: app.load(Cart, "c1").execute(Reserve("tea", 1)),
        "Cart decides no Reserve; it has no @decide method for it",
    ),
    "mistypes a method": (typo, "decides no command named 'exceute'; it decides: add_item, close"),
    "loads by name": (
        lambda app: app.load("Cart", "c1"),
        "expected the class of a registered actor, found 'Cart'",
    ),
    "loads a projector": (lambda app: app.load(Sales, "c1"), "expected the class of a registered actor, found <class"),
    "loads a row": (
        lambda app: app.load(Products, "tea"),
        "found <class 'sourced.testing.shop.Products'>; a projector's rows are read with app.views(Products)",
    ),
    "asks for the rows by the row": (
        lambda app: app.views(Sold),
        "expected a group's name or the class of a registered reactor, found <class 'sourced.testing.shop.Sold'>; "
        "its rows are kept by shop.products: name that",
    ),
    "rebuilds an actor": (
        lambda app: app.rebuild(Cart),
        "shop.carts: expected a projector, whose rows can be made anew; Cart keeps none",
    ),
    "names a stream by a number": (
        lambda app: app.load(Cart, 5),
        "expected a stream's name, an actor class or a loaded actor, found 5",
    ),
    "registers the state": (lambda app: app.register(CartState), "expected actors, projectors and other reactors"),
    "registers a list": (lambda app: app.register([Cart]), "one by one, found [<class"),
    "registers a class that needs something": (
        lambda app: Sourced().register(NeedsMail),
        "missing 1 required positional argument: 'mailer'; register one that you made: app.register(NeedsMail(…))",
    ),
    "gives the state no id": (
        lambda app: state_without_an_id(),
        "is NoId(stream), and its first field is 'names'; put `id: str` before it, or override `initial(self, stream)`",
    ),
    "has a dictionary for a state": (lambda app: greet(Holds), "override `initial(self, stream)`"),
    "returns the event": (
        lambda app: greet(Returns),
        "Returns.greet returned Greeted(name='you'); a decider yields its events",
    ),
    "returns a list of events": (lambda app: greet(ListsThem), "a decider yields its events"),
    "yields the class": (lambda app: greet(YieldsTheClass), "YieldsTheClass.greet yielded <class"),
    "yields a command": (
        lambda app: greet(Commands),
        "Commands.greet yielded Greet(name='you'); a decider yields events",
    ),
    "dispatches an event": (lambda app: greet(Dispatches), "a decider yields events"),
    "forgot that nobody works": (
        never_drained,
        "nobody has come to it yet; is a worker running, or did anybody call drain()?",
    ),
    "forgot the time zone": (
        lambda app: app.dispatch(AddItem("tea"), to="c1", at=datetime(2030, 1, 1)),  # noqa: DTZ001
        "at: expected a datetime with a zone, found datetime.datetime(2030, 1, 1, 0, 0)",
    ),
    "gives two times": (
        lambda app: app.dispatch(AddItem("tea"), to="c1", at=datetime.now().astimezone(), after=3),  # noqa: TID251
        "expected either `at` or `after`, found both",
    ),
    "gives a time as text": (
        lambda app: app.dispatch(AddItem("tea"), to="c1", after="3 minutes"),
        "expected a number of seconds or a timedelta, found '3 minutes'",
    ),
    "puts an object in the metadata": (
        lambda app: app.execute(AddItem("tea"), to="c1", metadata={"user": object()}),
        "metadata: expected what JSON can hold, found {'user': <object",
    ),
    "opens a path": (
        lambda app: anything(Sourced)(Path("shop.db")),
        "expected a URL such as memory://, or a store, found PosixPath",
    ),
    "gives the policy's class": (
        lambda app: anything(Sourced)(errors=Retry),
        "found the class Retry; make one of it: Retry()",
    ),
    "gives the backoff's class": (
        lambda app: anything(Retry)(backoff=Exponential),
        "Retry(backoff=…): expected a plain function of",
    ),
    "writes a policy of nothing": (
        lambda app: anything(Sourced)(errors=lambda: Park()),
        "expected a plain function of (failure)",
    ),
    "uses the app in its transaction": (app_in_its_transaction, "use the one you were handed"),
    "mistypes a group": (
        lambda app: app.groups.get("carts"),
        "no group named 'carts'; registered are: shop.carts, shop.stock, shop.products",
    ),
    "skips what is not parked": (
        lambda app: app.parked.skip(Cart, "c1", reason="?"),
        "stream 'c1' is not parked for group 'shop.carts'; app.parked.list() tells what is",
    ),
    "retries what is not parked": (
        lambda app: app.parked.retry(Cart, "c1"),
        "stream 'c1' is not parked for group 'shop.carts'; app.parked.list() tells what is",
    ),
    "expects a list": (
        lambda app: anything(given(Cart, "c1").when(AddItem("tea")).then)([ItemAdded("tea", 1)]),
        "then: expected messages, one by one, found [ItemAdded(",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_what_to_do_next(mistake):
    make, expected = MISTAKES[mistake]
    with pytest.raises(Exception) as error:  # noqa: PT011
        make(shop())
    assert expected in str(error.value)
    assert "NoneType" not in str(error.value)


def test_a_decider_that_forgets_to_yield_is_told_apart_from_one_that_has_nothing_to_say():
    app = shop()
    app.execute(Close(), to="c1")
    assert app.execute(Close(), to="c1").events == []


def test_a_forgotten_await_is_warned_of_by_name():
    async def main():
        with pytest.warns(RuntimeWarning, match=r"coroutine '.*execute' was never awaited"):
            shop().aio.execute(AddItem("tea"), to="c1")

    asyncio.run(main())


def test_a_loaded_actor_shows_what_it_is():
    app = shop()
    cart = app.load(Cart, "c1")
    cart.execute(AddItem("tea"))
    assert repr(cart) == "<Cart 'c1' at seq 2>"


def test_an_aggregate_can_be_copied():
    """To try something out and keep what there was."""
    cart = Cart.blank("c1")
    tried = copy.deepcopy(cart)
    tried.add_item("tea")
    assert (cart.seq, tried.seq, tried.state.items) == (0, 1, {"tea": 1})


def test_a_reaction_that_yields_an_event_is_told_what_reactions_yield():
    class Eager(Actor[None]):
        @react
        def again(self, state, event: Greeted):
            yield Greeted(event.name)

    why = "again yielded Greeted(name='you'); a reaction yields commands or dispatch(command, …)"
    given(Eager, "s").when(Greeted("you")).then_raises(TypeError(f"{Eager.__qualname__}.{why}"))
