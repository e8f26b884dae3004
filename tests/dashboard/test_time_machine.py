"""What the time machine shows at any point of a stream is what a plain fold of its history gives."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourced import Actor, Command, Event, Message, Sourced, decide, evolve, upcast
from sourced.actor import Aggregate
from sourced.dashboard import dashboard
from sourced.dashboard.difference import plain
from sourced.store import Entry, Store
from tests.dashboard.asking import Caller

NAMES = ("tea", "pot", "cup")


class Put(Command, type="shelf.put"):
    name: str


class PutThere(Event, type="shelf.put_there", version=2):
    name: str
    sizes: list[int]


@upcast(PutThere, version=1)
def put_there(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "sizes": [1]}


class Dusted(Event, type="shelf.dusted"): ...


class Dust(Command, type="shelf.dust"): ...


class Cleared(Event, type="shelf.cleared"): ...


@dataclass
class ShelfState:
    id: str
    things: dict[str, list[int]] = field(default_factory=dict)
    cleared: int = 0


class Shelf(Actor[ShelfState], group="shelves"):
    @decide
    def put(self, shelf: ShelfState, command: Put):
        yield PutThere(command.name, [len(shelf.things)])

    @evolve
    def put_there(self, shelf: ShelfState, event: PutThere):
        shelf.things.setdefault(event.name, event.sizes).append(len(shelf.things))  # the event's own list

    @evolve
    def cleared(self, shelf: ShelfState, event: Cleared):
        return ShelfState(shelf.id, {}, shelf.cleared + 1)


class Dated(Actor[list[Any]], group="dated"):
    """Its state is made of envelopes."""

    def initial(self, stream: str) -> list[Any]:
        return []

    @evolve
    def happened(self, dates: list[Any], event: Message[PutThere | Dusted]):
        dates.append([event.seq, event.metadata, event.correlation_id])

    @decide
    def dust(self, dates: list[Any], command: Dust):
        yield Dusted()


ACTORS: tuple[type[Actor[Any]], ...] = (Shelf, Dated)


@pytest.fixture
def app(store: Store) -> Sourced:
    app = Sourced(store)
    app.register(Shelf, Dated)
    for number in range(8):
        name = NAMES[number % 3]
        app.append("s", [Put(name), PutThere(name, [number]), Dusted(), *([Cleared()] if number % 3 == 2 else [])])
    return app


def folded(app: Sourced, actor: type[Actor[Any]], seq: int) -> Any:
    """From the first message on, one by one."""
    return plain(Aggregate(actor(), "s").evolve(*app.history("s", upto=seq)))


def shown(page: str) -> Mapping[str, Any]:
    """The states on a page, by whose they are."""
    states = re.findall(r'aria-label="State of ([^"]+)">(.*?)</pre>', page, re.DOTALL)
    return {group: msgspec.json.decode(unescape(state)) for group, state in states}


def changed(page: str, group: str) -> list[str]:
    (card,) = re.findall(rf'<section class="card"><h2>{group}(.*?)</section>', page, re.DOTALL)
    return re.findall(r"<tr><td><code>(.*?)</code>", card)


def test_it_shows_what_a_plain_fold_gives_wherever_one_jumps(app: Sourced):
    """Back and forth; and what was shown before changes nothing of what is shown next."""
    caller, last = Caller(dashboard(app)), app.load(Shelf, "s").seq

    @settings(max_examples=8, deadline=None, database=None)
    @given(st.lists(st.integers(0, last), min_size=1, max_size=4))
    def jump(seqs: list[int]) -> None:
        for seq in seqs:
            page = caller.see(f"/streams/s?at={seq}")
            assert shown(page) == {"shelves": folded(app, Shelf, seq), "dated": folded(app, Dated, seq)}
            if seq:
                different = folded(app, Shelf, seq) != folded(app, Shelf, seq - 1)
                assert bool(changed(page, "shelves")) == different

    jump()


def test_loading_as_of_any_seq_gives_what_a_plain_fold_gives(app: Sourced):
    """The state, and the seq it is of, be that of a message that it is made of or not."""
    last = len(app.history("s"))
    for seq in range(last + 2):
        for actor in ACTORS:
            loaded = app.load(actor, "s", upto=seq)
            assert (plain(loaded.state), loaded.seq) == (folded(app, actor, seq), min(seq, last))


def test_what_it_would_decide_is_decided_on_the_state_as_of_then(app: Sourced):
    """And written down as a test: what the state is made of, and nothing else."""
    caller = Caller(dashboard(app))
    caller.see("/streams/s?at=6")
    page = caller.send("/would/s", command="shelf.put", at=6, name="jug").page
    (test,) = re.findall(r'<pre id="scenario">(.*?)</pre>', page, re.DOTALL)
    happened = [repr(each.payload) for each in app.history("s", upto=6) if isinstance(each.payload, PutThere)]
    assert re.findall(r"^        (PutThere.*),$", unescape(test), re.MULTILINE) == happened
    assert "then(PutThere(name='jug', sizes=[2]))" in unescape(test)
    assert len(app.history("s")) == app.load(Shelf, "s").seq  # nothing was stored


def test_a_stream_that_was_stored_in_an_older_version_is_brought_up_to_date(app: Sourced):
    old = app._engine.codec.encode(Message.new(Dusted(), stream="old"))
    stored = msgspec.structs.replace(old, type="shelf.put_there", version=1, payload='{"name": "jar"}')
    app.store.transact(app.store.append([Entry("old", (stored,))]))
    assert shown(Caller(dashboard(app)).see("/streams/old"))["shelves"]["things"] == {"jar": [1, 1]}
