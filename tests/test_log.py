"""The log as an app appends to it: in order, without a gap, and every message once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from sourced import Conflict, Duplicate, Invalid, Message, Sourced
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from sourced.testing.shop import AddItem, Cart, Reserve, Stock
from tests.logbook import Marked, Noted, noted, seqs, told


@pytest.fixture
def app(store: Store) -> Sourced:
    app = Sourced(store, clock=VirtualClock())
    app.register(Noted, Marked, Cart, Stock)
    return app


# -- appending ---------------------------------------------------------------------------------------------------------


def test_one_message_or_a_list_of_them_is_appended_and_read_again(app: Sourced):
    """D61. What comes back is what was stored, with its place, and reading it gives the same."""
    (one,) = app.append("s1", Noted("one"))
    more = app.append("s1", [Noted("two"), noted("s1", "three")])
    assert told([one, *more]) == ["one", "two", "three"]
    assert [m.seq for m in (one, *more)] == [1, 2, 3]
    assert app.history("s1") == [one, *more]


def test_an_empty_list_stores_nothing(app: Sourced):
    """D61, D64. Whether a place is expected or not; the answer is the empty list of what was stored."""
    assert app.append("s1", []) == []
    assert app.append("s1", (), expected_seq=0) == []
    assert (app.status().streams, app.status().position) == (0, 0)


def test_an_append_at_a_place_that_is_taken_conflicts_and_changes_nothing(app: Sourced):
    """D62."""
    stored = app.append("s1", Noted("one"), expected_seq=0)
    with pytest.raises(Conflict, match="'s1' is at seq 1, not at the expected 0") as caught:
        app.append("s1", [Noted("another one"), Noted("two")], expected_seq=0)
    assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("s1", 0, 1)
    assert app.read_all() == stored


def test_an_append_beyond_the_end_conflicts_so_that_there_is_never_a_gap(app: Sourced):
    app.append("s1", Noted("one"))
    with pytest.raises(Conflict):
        app.append("s1", Noted("three"), expected_seq=2)
    assert seqs(app, "s1") == [1]


def test_an_append_that_expects_nothing_takes_the_next_places(app: Sourced):
    """D64."""
    app.append("s1", Noted())
    assert [m.seq for m in app.append("s1", Noted())] == [2]
    assert [m.seq for m in app.append("s1", [Noted()] * 3)] == [3, 4, 5]
    assert [m.seq for m in app.append("new", [Noted()] * 2)] == [1, 2]


def test_twenty_threads_at_once_all_find_a_place(app: Sourced):
    """D65."""
    start = Barrier(20)

    def append(number: int) -> None:
        start.wait()
        app.append("s1", Noted(str(number)))

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(append, range(20)))
    assert seqs(app, "s1") == list(range(1, 21))
    assert sorted(told(app.history("s1")), key=int) == [str(number) for number in range(20)]


def test_twenty_tasks_at_once_all_find_a_place(app: Sourced):
    """D65."""

    async def append() -> None:
        await asyncio.gather(*(app.aio.append("s1", Noted(str(number))) for number in range(20)))

    asyncio.run(append())
    assert seqs(app, "s1") == list(range(1, 21))
    assert sorted(told(app.history("s1")), key=int) == [str(number) for number in range(20)]


def test_twenty_decisions_at_once_on_one_stream_are_all_made_on_what_the_others_stored(store: Store):
    """D65 for commands: a conflict is decided anew, and with as many tries as there are rivals all get through."""
    app = Sourced(store, clock=VirtualClock())
    app._engine.tries = 20
    app.register(Stock)
    start = Barrier(20)

    def execute(_: int) -> None:
        start.wait()
        app.execute(Reserve("tea", 1), to="stock-tea")

    with ThreadPoolExecutor(20) as threads:
        list(threads.map(execute, range(20)))
    assert seqs(app, "stock-tea") == list(range(1, 41))
    assert app.load(Stock, "stock-tea").state.reserved == 20


@pytest.mark.parametrize("expected", [0, None])
def test_a_list_with_a_message_of_another_stream_is_refused(app: Sourced, expected: int | None):
    """D66, D67, O242. `Invalid`, and nothing is stored in either stream."""
    lists: list[list[Any]] = [[noted("s2")], [noted("s1"), noted("s2")], [Noted(), noted("s2"), Noted()]]
    for messages in lists:
        with pytest.raises(Invalid, match="expected a message of 's1', found one of 's2'"):
            app.append("s1", messages, expected_seq=expected)
    assert app.read_all() == []


# -- every message once ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["s1", "elsewhere"])
def test_a_stored_id_is_a_duplicate_in_any_stream_and_nothing_is_stored_with_it(app: Sourced, stream: str):
    """D69, O242. It is not a conflict, and it tells what is there."""
    (known,) = app.append("s1", noted("s1", "first", id="known"))
    with pytest.raises(Duplicate) as caught:
        app.append(stream, [Noted("before"), noted(stream, "second", id="known"), Noted("after")])
    assert not isinstance(caught.value, Conflict)
    assert caught.value.ids == ("known",)
    assert [r.position for r in caught.value.records] == [known.position]
    assert app.read_all() == [known]


def test_an_id_twice_in_one_list_is_refused_and_nothing_is_stored(app: Sourced):
    """D69, O242. Before the store is asked: such a list can never be stored, so it is the input that is wrong."""
    with pytest.raises(Invalid, match="found one twice"):
        app.append("s1", [Noted("before"), noted("s1", id="twice"), noted("s1", id="twice")])
    assert app.read_all() == []


def test_dispatching_an_id_again_stores_nothing_and_answers_with_what_is_there(app: Sourced):
    """D69. The idempotent way: for those who are not sure whether their first attempt came through."""
    first = app.dispatch(Message.new(AddItem("tea"), stream="c1", id="order-1", now=START))
    again = app.dispatch(Message.new(AddItem("coffee"), stream="c2", id="order-1", now=START))
    assert again == first
    assert app.read_all() == [first]
    app.drain()
    assert app.dispatch(Message.new(AddItem("tea"), stream="c1", id="order-1", now=START)) == first
    app.drain()
    assert app.load(Cart, "c1").state.items == {"tea": 1}


def test_an_append_that_is_repeated_because_its_answer_was_lost_is_a_duplicate_not_a_conflict(app: Sourced):
    """D69. So it can be told apart from somebody else having been first."""
    mine = [noted("s1", "a"), noted("s1", "b")]
    stored = app.append("s1", mine, expected_seq=0)
    with pytest.raises(Duplicate) as caught:
        app.append("s1", mine, expected_seq=0)
    assert [(r.id, r.seq) for r in caught.value.records] == [(m.id, m.seq) for m in stored]


def test_twenty_threads_that_dispatch_one_id_store_it_once(app: Sourced):
    """D69."""
    start = Barrier(20)

    def dispatch(number: int) -> Message[Any]:
        start.wait()
        return app.dispatch(Message.new(AddItem("tea", number + 1), stream=f"c{number}", id="order-1", now=START))

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(dispatch, range(20)))
    (stored,) = app.read_all()
    assert answers == [stored] * 20
