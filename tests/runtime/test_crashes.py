"""A process that dies at any moment loses nothing, and nothing happens twice."""

from typing import Any

import pytest

from sourced import AfterCommit, Delivery, Message, Reactor, Retry, Send, Sourced
from sourced.actions import Actions
from sourced.store import Store
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash, CrashingStore, VirtualClock, crash_everywhere
from sourced.testing.shop import AddItem, Cart, Close, Stock
from tests.rows import Sales, table
from tests.runtime.killers import LEASE, restarting
from tests.runtime.listener import Ignored, Noted


def shop(store: Store, **options: Any) -> Sourced:
    app = Sourced(store, **{"clock": VirtualClock(), **options})
    app.register(Cart, Stock, Sales)
    return app


def test_a_process_that_dies_at_any_statement_loses_nothing_and_repeats_nothing():
    """Every statement of a whole cascade: commands, events, reactions in other streams, and a projection.

    On memory; the conformance suite's `Crashes` does the like on every store.
    """

    def orders(store: Store) -> None:
        app = shop(store)
        for n in range(2):
            app.dispatch(AddItem("p", n + 1), to=f"c{n}")
        app.dispatch(Close(), to="c0")
        app.drain()

    def healed(store: Store) -> None:
        app = shop(store, clock=VirtualClock())
        app._engine.clock.advance(LEASE + 1)  # type: ignore[attr-defined]
        app.drain()
        added = [m for m in app.read_all() if isinstance(m.payload, AddItem)]
        total = sum(m.payload.quantity for m in added)
        assert app.load(Stock, "stock-p").state.reserved == total
        assert sum(row["items"] for row in table(store, "sales").values()) == total
        assert [info.lag for info in app.groups.list()] == [0, 0, 0]
        assert all(info.stragglers == () for info in app.groups.list())
        for stream in (state.stream for state in app.streams(None)):
            assert [m.seq for m in app.history(stream)] == list(range(1, len(app.history(stream)) + 1))

    assert crash_everywhere(MemoryStore, orders, healed) > 40


def test_a_process_that_dies_again_and_again_gets_there_in_the_end(store: Store):
    """Every process does a few statements more than the one before; what they add up to is one clean run."""
    clock = VirtualClock()
    patient = Retry(times=1_000, after=0)  # it is not the messages' fault
    app = shop(store, clock=clock, errors=patient)
    for n in range(4):
        app.dispatch(AddItem("p", n + 1), to=f"c{n}")
    for statements in range(1, 60):
        clock.advance(LEASE + 1)
        try:
            shop(CrashingStore(store, statements), clock=clock, errors=patient, batch=2).drain()
        except Crash:
            continue
    assert restarting(app) == 0
    assert app.parked.list() == []
    assert app.load(Stock, "stock-p").state.reserved == 10
    assert sum(row["items"] for row in table(store, "sales").values()) == 10


def test_a_crash_after_the_commit_repeats_nothing(store: Store):
    """What was committed is done: only the after-commit work, which runs at most once, is lost with the process."""
    app = Sourced(store, clock=VirtualClock())
    hooks: list[str] = []

    class Hooked(Reactor):
        handles = (Noted,)

        def handle(self, delivery: Delivery) -> Actions:
            def hook() -> None:
                hooks.append("begun")
                raise Crash

            return (Send((Message.new(Ignored(), stream="t", now=delivery.now),)), AfterCommit(hook))

    app.register(Hooked)
    app.append("s", Noted())
    with pytest.raises(Crash):
        app.drain()
    assert app.drain() == 0
    assert (len(app.history("t")), hooks) == (1, ["begun"])
