"""Somebody writes to a stream while a round decides on it: that stream alone is decided anew, on what is there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sourced import Actor, Append, Batch, Delivery, Event, Events, Message, Park, Retry, Sourced, decide, evolve, sync
from sourced.actions import Actions
from sourced.messages import Command
from sourced.store import Store
from sourced.testing import VirtualClock
from tests.facts import somebody_else
from tests.rows import table
from tests.runtime.listener import Ignored, Noted, listening


class Put(Command, type="shelf.put"):
    thing: str


class WasPut(Event, type="shelf.was_put"):
    thing: str
    behind: int


@dataclass
class ShelfState:
    id: str
    things: list[str] = field(default_factory=list)


class Shelf(Actor[ShelfState], group="shelf"):
    """Says how much stood there when it decided; between deciding and storing, `meanwhile` may do anything."""

    def __init__(self, meanwhile: Callable[[str], object] = lambda thing: None) -> None:
        self.meanwhile = meanwhile

    @decide
    def put(self, shelf: ShelfState, command: Put) -> Events[ShelfState]:
        yield WasPut(command.thing, len(shelf.things))
        somebody_else(lambda: self.meanwhile(command.thing))

    @evolve
    def was_put(self, shelf: ShelfState, event: WasPut) -> None:
        shelf.things.append(event.thing)

    @sync
    def save(self, shelf: ShelfState, batch: Batch, tx: Any) -> None:
        if shelf.id != "simple":
            table(tx, "shelves")[shelf.id] = tuple(shelf.things)


def interrupted(times: int, **options: Any) -> tuple[Sourced, Sourced]:
    """A worker whose decisions on `late` somebody else is ahead of, so many times; and that somebody."""
    clock, left = VirtualClock(), [times]

    def meanwhile(thing: str) -> None:
        if thing == "late" and left[0]:
            left[0] -= 1
            quick.execute(Put(f"quick {times - left[0]}"), to="s")

    app = Sourced(clock=clock, **options)
    quick = Sourced(app.store, clock=clock)
    app.register(Shelf(meanwhile))
    quick.register(Shelf())
    return app, quick


def put(app: Sourced, stream: str) -> list[tuple[str, int]]:
    return [(m.payload.thing, m.payload.behind) for m in app.history(stream) if isinstance(m.payload, WasPut)]


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("cache", [0, 10_000])
def test_a_conflict_is_decided_anew_with_fresh_history(times: int, cache: int, store: Store):
    """E99. The decision that is stored has seen what came between; nothing is held against the command."""
    app, _ = interrupted(times, cache=cache, store=store)
    for thing in ("first", "late", "last"):
        app.dispatch(Put(thing), to="s")
    app.dispatch(Put("elsewhere"), to="t")
    app.drain()
    things = [f"quick {n + 1}" for n in range(times)]
    assert put(app, "t") == [("elsewhere", 0)]
    stored = put(app, "s")
    assert [behind for _, behind in stored] == list(range(times + 3))
    assert [thing for thing, _ in stored if thing in ("first", "late", "last")] == ["first", "late", "last"]
    assert [thing for thing, _ in stored if thing.startswith("quick")] == things
    assert table(app.store, "shelves")["s"] == tuple(thing for thing, _ in stored)
    assert app.groups.get("shelf").stragglers == ()


def test_conflicts_are_not_endless(store: Store):
    """A command that is overtaken every time is a failure in the end; the policy hears of it, and others go on."""
    app, _ = interrupted(1_000, errors=Park(), store=store)
    app.dispatch(Put("late"), to="s")
    app.dispatch(Put("elsewhere"), to="t")
    app.drain()
    (parked,) = app.parked.list()
    assert (parked.stream, parked.from_seq, parked.error.partition(":")[0]) == ("s", 1, "Conflict")
    assert put(app, "t") == [("elsewhere", 0)]
    assert len(put(app, "s")) == 5  # the quick ones: so often it was tried


def test_who_is_overtaken_again_and_again_is_tried_later_as_after_any_failure(store: Store):
    """That others were faster is not held against it: what fails after that has failed once, and not five times."""
    app, _ = interrupted(6, errors=Retry(times=2, after=1), store=store)
    app.dispatch(Put("late"), to="s")
    for behind in (5, 6, 7):
        app.drain()
        assert len(put(app, "s")) == behind
        assert app.parked.list() == []
        app._engine.clock.advance(10)  # type: ignore[attr-defined]
    assert put(app, "s")[-1] == ("late", 6)
    assert app.groups.get("shelf").stragglers == ()


def test_an_append_at_a_place_that_never_comes_is_parked(store: Store):
    """The handler of a low-level reactor that names a place by mistake does not keep a worker busy for ever."""

    def answer(delivery: Delivery) -> Actions:
        return (Append((Message.new(Ignored(), stream="t", now=delivery.now),), 7),)

    app, listener = listening(answer, errors=Retry(times=1, after=1), store=store)
    app.append("s", Noted())
    for _ in range(4):
        app.drain()
        app._engine.clock.advance(60)  # type: ignore[attr-defined]
    assert [row.error.partition(":")[0] for row in app.parked.list()] == ["Conflict"]
    assert len(listener.seen) < 12


def test_a_conflict_in_the_middle_of_many_streams_costs_only_its_own(store: Store):
    """The others are stored by the very round in which it happened."""
    app, _ = interrupted(1, store=store)
    for n in range(20):
        app.dispatch(Put(f"thing {n}"), to=f"t{n}")
    app.dispatch(Put("late"), to="s")
    app.drain(limit=1)
    assert all(put(app, f"t{n}") == [(f"thing {n}", 0)] for n in range(20))
    assert put(app, "s") == [("quick 1", 0)]
    app.drain()
    assert put(app, "s") == [("quick 1", 0), ("late", 1)]


def test_a_batch_that_closes_with_an_error_fails_its_own_stream(store: Store):
    """`closing`, asked once a stream's messages are through, is user code like any handler."""
    app, listener = listening(errors=Park(), store=store)
    original = listener.closing

    def closing(memo: Any) -> Any:
        if memo.stream == "bad":
            raise ValueError("cannot close")
        return original(memo)

    listener.closing = closing  # type: ignore[method-assign]
    app.append("bad", [Noted(), Noted()])
    app.append("good", [Noted(), Noted()])
    app.drain()
    (row,) = app.parked.list()
    assert (row.stream, row.from_seq, row.error) == ("bad", 1, "ValueError: cannot close")
    assert app.groups.get(listener).newest == 4
