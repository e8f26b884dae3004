"""A stream that everybody writes to is decided all the same: only what changes its state stands in the way."""

from typing import Any

import pytest

from sourced import Actor, Batch, Command, Event, Events, Park, Rejection, Sourced, decide, evolve, sync
from sourced.store import Store
from sourced.testing import VirtualClock
from tests.facts import somebody_else
from tests.rows import table


class Knock(Command, type="hot.knock"):
    n: int


class Knocked(Event, type="hot.knocked"):
    n: int
    before: int


class Aside(Event, type="hot.aside"): ...


class Enough(Rejection):
    """That is enough."""


class Door(Actor[list[int]], group="hot.door"):
    """While it decides, somebody else puts something at the end of its stream, every single time."""

    def __init__(self, meanwhile: Any) -> None:
        self.meanwhile = meanwhile

    def initial(self, stream: str) -> list[int]:
        return []

    @decide
    def knock(self, knocks: list[int], command: Knock) -> Events[list[int]]:
        somebody_else(lambda: self.meanwhile(command.n))
        yield Knocked(command.n, len(knocks))
        if command.n == 13:
            raise Enough(command.n)

    @evolve
    def knocked(self, knocks: list[int], event: Knocked) -> None:
        knocks.append(event.n)


class Saved(Door, group="hot.door"):
    @sync
    def save(self, knocks: list[int], batch: Batch, tx: Any) -> None:
        for event in batch.events:
            table(tx, "seqs")[event.seq] = event.payload.n if isinstance(event.payload, Knocked) else None


def door(kind: type[Door] = Door, **options: Any) -> Sourced:
    app = Sourced(clock=VirtualClock(), errors=Park(), **options)
    app.register(kind(lambda n: app.dispatch(Knock(100 + n), to="d") if n < 100 else app.append("d", Aside())))
    return app


@pytest.mark.parametrize("kind", [Door, Saved])
@pytest.mark.parametrize("batch", [1, 2, 500])
@pytest.mark.parametrize("cache", [0, 10_000])
def test_queued_commands_and_unrelated_events_do_not_stand_in_the_way(
    kind: type[Door], batch: int, cache: int, store: Store
):
    """E99. The decision was made on a state that they do not change: the events simply follow them."""
    app = door(kind, batch=batch, cache=cache, store=store)
    for n in (1, 2, 13, 3, 4, 5):
        app.dispatch(Knock(n), to="d")
    app.drain()
    assert app.parked.list() == []
    knocked = [m.payload for m in app.history("d") if isinstance(m.payload, Knocked)]
    assert [k.n for k in knocked] == [1, 2, 3, 4, 5, 101, 102, 113, 103, 104, 105]
    assert [k.before for k in knocked] == list(range(11))
    assert app.load(kind, "d").state == [k.n for k in knocked]
    if kind is Saved:
        seqs = {m.seq: getattr(m.payload, "n", None) for m in app.history("d") if m.type != "hot.knock"}
        assert table(app.store, "seqs").items() <= seqs.items()
        assert len(table(app.store, "seqs")) == 12


def test_what_changes_the_state_does_stand_in_the_way(store: Store):
    """E99. The command is decided anew, on a state that includes what came between."""
    left = [1]

    def meanwhile(n: int) -> None:
        if left:
            left.clear()
            app.append("d", Knocked(7, 0))

    app = Sourced(store, clock=VirtualClock())
    app.register(Door(meanwhile))
    app.dispatch(Knock(1), to="d")
    app.drain()
    assert [m.payload for m in app.history("d", after=1)] == [Knocked(7, 0), Knocked(1, 1)]
