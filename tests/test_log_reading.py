"""The log as an app reads it: by stream, by position, by story, and nothing is ever skipped."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from sourced import Conflict, Duplicate, Invalid, Sourced, SourcedError
from sourced.store import Store, shard_of
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, ItemAdded, Stock
from tests.logbook import Marked, Noted, seqs, told


@pytest.fixture
def app(clock: VirtualClock, store: Store) -> Sourced:
    app = Sourced(store, clock=clock)
    app.register(Noted, Marked, Cart, Stock)
    return app


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


def test_the_log_is_read_by_time(app: Sourced, clock: VirtualClock):
    for text in "abc":
        app.append("s", Noted(text))
        clock.advance(60)
    made = [m.created_at for m in app.read_all()]
    assert told(app.read_all(since=made[1])) == ["b", "c"]
    assert told(app.read_all(until=made[1])) == ["a"]
    assert told(app.read_all(since=made[0], until=made[2], types=[Noted], backwards=True)) == ["b", "a"]
    with pytest.raises(Invalid, match="expected a datetime with a zone"):
        app.read_all(since=made[1].replace(tzinfo=None))


def test_the_log_is_read_in_pages_that_are_not_read_before_they_are_asked_for(app: Sourced):
    app.append("s", [Noted(str(number)) for number in range(7)])
    pages = app.pages(size=3, types=[Noted])
    assert told(next(pages)) == ["0", "1", "2"]
    app.append("s", Noted("late"))
    assert [told(page) for page in pages] == [["3", "4", "5"], ["6", "late"]]
    assert [told(page) for page in app.pages(size=5, backwards=True)] == [["late", "6", "5", "4", "3"], ["2", "1", "0"]]
    assert list(app.pages(after=99)) == []
    with pytest.raises(Invalid, match="expected 1 or more, found 0"):
        next(app.pages(size=0))

    async def awaited() -> list[list[str]]:
        return [told(page) async for page in app.aio.pages(size=3, after=2)]

    assert asyncio.run(awaited()) == [["2", "3", "4"], ["5", "6", "late"]]


def test_no_reader_ever_skips_what_writers_commit_late(store: Store):
    """D77. Threads dispatch, others hold transactions open, and workers settle whatever they see in between."""
    app = Sourced(store, clock=VirtualClock())
    app.register(Cart, Stock)
    start = Barrier(12)

    def write(number: int) -> None:
        start.wait()
        for turn in range(6):
            app.dispatch(AddItem("tea"), to=f"c{(number + turn * 5) % 17}")

    def write_late(number: int) -> None:
        start.wait()
        for turn in range(3):
            carts = f"c{(number + turn) % 17}", f"c{(number * 3 + turn) % 17}"
            with app.transaction() as tx:
                for cart in sorted(carts, key=shard_of):  # in crossing order two of them could wait for each other
                    tx.dispatch(AddItem("tea"), to=cart)
                    tx.status()

    def read(number: int) -> None:
        start.wait()
        for _ in range(number, number + 4):
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
