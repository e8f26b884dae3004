"""Rounds hand every message to every group once, in order per stream, whatever the batch and the number of workers."""

import threading
from typing import Any

import pytest

from sourced import Batch, Delivery, Event, Park, Projector, Rejected, Send, Sourced, evolve, sync
from sourced.actions import Actions
from sourced.ops import Statement
from sourced.store import Store
from sourced.testing import CrashingStore, VirtualClock
from sourced.testing.shop import AddItem, Cart, Close, ItemAdded, Stock
from tests.facts import PATIENCE
from tests.rows import Sales, table
from tests.runtime.listener import Ignored, Listener, Noted, listening, streams, together


def test_two_workers_at_once_get_different_streams(store: Store):
    """E78. While one worker is busy with a stream, another one gets the other stream, and no message comes twice."""
    busy, free = threading.Event(), threading.Event()
    first, second = streams(2)

    def hold(delivery: Delivery) -> Actions:
        busy.set()
        assert free.wait(PATIENCE)
        return ()

    slow, holder = listening(hold, store=store, batch=1)
    quick, listener = listening(store=store)
    slow.append(first, Noted())

    def work_beside_it() -> None:
        assert busy.wait(PATIENCE)
        quick.append(second, Noted())
        try:
            assert quick.drain() == 1
        finally:
            free.set()

    together(slow.drain, work_beside_it)
    assert (holder.places, listener.places) == ([(first, 1)], [(second, 1)])


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_three_workers_see_every_stream_in_order_and_miss_nothing(batch: int, store: Store):
    """E79. 100 and 120 events in two streams, three workers at once, each an app of its own on one store."""
    workers = [listening(store=store, batch=batch) for _ in range(3)]
    app = workers[0][0]
    for n, stream in ((100, "a"), (120, "b")):
        app.append(stream, [Noted() for _ in range(n)])
    together(*(worker.drain for worker, _ in workers))
    seen = [place for _, listener in workers for place in listener.places]
    assert sorted(seen) == [("a", n) for n in range(1, 101)] + [("b", n) for n in range(1, 121)]
    for _, listener in workers:
        for stream in "ab":
            mine = [seq for name, seq in listener.places if name == stream]
            assert mine == sorted(mine)


def test_threads_may_share_one_app(store: Store):
    """Beyond E79: three threads drain one app, its actors, their memos and a projection; it is as if one had."""
    app = Sourced(store, batch=10)
    app.register(Cart, Stock, Sales)
    for n in range(300):
        app.dispatch(AddItem(f"p{n % 7}"), to=f"cart-{n % 20}")
    together(*(app.drain,) * 3)
    app.drain()
    assert sum(app.load(Stock, f"stock-p{n}").state.reserved for n in range(7)) == 300
    assert sum(row["items"] for row in table(app.store, "sales").values()) == 300
    for n in range(20):
        assert sum(app.load(Cart, f"cart-{n}").state.items.values()) == 15


def test_every_group_starts_from_its_own_offset(store: Store):
    """E80."""
    app, early = listening(store=store)
    app.append("s", [Noted("a"), Noted("b")])
    app.drain()

    class Late(Listener, group="late"): ...

    late = Late()
    app.register(late)
    app.drain()
    assert early.texts == late.texts == ["a", "b"]


def test_a_message_of_another_type_is_never_delivered_and_moves_no_statistics(store: Store):
    """E81. When a handled one comes later in that stream, it is delivered."""
    app, listener = listening(store=store)
    app.append("s", Ignored())
    assert app.drain() == 0
    info = app.groups.get(listener)
    assert (listener.seen, info.oldest, info.newest) == ([], 0, 0)
    app.append("s", Noted("wanted"))
    assert app.drain() == 1
    assert (listener.texts, app.groups.get(listener).newest) == (["wanted"], 2)


def test_with_nothing_pending_no_handler_is_called(store: Store):
    """E82."""
    app, listener = listening(store=store)
    assert app.drain() == 0
    app.append("s", Noted())
    app.drain()
    listener.forget()
    assert (app.drain(), listener.seen) == (0, [])


def test_a_batch_is_bounded_and_in_order_and_of_one_stream(store: Store):
    """E83. Five events in two batches of three and two; what the group does not handle is not among them."""
    batches: list[list[int]] = []

    class Tally(Projector[None]):
        batch_size = 3

        @evolve
        def noted(self, state: None, event: Noted): ...

        @sync
        def see(self, state: None, batch: Batch, tx: object):
            batches.append([message.seq for message in batch.events])
            assert {message.stream for message in batch.events} == {batch.stream}

    app = Sourced(store)
    app.register(Tally)
    app.append("s", [Noted(), Ignored(), Noted(), Noted(), Ignored(), Noted(), Noted()])
    app.drain()
    assert batches == [[1, 3, 4], [6, 7]]


def test_a_long_backlog_is_read_in_batches_and_what_comes_later_is_picked_up(store: Store):
    """H147. 250 events at 100 a batch are three reads; then the checkpoint is at 250, and the next event is found."""
    app, listener = listening(batch=100, store=store)
    app.append("s", [Noted() for _ in range(250)])
    assert [app.drain(limit=1) for _ in range(4)] == [100, 100, 50, 0]
    info = app.groups.get(listener)
    assert (info.newest, info.lag) == (250, 0)
    app.append("s", Noted())
    assert app.drain() == 1


@pytest.mark.parametrize("answer", [(), [], None, ""])
def test_an_empty_answer_acknowledges(answer: Actions, store: Store):
    """E85. On purpose unlike the originals: who has nothing to ask for is through; RetryAt says 'again'."""
    app, listener = listening(lambda delivery: answer, store=store)
    app.append("s", Noted())
    assert (app.drain(), app.drain()) == (1, 0)
    assert app.groups.get(listener).lag == 0


@pytest.mark.parametrize("batch", [1, 2, 500])
@pytest.mark.parametrize("cache", [0, 10_000])
def test_the_second_command_of_a_batch_sees_the_events_of_the_first(batch: int, cache: int, store: Store):
    """E99. Both are decided, in order, and their events stand one after the other, whatever the batch."""
    app = Sourced(store, batch=batch, cache=cache)
    app.register(Cart)
    for command in (AddItem("p"), Close(), AddItem("q")):
        app.dispatch(command, to="c")
    app.drain()
    added, closed, rejected = app.history("c", after=3)
    assert [m.payload for m in (added, closed)] == [ItemAdded("p", 1), type(closed.payload)()]
    assert isinstance(rejected.payload, Rejected)
    assert [m.seq for m in app.history("c")] == [1, 2, 3, 4, 5, 6]
    assert app.load(Cart, "c").state.items == {"p": 1}


def test_the_one_wanted_stream_among_many_is_found_by_the_first_round(store: Store):
    """E106."""
    app, listener = listening(store=store)
    for n in range(250):
        app.append(f"other-{n}", Ignored())
    app.append("wanted", Noted())
    assert app.drain(limit=1) == 1
    assert listener.places == [("wanted", 1)]


def test_a_limit_ends_a_drain_and_the_next_goes_on_there(store: Store):
    """`drain(limit=…)` stops after the pass that reaches the limit; nothing is lost in between."""
    app, listener = listening(batch=2, store=store)
    app.append("s", [Noted(str(n)) for n in range(5)])
    assert app.drain(limit=1) == 2
    assert app.groups.get(listener).lag == 3
    assert app.drain() == 3
    assert listener.texts == ["0", "1", "2", "3", "4"]


def test_messages_that_handlers_cause_are_handled_by_the_same_drain(store: Store):
    """A cascade runs to its end: each delivery asks for the next one, in another stream."""

    def pass_on(delivery: Delivery) -> Actions:
        left = int(delivery.message.payload.text)
        following = delivery.message.follow(Noted(str(left - 1)), stream=f"s{left - 1}", now=delivery.now)
        return (Send((following,)),) if left else ()

    app, listener = listening(pass_on, store=store)
    app.append("s9", Noted("9"))
    assert app.drain() == 10
    assert [stream for stream, _ in listener.places] == [f"s{n}" for n in reversed(range(10))]


def test_order_is_kept_when_streams_share_a_shard(store: Store):
    """A shard is a convenience of the store: streams that share one are interleaved, and each stays in order."""
    first, second = streams(2, apart=False)
    app, listener = listening(batch=3, store=store)
    for n in range(10):
        app.append((first, second)[n % 2], Noted(str(n)))
    app.drain()
    assert len(listener.seen) == 10
    for stream in (first, second):
        assert [seq for name, seq in listener.places if name == stream] == [1, 2, 3, 4, 5]


def test_a_group_that_handles_more_types_than_it_used_to_goes_on_with_all_of_them(store: Store):
    """A newer version of a group sees the new type from its checkpoint on; only a reset brings back older ones."""
    clock = VirtualClock()
    app, _ = listening(store=store, clock=clock)
    app.append("s", [Noted("a"), Ignored()])
    app.drain()

    class Wider(Listener, group="listener"):
        handles: tuple[type[Event], ...] = (Noted, Ignored)  # type: ignore[assignment]

    newer, wider = Sourced(store, clock=clock), Wider()
    newer.register(wider)
    newer.append("s", [Ignored(), Noted("b")])
    newer.drain()
    assert wider.places == [("s", 3), ("s", 4)]


def test_a_long_backlog_is_worked_off_a_few_streams_at_a_time(store: Store):
    """So that a row is loaded once for many messages; and at the end of it rounds are broad again."""
    loads: list[str] = []

    class Counted(Sales, group="counted"):
        def load(self, key: str, tx: Any) -> Any:
            loads.append(key)
            return super().load(key, tx)

    app = Sourced(store, batch=200)
    app.register(Counted)
    for n in range(40):
        app.append(f"s-{n}", [ItemAdded("pen", 1) for _ in range(100)])
    assert app.drain() == 4000
    assert len(loads) < 400  # one for each stream in each round would be thousands
    assert table(store, "sales") == {f"s-{n}": {"items": 100} for n in range(40)}
    for n in range(40):
        app.append(f"s-{n}", ItemAdded("pen", 1))
    assert app.drain(limit=1) == 40


@pytest.mark.parametrize("fails", [False, True])
def test_sync_blocks_share_a_savepoint_until_one_of_them_fails(fails: bool, store: Store):
    """Then each has its own again, and the one that failed takes nobody along."""

    class Picky(Sales, group="picky"):
        @sync
        def refuse(self, row: dict[str, int], batch: Any, tx: Any) -> None:
            if fails and batch.stream == "s-3":
                raise ValueError("not this one")

    said: list[str] = []

    class Watched(CrashingStore):
        def reached(self, statement: Statement) -> None:
            said.append(statement.verb)

    watched: Any = Watched(store, 0)
    app = Sourced(watched, errors=Park())
    app.register(Picky)
    for n in range(9):
        app.append(f"s-{n}", ItemAdded("pen", 1))
    app.drain()
    assert said.count("savepoint") == (10 if fails else 1)
    refused = {"s-3"} if fails else set[str]()
    assert {each.stream for each in app.parked.list()} == refused
    assert set(table(store, "sales")) == {f"s-{n}" for n in range(9)} - refused
