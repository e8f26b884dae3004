"""Loading: an actor with its stream's history folded in; then it executes, reads on, or only thinks ahead."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from sourced import Actor, Command, Event, Message, Rejection, Sourced, decide, evolve, upcast
from sourced.errors import NotKnown, Undecodable
from sourced.ids import new_id
from sourced.store import Entry, Store
from sourced.stores.memory import MemoryStore


class Add(Command, type="cart.add"):
    product: str


class Look(Command, type="cart.look"): ...


class Added(Event, type="cart.added"):
    product: str


class Noted(Event, type="cart.noted"): ...


class Full(Rejection):
    """The cart is full."""


class Cart(Actor[list[str]]):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def add(self, items: list[str], command: Add):
        items = yield Added(command.product)
        if command.product == "elephant":
            raise Full(len(items))
        if command.product == "bomb":
            raise RuntimeError("bang")

    @decide
    def look(self, items: list[str], command: Look): ...

    @evolve
    def added(self, items: list[str], event: Added):
        items.append(event.product)


def shop(*products, store=None):
    app = Sourced(store=store or MemoryStore())
    app.register(Cart)
    app.append("c1", [Added(product) for product in products])
    return app


def seqs(messages):
    return [message.seq for message in messages]


# -- loading -------------------------------------------------------------------------------------------------------


def test_a_class_and_a_stream_are_loaded_into_a_new_actor_each_time():
    """C52."""
    app = shop("tea", "pot")
    one, other = app.load(Cart, "c1"), app.load(Cart, "c1")
    assert one.state == other.state == ["tea", "pot"]
    assert one is not other
    one.execute(Add("cup"))
    assert (other.state, other.seq, app.load(Cart, "c1").seq) == (["tea", "pot"], 2, 4)


def test_a_stream_nobody_wrote_to_is_blank():
    """C59."""
    app = shop()
    cart = app.load(Cart, "c9")
    assert (cart.state, cart.seq, cart.stream, cart.history(), app.history("c9")) == ([], 0, "c9", [], [])
    assert cart.execute(Add("tea")).command.seq == 1


def test_a_stream_is_given_by_name_or_by_whatever_has_one():
    app = shop("tea")
    (added,) = app.history("c1")
    assert app.load(Cart, added).state == app.load(Cart, app.load(Cart, "c1")).state == ["tea"]
    assert app.history(added) == app.history(app.load(Cart, "c1")) == [added]
    assert app.load(Cart, Cart).history() == []


def test_only_a_registered_actor_is_loaded():
    with pytest.raises(NotKnown, match=r"Cart is not registered here; call app.register\(Cart\) first"):
        Sourced().load(Cart, "c1")


def test_what_nobody_evolves_by_moves_the_seq_all_the_same():
    app = shop("tea")
    app.append("c1", [Noted(), Add("queued")])
    assert (app.load(Cart, "c1").state, app.load(Cart, "c1").seq) == (["tea"], 3)


def test_the_awaitable_twin_loads_executes_and_reads_on():
    app = shop("tea")

    async def main():
        cart = await app.aio.load(Cart, "c1")
        await cart.execute(Add("pot"))
        app.append("c1", Added("cup"))
        news = await cart.refresh()
        return cart.state, seqs(news), seqs(await cart.history())

    assert asyncio.run(main()) == (["tea", "pot", "cup"], [4], [1, 2, 3, 4])


# -- catching up -----------------------------------------------------------------------------------------------------


def test_reading_on_brings_only_what_is_new():
    """C53."""
    app = shop("tea")
    cart = app.load(Cart, "c1")
    assert cart.refresh() == []
    app.append("c1", Added("pot"))
    assert [m.payload for m in cart.refresh()] == [Added("pot")]
    assert (cart.state, cart.seq, cart.refresh()) == (["tea", "pot"], 2, [])


def test_executing_on_an_actor_that_is_out_of_date_reads_on_first():
    """The decision is made anew on what others stored meanwhile, until it fits; the caller notices nothing."""
    app = shop("tea")
    cart = app.load(Cart, "c1")
    app.append("c1", Added("pot"))
    assert cart.execute(Add("cup")).command.seq == 3
    assert cart.state == ["tea", "pot", "cup"]


@pytest.mark.parametrize("product", ["elephant", "bomb"])
def test_a_failed_execution_leaves_nothing_behind(product):
    """B46. Not in the log and not in the actor, which goes on from what is stored."""
    app = shop("tea")
    cart = app.load(Cart, "c1")
    with pytest.raises((Full, RuntimeError)):
        cart.execute(Add(product))
    assert (cart.state, cart.seq, len(app.history("c1"))) == (["tea"], 1, 1)
    cart.execute(Add("pot"))
    assert cart.state == app.load(Cart, "c1").state == ["tea", "pot"]


@pytest.mark.parametrize("command", [Look(), Add("cup")])
@pytest.mark.parametrize("others", [[], [Added("pot")], [Added("pot"), Added("pan"), Added("jug")]], ids=len)
def test_what_was_only_thought_through_is_forgotten(command, others):
    """`decide` and `evolve` on a loaded actor look ahead; the log knows nothing of it, so nor does the next step."""
    app = shop("tea")
    cart = app.load(Cart, "c1")
    cart.decide(Add("dream"))
    cart.decide(Look())
    cart.evolve(cart.history()[0].follow(Added("more"), seq=7))
    assert (cart.state, cart.seq, seqs(cart.history())) == (["tea", "dream", "more"], 7, [1])
    app.append("c1", others)
    cart.execute(command)
    assert cart.state == app.load(Cart, "c1").state
    cart.decide(Add("dream"))
    app.append("c1", Added("last"))
    assert [m.payload for m in cart.refresh()] == [Added("last")]
    assert cart.state == app.load(Cart, "c1").state


def test_two_who_read_on_at_the_same_time_fold_everything_once(store: Store):
    async def read_on() -> list[str]:
        app = shop("tea", store=store)
        cart = await app.aio.load(Cart, "c1")
        await app.aio.append("c1", [Added("pot"), Added("cup")])
        await asyncio.gather(cart.refresh(), cart.refresh(), cart.refresh())
        return cart.state

    assert asyncio.run(read_on()) == ["tea", "pot", "cup"]


# -- a long stream -----------------------------------------------------------------------------------------------------


class Put(Event, type="shelf.put", version=3, aliases=("shelf.placed",)):
    name: str
    count: int


@upcast(Put, version=1)
def with_a_count(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "count": 1}


@upcast(Put, version=2)
def with_a_name(data: dict[str, Any]) -> dict[str, Any]:
    return {"name": data.pop("title", "?"), **data}


class Dusted(Event, type="shelf.dusted"): ...


class Empty(Command, type="shelf.empty"): ...


class Emptied(Event, type="shelf.emptied"): ...


class Shelf(Actor[list[Any]], group="shelves"):
    def initial(self, stream: str) -> list[Any]:
        return []

    @decide
    def empty(self, things: list[Any], command: Empty):
        yield Emptied()

    @evolve
    def put(self, things: list[Any], event: Put):
        things.append((event.name, event.count))

    @evolve
    def emptied(self, things: list[Any], event: Emptied):
        things.append(len(things))


def stored(app: Sourced, *messages: tuple[str, int, str]) -> list[str]:
    """As others wrote them: type, version and payload. Their ids."""
    like = app._engine.codec.encode(Message.new(Dusted(), stream="s"))
    records = tuple(
        replace(like, id=new_id(), type=type, version=version, payload=payload) for type, version, payload in messages
    )
    app.store.transact(app.store.append([Entry("s", records)]))
    return [each.id for each in records]


def test_a_long_stream_of_all_sorts_of_messages_is_folded_in_their_order(store: Store):
    """Of several types, versions and names, which are read together, and as of any seq."""
    app = Sourced(store)
    app.register(Shelf)
    sorts = (
        ("shelf.put", 1, '{"title": "a,b"}'), ("shelf.put", 3, '{"name": "c]", "count": 2}'),
        ("shelf.emptied", 1, "{}"), ("shelf.dusted", 1, "{}"), ("shelf.placed", 2, '{"title": "d", "count": 3}'),
        ("shelf.forgotten", 1, "null"), ("shelf.placed", 3, '\n{"name": "[", "count":\n4}'),
    )  # fmt: skip
    stored(app, *(sorts[number % 7 if number % 5 else number % 3] for number in range(700)))
    history, folded = app.history("s"), Shelf.blank("s")
    for each in history:
        folded.evolve(each)
        if each.seq % 83 == 0 or each.seq in (255, 256, 257, 700):
            loaded = app.load(Shelf, "s", upto=each.seq)
            assert (loaded.state, loaded.seq) == (folded.state, each.seq)
    assert app.load(Shelf, "s").state == folded.state


@pytest.mark.parametrize("version", [3, 2, 4])
@pytest.mark.parametrize("payload", ["", "{", "1", '{"name": "a", "count": 1},{"name": "b", "count": 2}', "[1"])
def test_who_loads_is_told_which_message_it_is_that_cannot_be_read(store: Store, payload: str, version: int):
    app = Sourced(store)
    app.register(Shelf)
    good = "shelf.put", 3, '{"name": "a", "count": 1}'
    ids = stored(app, *[good] * 5, ("shelf.put", version, payload), *[good] * 3)
    with pytest.raises(Undecodable) as error:
        app.load(Shelf, "s")
    assert (error.value.message_id, error.value.version) == (ids[5], version)
    assert app.load(Shelf, "s", upto=5).state == [("a", 1)] * 5


def test_what_no_method_is_for_may_be_unreadable(store: Store):
    app = Sourced(store)
    app.register(Shelf)
    stored(app, ("shelf.put", 3, '{"name": "a", "count": 1}'), ("shelf.dusted", 9, "{"), ("shelf.dusted", 1, ""))
    loaded = app.load(Shelf, "s")
    assert (loaded.state, loaded.seq) == ([("a", 1)], 3)


# -- what cannot be folded ---------------------------------------------------------------------------------------------


def test_a_stream_with_a_message_that_cannot_be_read_is_not_half_loaded():
    """It raises, rather than showing a state that leaves something out; what was loaded before starts over."""

    class Broken(Event, type="cart.added"):
        product: list[str]

    app = shop("tea")
    cart = app.load(Cart, "c1")
    writer = Sourced(store=app.store)
    writer.append("c1", [Broken(["pot"])])
    for _ in range(2):
        with pytest.raises(Undecodable):
            app.load(Cart, "c1")
        with pytest.raises(Undecodable):
            cart.refresh()
    assert app.load(Cart, "c1", upto=1).state == ["tea"]


def test_a_state_is_never_folded_twice_because_folding_failed_once():
    class Fragile(Cart):
        well = True

        def before_evolve(self, state: list[str], message):
            if message.payload.product == "glass" and not Fragile.well:
                raise RuntimeError("broken")

    app = Sourced()
    app.register(Fragile)
    cart = app.load(Fragile, "c1")
    cart.add("tea")
    app.append("c1", [Added("pot"), Added("glass")])
    Fragile.well = False
    with pytest.raises(RuntimeError, match="broken"):
        cart.refresh()
    Fragile.well = True
    cart.refresh()
    assert (cart.state, cart.seq) == (["tea", "pot", "glass"], 4)
