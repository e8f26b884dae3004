"""The log as an app appends to it and reads it: whole or not at all, in order, and every message once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from sourced import Conflict, Duplicate, Event, Invalid, Message, Sourced, SourcedError
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, ItemAdded, Reserve, Stock


class Noted(Event, type="log.noted"):
    text: str = ""


class Marked(Event, type="log.marked"):
    text: str = ""


@pytest.fixture
def app() -> Sourced:
    app = Sourced(clock=VirtualClock())
    app.register(Noted, Marked, Cart, Stock)
    return app


def noted(stream: str, text: str = "", **options: Any) -> Message[Noted]:
    return Message.new(Noted(text), stream=stream, **options)


def seqs(app: Sourced, stream: str) -> list[int]:
    return [m.seq for m in app.history(stream)]


def told(messages: list[Message[Any]]) -> list[str]:
    return [m.payload.text for m in messages]


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


def test_twenty_decisions_at_once_on_one_stream_are_all_made_on_what_the_others_stored():
    """D65 for commands: a conflict is decided anew, and with as many tries as there are rivals all get through."""
    app = Sourced(clock=VirtualClock())
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


# -- all or nothing ----------------------------------------------------------------------------------------------------


def test_a_list_whose_third_cannot_be_stored_stores_none_and_wakes_nobody(app: Sourced):
    """D70. Whether the store refuses it, or it does not even fit its class."""
    app.append("s2", noted("s2", id="known"))
    third: Any = Noted(3)  # type: ignore[arg-type]
    with app._engine.notifier.listen() as listener:
        for wrong, error in ((noted("s1", id="known"), Duplicate), (third, Invalid), (noted("s2"), Invalid)):
            with pytest.raises(error):
                app.append("s1", [Noted("one"), Noted("two"), wrong])
        assert not listener.wait(0)
        assert seqs(app, "s1") == []
        app.append("s1", Noted("one"))
        assert listener.wait(0)


def test_a_transaction_that_raises_takes_its_appends_back_and_the_error_is_the_callers(app: Sourced):
    """D71."""
    app.append("s1", Noted("kept"))

    def work() -> None:
        with app.transaction() as tx:
            tx.append("s1", Noted("undone"))
            tx.append("s2", Noted("undone"))
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        work()
    assert told(app.read_all()) == ["kept"]
    assert [m.seq for m in app.append("s1", Noted("next"))] == [2]


def test_a_transaction_inside_another_joins_it(app: Sourced):
    """D71. Both commit at the end of the outer one; an error after the inner one's end takes both back."""

    def work(fail: bool) -> None:
        with app.transaction() as outer:
            outer.append("s1", Noted("outer"))
            with outer.transaction() as inner:
                inner.append("s1", Noted("inner"))
                assert told(outer.history("s1"))[-2:] == ["outer", "inner"]
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work(fail=True)
    assert app.read_all() == []
    work(fail=False)
    assert told(app.history("s1")) == ["outer", "inner"]


def test_an_error_in_the_transaction_inside_takes_the_outer_one_back_unless_it_is_caught(app: Sourced):
    """D71."""

    def work() -> None:
        with app.transaction() as outer:
            outer.append("s1", Noted("outer"))
            with outer.transaction() as inner:
                inner.append("s1", Noted("inner"))
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert app.read_all() == []


def test_all_of_it_holds_for_transactions_that_are_awaited(app: Sourced):
    """D71."""

    async def work(fail: bool) -> None:
        async with app.aio.transaction() as outer:
            await outer.append("s1", Noted("outer"))
            async with outer.transaction() as inner:
                await inner.append("s1", Noted("inner"))
            assert told(await outer.history("s1")) == ["outer", "inner"]
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(work(fail=True))
    assert app.read_all() == []
    asyncio.run(work(fail=False))
    assert told(app.history("s1")) == ["outer", "inner"]


def test_transactions_of_many_tasks_at_once_do_not_mix(app: Sourced):
    """D71. Each sees its own and what was committed, never the half of another."""

    async def work(number: int) -> None:
        async with app.aio.transaction() as tx:
            for text in "ab":
                await tx.append(f"s{number % 3}", Noted(f"{number}{text}"))
                await asyncio.sleep(0)
            if number % 4 == 0:
                raise ZeroDivisionError

    async def many() -> list[Any]:
        return await asyncio.gather(*(work(number) for number in range(24)), return_exceptions=True)

    outcomes = asyncio.run(many())
    assert [isinstance(outcome, ZeroDivisionError) for outcome in outcomes] == [n % 4 == 0 for n in range(24)]
    texts = told(app.read_all())
    assert sorted(texts) == sorted(f"{n}{text}" for n in range(24) for text in "ab" if n % 4)
    assert all(first[:-1] == second[:-1] for first, second in zip(texts[::2], texts[1::2], strict=True))


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_read_by_itself_in_order_commands_and_events_alike(app: Sourced):
    """D73. However they are interleaved in the log."""
    for stream in ("c1", "c2", "c1"):
        app.execute(AddItem("tea"), to=stream)
        app.append(stream, Noted(stream))
    assert [(m.seq, m.type) for m in app.history("c1")] == [
        (1, "shop.add_item"), (2, "shop.item_added"), (3, "log.noted"),
        (4, "shop.add_item"), (5, "shop.item_added"), (6, "log.noted"),
    ]  # fmt: skip
    assert {m.stream for m in app.history("c2")} == {"c2"}


def test_a_piece_of_a_stream_is_what_comes_after_one_seq_up_to_another(app: Sourced):
    """C55, O243."""
    app.append("s1", [Noted("1"), Noted("2"), Noted("3")])
    for after, upto, texts in ((1, None, "23"), (0, 2, "12"), (1, 2, "2"), (1, 1, ""), (0, 0, ""), (0, 9, "123")):
        assert "".join(told(app.history("s1", after=after, upto=upto))) == texts
    assert app.history("nobody") == []


def test_a_piece_that_begins_or_ends_before_the_first_seq_is_refused(app: Sourced):
    """O243."""
    app.append("s1", Noted())
    for pieces in ({"after": -1}, {"upto": -1}):
        with pytest.raises(Invalid, match="expected 0 or more"):
            app.history("s1", **pieces)
    with pytest.raises(Invalid, match="expected 0 or more"):
        app.load(Cart, "s1", upto=-1)


def test_the_whole_log_cannot_be_read_from_before_its_beginning(app: Sourced):
    """O244."""
    app.append("s1", [Noted("1"), Noted("2")])
    with pytest.raises(Invalid, match="expected a position, 0 or more, found -1"):
        app.read_all(after=-1)


def test_a_story_is_read_whole_from_any_of_its_messages(app: Sourced):
    """D74. Command, event, and what a reaction made of it; nothing of another story; nothing for an unknown id."""
    command, (added,) = app.execute(AddItem("tea"), to="c1")
    app.execute(AddItem("coffee"), to="c2")
    app.append("c1", Noted("unrelated"))
    app.drain()
    story = app.trace(command)
    assert [m.type for m in story] == ["shop.add_item", "shop.item_added", "shop.reserve", "shop.reserved"]
    assert [m.position for m in story] == sorted(m.position for m in story)
    assert {m.correlation_id for m in story} == {command.id}
    assert app.trace(added) == app.trace(story[3].id) == story
    assert app.trace("nobody") == []


def test_a_request_carries_its_metadata_and_the_version_it_was_made_for(app: Sourced):
    """D75. At that seq its events follow; at any other it is a conflict, and nothing is stored."""
    app.append("c1", Noted())
    command, (event,) = app.execute(AddItem("tea"), to="c1", expected_seq=1, metadata={"user": "u1"})
    assert (command.seq, event.seq) == (2, 3)
    assert command.metadata == event.metadata == {"user": "u1"}
    for stale in (0, 1, 2, 4):
        with pytest.raises(Conflict):
            app.execute(AddItem("tea"), to="c1", expected_seq=stale)
    assert seqs(app, "c1") == [1, 2, 3]


def test_a_rejection_at_the_expected_version_stores_nothing(app: Sourced):
    """D75. And one whose version is out of date is a conflict first: its rejection might be no longer true."""
    app.execute(Close(), to="c1")
    with pytest.raises(CartClosed):
        app.execute(AddItem("tea"), to="c1", expected_seq=2)
    with pytest.raises(Conflict):
        app.execute(AddItem("tea"), to="c1", expected_seq=1)
    assert seqs(app, "c1") == [1, 2]


def test_the_streams_that_changed_last_are_listed_newest_first(app: Sourced):
    """D76."""
    clock = app._engine.clock
    assert isinstance(clock, VirtualClock)
    for number in range(12):
        clock.advance(1)
        app.append(f"s{number}", [Noted(), Noted()])
    clock.advance(1)
    app.append("s0", Noted())
    newest = ["s0", *(f"s{number}" for number in range(11, 0, -1))]
    assert [s.stream for s in app.streams()] == newest[:10]
    for limit, expected in ((3, newest[:3]), (10, newest[:10]), (0, []), (1000, newest), (None, newest)):
        assert [s.stream for s in app.streams(limit)] == expected
    first, second = app.streams(2)
    assert (first.seq, first.updated_at) == (3, clock.now())
    assert (second.seq, second.updated_at) == (2, clock.now() - timedelta(seconds=1))


def test_a_negative_limit_is_refused(app: Sourced):
    """D76."""
    for read in (app.streams, lambda limit: app.read_all(limit=limit)):
        with pytest.raises(Invalid, match="expected 0 or more, or None for all, found -1"):
            read(-1)


def test_the_log_is_read_by_position_and_type_in_both_directions(app: Sourced):
    """O244. Positions are not the messages' business: they are on the envelope."""
    for text in "abc":
        app.append("s1", Noted(text))
        app.append("s2", Marked(text.upper()))
    everything = app.read_all()
    assert told(everything) == ["a", "A", "b", "B", "c", "C"]
    assert told(app.read_all(after=everything[2].position)) == ["B", "c", "C"]
    assert told(app.read_all(types=[Marked])) == ["A", "B", "C"]
    assert told(app.read_all(types=[Noted], limit=2)) == ["a", "b"]
    assert told(app.read_all(types=[])) == []
    assert told(app.read_all(backwards=True, limit=2)) == ["C", "c"]
    assert told(app.read_all(backwards=True, after=everything[2].position)) == ["A", "a"]


def test_no_reader_ever_skips_what_writers_commit_late():
    """D77. Threads dispatch, others hold transactions open, and workers settle whatever they see in between."""
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock)
    start = Barrier(12)

    def write(number: int) -> None:
        start.wait()
        for turn in range(6):
            app.dispatch(AddItem("tea"), to=f"c{(number + turn * 5) % 17}")

    def write_late(number: int) -> None:
        start.wait()
        for turn in range(3):
            with app.transaction() as tx:
                tx.dispatch(AddItem("tea"), to=f"c{(number + turn) % 17}")
                tx.status()
                tx.dispatch(AddItem("tea"), to=f"c{(number * 3 + turn) % 17}")

    def read(_: int) -> None:
        start.wait()
        for _turn in range(4):
            app.drain()

    with ThreadPoolExecutor(12) as threads:
        for each in [threads.submit(work, n) for n in range(4) for work in (write, write_late, read)]:
            each.result()
    app.drain()
    assert app.load(Stock, "stock-tea").state.reserved == 4 * 6 + 4 * 3 * 2
    assert sum(m.payload == ItemAdded("tea", 1) for m in app.read_all()) == 48


def test_what_goes_wrong_in_the_log_is_a_sourced_error():
    assert issubclass(Conflict, SourcedError)
    assert issubclass(Duplicate, SourcedError)
    assert issubclass(Invalid, SourcedError)
