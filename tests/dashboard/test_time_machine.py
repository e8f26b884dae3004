"""What the time machine shows at any point of a stream is what a plain fold of its history gives."""

import asyncio
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourced import Actor, Command, Event, Message, Sourced, decide, evolve, upcast
from sourced.actor import Aggregate
from sourced.dashboard import dashboard, marks
from sourced.dashboard.difference import plain
from sourced.dashboard.marks import Marks
from sourced.store import Entry, Store
from sourced.testing.clock import START, VirtualClock
from tests.dashboard.asking import Caller, typed

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


class Look(Command, type="shelf.look"): ...


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
    for number in range(6):
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

    @settings(max_examples=5, deadline=None, database=None)
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
    page = caller.send("/would/s", command="shelf.put", at=6, **typed(name="jug")).page
    (test,) = re.findall(r'<pre id="scenario"[^>]*>(.*?)</pre>', page, re.DOTALL)
    happened = [repr(each.payload) for each in app.history("s", upto=6) if isinstance(each.payload, PutThere)]
    assert re.findall(r"^        (PutThere.*),$", unescape(test), re.MULTILINE) == happened
    assert "then(PutThere(name='jug', sizes=[2]))" in unescape(test)
    assert len(app.history("s")) == app.load(Shelf, "s").seq  # nothing was stored


def test_a_stream_that_was_stored_in_an_older_version_is_brought_up_to_date(app: Sourced):
    old = app._engine.codec.encode(Message.new(Dusted(), stream="old"))
    stored = msgspec.structs.replace(old, type="shelf.put_there", version=1, payload='{"name": "jar"}')
    app.store.transact(app.store.append([Entry("old", (stored,))]))
    assert shown(Caller(dashboard(app)).see("/streams/old"))["shelves"]["things"] == {"jar": [1, 1]}


# -- marks: states on the way, kept for the next look


class Timed(VirtualClock):
    """It is later when it is told so, and not by being looked at."""

    def elapsed(self) -> float:
        return (self.now() - START).total_seconds()


class Counting:
    """A store that notes how much is read of streams."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def contents(self, stream: str, types: Any, **piece: Any):
        found = yield from self.store.contents(stream, types, **piece)
        self.read += sum(len(each.seqs) for each in found)
        return found


class Long(NamedTuple):
    """A stream that is long by a smaller measure, and somebody who looks at it."""

    app: Sourced
    clock: Timed
    store: Counting
    marks: Marks
    last: int

    def load(self, seq: int, actor: type[Actor[Any]] = Shelf) -> Any:
        loaded = asyncio.run(self.marks.load(self.app._engine.router.actor(actor), "s", seq))
        assert loaded.seq == min(seq, self.last)
        return loaded.state

    def reads(self, seq: int) -> int:
        """How much is read to look at a place."""
        self.store.read = 0
        self.load(seq)
        return self.store.read


@pytest.fixture
def long(store: Store, monkeypatch: pytest.MonkeyPatch) -> Long:
    monkeypatch.setattr(marks, "EVERY", 10)
    clock, counting = Timed(), Counting(store)
    app = Sourced(cast(Store, counting), clock=clock)
    app.register(Shelf, Dated)
    with app.transaction() as tx:
        for number in range(90):
            cleared = [Cleared()] if number % 40 == 39 else []
            tx.append("s", [Put(NAMES[number % 3]), PutThere(NAMES[number % 3], [number]), *cleared])
    return Long(app, clock, counting, Marks(app), len(app.history("s")))


def test_by_way_of_marks_a_state_is_what_a_plain_fold_gives(long: Long):
    """Whoever changes what he was given changes nothing of what others are given."""
    history = long.app.history("s")
    expected = [
        {actor: plain(Aggregate(actor(), "s").evolve(*history[:seq])) for actor in ACTORS}
        for seq in range(long.last + 1)
    ]

    @settings(max_examples=10, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, long.last), st.sampled_from(ACTORS)), min_size=1, max_size=6))
    def jump(places: list[tuple[int, type[Actor[Any]]]]) -> None:
        for seq, actor in places:
            state = long.load(seq, actor)
            assert plain(state) == expected[seq][actor]
            if isinstance(state, ShelfState):
                state.things = {"spoiled": []}
            else:
                state.clear()

    jump()
    assert long.marks.size


def test_a_step_reads_little(long: Long):
    assert long.reads(long.last) == 92  # all that the state is made of
    for seq in (*range(long.last, 150, -1), *range(20, 50)):
        assert long.reads(seq) <= 14


def test_what_follows_is_read_on(long: Long):
    long.load(long.last)
    long.app.append("s", PutThere("jug", [7]))
    state = asyncio.run(long.marks.load(long.app._engine.router.actor(Shelf), "s", long.last + 1)).state
    assert plain(state) == folded(long.app, Shelf, long.last + 1)


def test_after_a_minute_everything_is_read_anew(long: Long):
    long.load(long.last)
    long.clock.advance(60)
    assert long.reads(long.last) < 20
    long.clock.advance(1)
    assert long.reads(long.last) == 92


@pytest.mark.parametrize("then", [0, 92])
def test_a_stream_that_is_gone_or_another_one_is_read_from_its_start(long: Long, new_store: Any, then: int):
    """Somebody put another database in its place."""
    long.load(long.last)
    long.store.store = new_store()
    other = Sourced(long.store.store)
    other.register(Shelf)
    for _ in range(then):
        other.append("s", PutThere("other", []))
    loaded = asyncio.run(long.marks.load(long.app._engine.router.actor(Shelf), "s", long.last))
    assert (plain(loaded.state), loaded.seq) == (folded(other, Shelf, then), then)


def test_marks_take_no_more_room_than_they_may(long: Long, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(marks, "MOST", 2_000)
    for seq in (long.last, 100, 50, long.last):
        for actor in ACTORS:
            assert plain(long.load(seq, actor)) == folded(long.app, actor, seq)
            assert 0 < long.marks.size <= 2_000
    monkeypatch.setattr(marks, "MOST", 0)
    long.clock.advance(61)
    long.load(long.last)
    assert long.reads(long.last) == 92


class Unlike:
    """It leaves out what it is about when it is put into bytes."""

    def __init__(self, lock: bool) -> None:
        self.seen = 0
        self.lock = threading.Lock() if lock else None

    def __getstate__(self) -> Any:
        return {"lock": self.lock, "seen": 0}


@pytest.mark.parametrize("lock", [True, False])
def test_states_that_do_not_come_back_as_they_were_are_not_kept(long: Long, lock: bool):
    class Watch(Actor[Unlike], group="watch"):
        def initial(self, stream: str) -> Unlike:
            return Unlike(lock)

        @evolve
        def put_there(self, state: Unlike, event: PutThere):
            state.seen += 1

        @decide
        def look(self, state: Unlike, command: Look): ...

    long.app.register(Watch)
    assert [long.load(long.last, Watch).seen for _ in range(2)] == [90, 90]
    assert long.marks.size == 0
