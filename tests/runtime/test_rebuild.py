"""A projection rebuilt from the log equals the one before, by however many workers and after whatever crash."""

from collections.abc import Callable
from typing import Any

import pytest

from sourced import Batch, Delivery, EventSourced, Sourced, evolve, sync
from sourced.actions import Actions
from sourced.store import Store
from sourced.testing import Crash, VirtualClock
from sourced.testing.shop import AddItem, Cart, Stock
from tests.rows import Sales, table
from tests.runtime.counter import Counter, alarms, counting, counts
from tests.runtime.listener import Noted, listening, together


@pytest.mark.parametrize("batch", [7, 500])
def test_the_reactions_of_150_streams_all_run_and_all_of_them_are_replayed(batch: int, store: Store):
    """F112, F113."""
    app, listener = listening(batch=batch, store=store)
    app.register(Counter)
    names = {f"s{n}" for n in range(150)}
    for name in sorted(names):
        app.append(name, Noted())
    app.drain()
    assert {m.stream for m in alarms(app)} == names
    assert len(alarms(app)) == 150
    app.groups.reset(Counter)
    app.groups.reset(listener)
    assert counts(app) == {}
    listener.forget()
    app.drain()
    assert counts(app) == dict.fromkeys(names, 1)
    assert listener.replays == [True] * 150
    assert len(alarms(app)) == 150


def emptied(app: Sourced) -> dict[str, Any]:
    app.groups.reset(Sales)
    assert dict(table(app.store, "sales")) == {}
    app.drain()
    return dict(table(app.store, "sales"))


def test_a_rebuilt_table_equals_the_one_before_and_nothing_was_dispatched(store: Store):
    """F117. The reset hook empties the table in the transaction that resets the group."""
    app = Sourced(store, clock=VirtualClock())
    app.register(Cart, Stock, Sales)
    for n in range(20):
        app.dispatch(AddItem(f"p{n % 3}", n), to=f"c{n % 7}")
    app.drain()
    before, log = dict(table(app.store, "sales")), len(app.read_all())
    assert emptied(app) == before
    assert emptied(app) == before
    assert len(app.read_all()) == log + 2  # that it was reset


def test_workers_in_parallel_rebuild_what_one_alone_would_and_a_crash_resumes_from_the_checkpoints(store: Store):
    """F118. Three threads, one of which dies on the way; nothing is counted twice, nothing settled is redone."""
    clock = VirtualClock()
    app = counting(store=store, clock=clock)
    for n in range(300):
        app.append(f"s{n % 30}", Noted())
    app.drain()
    before, log = counts(app), len(app.read_all())
    app.groups.reset(Counter)

    class Dying(Counter, group="counter"):
        saves = 0

        @sync
        def die(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
            self.saves += 1
            if self.saves > 15:
                raise Crash

    def worker(kind: type[Counter]) -> Callable[[], object]:
        each = Sourced(store, clock=clock, batch=10)
        each.register(kind)
        return each.drain

    with pytest.raises(Crash):
        worker(Dying)()
    assert 0 < sum(counts(app).values()) < 300
    together(worker(Counter), worker(Counter))
    clock.advance(31)
    together(worker(Counter), worker(Counter), worker(Counter))
    assert counts(app) == before
    assert len(app.read_all()) == log + 1
    info = app.groups.get(Counter)
    assert (info.lag, info.stragglers) == (0, ())


def test_a_crash_alone_resumes_a_rebuild_from_the_checkpoints(store: Store):
    """F118. What was settled before the process died is not handled again; only the last batch is."""
    app, listener = listening(batch=10, store=store)
    app.append("s", [Noted() for _ in range(50)])
    app.drain()
    app.store.transact(app.store.reset(listener.group))  # not `app.groups.reset`, which would be a message more
    listener.forget()

    def die(delivery: Delivery) -> Actions:
        if delivery.message.seq == 35:
            listener.answer = lambda delivery: ()
            raise Crash
        return ()

    listener.answer = die
    with pytest.raises(Crash):
        app.drain()
    app._engine.clock.advance(31)  # type: ignore[attr-defined]
    app.drain()
    assert [seq for _, seq in listener.places] == [*range(1, 36), *range(31, 51)]
    assert all(listener.replays)


def test_what_one_process_remembers_does_not_spoil_a_replay_that_another_one_asked_for(store: Store):
    """F113. A state kept from before the reset is ahead of what is replayed: it starts over."""
    saved: list[int] = []

    class History(EventSourced[dict[str, int]], group="history"):
        def initial(self, stream: str) -> dict[str, int]:
            return {"n": 0}

        @evolve
        def noted(self, row: dict[str, int], event: Noted) -> None:
            row["n"] += 1

        @sync
        def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
            saved.append(row["n"])

    one, two = Sourced(store, batch=1), Sourced(store, batch=1)
    one.register(History)
    two.register(History)
    one.append("s", [Noted(), Noted(), Noted()])
    one.drain()
    two.groups.reset(History)
    one.drain()
    assert saved == [1, 2, 3, 1, 2, 3]
