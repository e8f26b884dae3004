"""What an actor remembers of a stream between messages is never seen: any batch, cached or not, gives one log."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sourced import Actor, Batch, Command, Events, Park, Rejected, Sourced, after_commit, decide, evolve, sync
from sourced.stores.memory import MemoryStore
from tests.runtime.adder import (
    Add,
    Added,
    Adder,
    AddTwice,
    Fail,
    Nothing,
    Sum,
    TooMuch,
    _plain,
    adder,
    seen_by_reactions,
    told,
)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 500])
@pytest.mark.parametrize("cache", [0, 1, 10_000])
def test_reactions_that_lag_behind_decisions_see_the_state_as_of_their_event(batch: int, cache: int):
    """B32, H142. Commands and events of one stream are in one batch, the events older than what is being decided."""
    app = adder(batch=batch, cache=cache)
    for n in range(1, 6):
        app.dispatch(Add(n), to="s")
        app.execute(Add(10 * n), to="s") if n % 2 else app.dispatch(Nothing(), to="s")
    app.drain()
    seen_by_reactions(app, "s")
    total = app.load(Adder, "s").state.total
    assert total == sum(m.payload.amount for m in app.history("s") if isinstance(m.payload, Added))
    assert app.store.table("sums")["s"][0] == total  # type: ignore[attr-defined]


@pytest.mark.parametrize("batch", [1, 2, 3, 500])
@pytest.mark.parametrize("cache", [0, 10_000])
def test_a_rejection_after_a_yield_leaves_nothing_behind_in_the_middle_of_a_batch(batch: int, cache: int):
    """B46. The events it had yielded are neither stored nor in the state the next command is decided on."""
    app = adder(batch=batch, cache=cache)
    for command in (Add(90), AddTwice(9), Add(5), AddTwice(1), AddTwice(50), Add(3)):
        app.dispatch(command, to="s")
    app.drain()
    decided = [_plain(app, m) for m in app.history("s") if isinstance(m.payload, Added | Rejected)]
    refused = ("rejected", "too_much", [108])
    assert decided[:5] == [Added(90), refused, Added(5), Added(1), Added(1)]
    assert decided[5:] == [("rejected", "too_much", [147]), Added(3)]
    seen_by_reactions(app, "s")


@pytest.mark.parametrize("quiet", [Nothing(), AddTwice(500)])
def test_a_failure_after_a_quiet_command_does_not_hand_a_blank_state_to_the_sync_block(quiet: Command):
    """B46. The failed decision spoilt the state; what is saved for the good prefix is the right state all the same."""
    app = adder(errors=Park())
    app.execute(Add(7), to="s")
    for command in (quiet, Fail()):
        app.dispatch(command, to="s")
    app.drain()
    assert [row.from_seq for row in app.parked.list()] == [4]
    assert app.store.table("sums")["s"] == (7, (7,))  # type: ignore[attr-defined]


def test_an_event_that_cannot_be_stored_is_not_in_the_batch_that_is_saved():
    """Its command fails; the sync block of the good prefix sees neither the event nor what it did to the state."""
    batches: list[tuple[int, list[Any]]] = []

    class Saver(Adder, group="memo.saver"):
        limit = 10_000

        @sync
        def save(self, state: Sum, batch: Batch, tx: Any) -> None:
            batches.append((state.total, [m.payload for m in (*batch.commands, *batch.events)]))

    app = Sourced(errors=Park())
    app.register(Saver)
    app.dispatch(Add(7), to="s")
    app.dispatch(Add(5000), to="s")
    app.drain(limit=1)
    assert batches == [(7, [Add(7), Added(7)])]
    assert app.parked.list()[0].error.startswith("Invalid: Added is not valid: amount")


def test_an_evolve_method_that_lets_a_stop_iteration_slip_fails_its_command():
    """`next(…)` on nothing must not pass for the end of the decision, which would lose the event without a word."""

    class Careless(Actor[Sum]):
        @decide
        def add(self, state: Sum, command: Add) -> Events[Sum]:
            yield Added(command.amount)

        @evolve
        def added(self, state: Sum, event: Added) -> None:
            state.amounts.append(next(n for n in state.amounts if n == event.amount))

    app = Sourced(errors=Park())
    app.register(Careless)
    with pytest.raises(RuntimeError):
        app.execute(Add(1), to="foreground")
    app.dispatch(Add(1), to="background")
    app.drain()
    assert app.history("foreground") == []
    assert [row.stream for row in app.parked.list()] == ["background"]


def test_after_commit_sees_the_state_of_its_batch_whatever_is_decided_in_it():
    """The state it is handed is not the one the next decision works on."""
    seen: list[int] = []

    class Chain(Adder, group="memo.chain"):
        @after_commit
        def go_on(self, state: Sum, batch: Batch) -> None:
            before = state.total
            if state.id == "s" and before < 3:
                app.execute(Add(1), to=state.id)
            seen.append(state.total - before)

    app = Sourced()
    app.register(Chain)
    app.dispatch(Add(1), to="s")
    app.drain()
    assert set(seen) == {0}
    assert app.load(Chain, "s").state.total == 3


commands = st.one_of(
    st.builds(Add, st.integers(0, 60)), st.builds(AddTwice, st.integers(0, 60)), st.just(Nothing()), st.just(Fail())
)


programs = st.lists(
    st.tuples(st.sampled_from(["dispatch", "execute", "drain"]), st.sampled_from(["s", "t"]), commands), max_size=25
)


@settings(max_examples=50, deadline=None, derandomize=True)
@example(program=[("dispatch", "s", Add(1)), ("drain", "s", Fail()), ("dispatch", "s", Fail())], batch=3)
@given(programs, st.sampled_from([1, 2, 3, 5]))
def test_with_and_without_a_cache_any_program_gives_the_same_log(program: Any, batch: int):
    """The cache is only ever a faster way to the same answer."""
    apps = [adder(batch=batch, cache=cache, errors=Park()) for cache in (0, 1, 10_000)]
    for app in apps:
        for verb, stream, command in program:
            if verb == "drain":
                app.drain()
            elif verb == "dispatch":
                app.dispatch(command, to=stream)
            else:
                try:
                    app.execute(command, to=stream)
                except (TooMuch, ValueError):
                    continue
        app.drain()
    assert told(apps[0]) == told(apps[1]) == told(apps[2])
    assert apps[0].store.table("sums") == apps[2].store.table("sums")  # type: ignore[attr-defined]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["s", "t"]), st.integers(0, 60)), max_size=15), st.sampled_from([1, 2, 3, 5]))
def test_two_apps_with_caches_of_their_own_never_decide_on_what_is_out_of_date(work: Any, batch: int):
    """Two processes that take turns on one store end up with sums that no command exceeded."""
    store = MemoryStore()
    apps = [adder(store=store, batch=batch) for _ in range(2)]
    for n, (stream, amount) in enumerate(work):
        apps[n % 2].dispatch(Add(amount), to=stream)
        apps[(n // 2) % 2].drain(limit=1)
    apps[0].drain()
    for stream in ("s", "t"):
        total = 0
        for message in apps[1].history(stream):
            if isinstance(message.payload, Added):
                total += message.payload.amount
        assert total <= Adder.limit
        seen_by_reactions(apps[1], stream)
