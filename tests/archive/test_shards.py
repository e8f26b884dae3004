"""Groups stand in a store with another number of shards where they stood: property by property, in memory."""

import io
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourced import Failure, Park, RetryAt, Sourced
from sourced.actions import Verdict
from sourced.archive import export_to, import_from
from sourced.stores.memory import MemoryStore
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from sourced.testing.conformance.bench import entry
from tests.archive.factory import busy, everything, outcome
from tests.runtime.listener import Listener, Noted, refuse

SHARDS = st.sampled_from([1, 2, 3, 4, 8, 12])


def moved(store: MemoryStore, shards: int) -> MemoryStore:
    file, copy = io.BytesIO(), MemoryStore(shards)
    export_to(store, file, made_at=START)
    file.seek(0)
    import_from(copy, file)
    return copy


def left(store: MemoryStore, *, over: bool) -> tuple[list[tuple[str, int, bool]], set[tuple[str, int]]]:
    """What is still handed out, each with whether it is a replay, and what is parked."""
    clock = VirtualClock()
    app, listener = Sourced(store, clock=clock, batch=7), Listener()
    app.register(listener)
    clock.advance(3600)
    if over:
        app.groups.reset(listener)
    app.drain()
    handed = [(each.message.stream, each.message.seq, each.replaying) for each in listener.seen]
    assert len({each[:2] for each in handed}) == len(handed)
    for stream in {each[0] for each in handed}:
        seqs = [seq for name, seq, _ in handed if name == stream]
        assert seqs == sorted(seqs)
    return sorted(handed), {(row.stream, row.from_seq) for row in app.parked.list()}


def judge(failure: Failure) -> Verdict:
    return Park() if failure.message.payload.text == "park" else RetryAt(failure.now + timedelta(seconds=60))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 11), st.sampled_from(["", "", "", "", "wait", "park"])),
        st.tuples(st.just("drain"), st.integers(1, 6), st.just("")),
        st.tuples(st.just("drain"), st.integers(1, 6), st.just("")),
        st.tuples(st.just("settled"), st.integers(0, 11), st.just("")),
        st.tuples(st.just("reset"), st.just(0), st.just("")),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, shards=SHARDS, others=st.lists(SHARDS, min_size=1, max_size=3), over=st.booleans())
def test_what_is_left_to_handle_is_the_same_whatever_the_shards(steps, shards: int, others: list[int], over: bool):
    """Nothing twice, nothing lost, in order, and a replay is one there as well, also after a reset."""
    store = MemoryStore(shards)
    app, listener = Sourced(store, clock=VirtualClock(), batch=3, errors=judge), Listener()
    listener.answer = lambda delivery: refuse(delivery) if delivery.message.payload.text else ()
    app.register(listener)
    for what, number, text in steps:
        if what == "append":
            app.append(f"s{number}", Noted(text))
        elif what == "settled":
            settled = entry(f"s{number}", type="test.noted", payload='{"text":""}', settled_by=("listener",))
            store.transact(store.append([settled]))
        elif what == "drain":
            app.drain(limit=number)
        else:
            app.groups.reset(listener)
    copy = store
    for other in others:
        copy = moved(copy, other)
    assert left(copy, over=over) == left(store, over=over)


@pytest.mark.parametrize("shards", [1, 3, 16, 128])
def test_a_busy_store_goes_on_as_it_would_have_in_another_number_of_shards(shards: int):
    original = MemoryStore()
    busy(original)
    copy = moved(original, shards)
    assert everything(copy)["log"] == everything(original)["log"]
    assert outcome(moved(copy, 64), 0) == outcome(copy, 0) == outcome(original, 0)
