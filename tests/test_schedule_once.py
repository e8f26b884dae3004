"""However often it is scheduled or promoted, and whatever breaks, a message comes into the log once."""

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from msgspec.structs import replace

from sourced import Message, Sourced
from sourced.ops import run
from sourced.store import Scheduled, Store
from sourced.testing import Crash, CrashingStore, VirtualClock
from sourced.testing.clock import START
from tests.every_store import Maker
from tests.party import Party, Remind, names, party


@pytest.fixture
def app(clock: VirtualClock, store: Store) -> Sourced:
    app = Sourced(store, clock=clock)
    app.register(Party)
    return app


# -- once --------------------------------------------------------------------------------------------------------------


def test_two_promoters_at_once_move_every_message_once(app: Sourced, clock: VirtualClock):
    """I152. Threads on one side, tasks on the other."""
    for number in range(40):
        app.dispatch(Remind(str(number)), to=f"p{number % 3}", after=1 + number % 5)
    clock.advance(9)
    start = Barrier(5)

    def call(_: int) -> int:
        start.wait()
        return app.scheduled.promote()

    async def both() -> tuple[int, int]:
        return await asyncio.gather(app.aio.scheduled.promote(), app.aio.scheduled.promote())

    def await_both(_: int) -> int:
        start.wait()
        return sum(asyncio.run(both()))

    with ThreadPoolExecutor(5) as threads:
        moved = list(threads.map(lambda n: (call if n % 2 else await_both)(n), range(5)))
    assert sum(moved) == 40
    assert sorted(names(app.read_all()), key=int) == [str(number) for number in range(40)]


def test_a_crash_anywhere_in_a_promotion_is_made_up_for_by_the_next_one(new_store: Maker):
    """I157. Between the append and taking it off the schedule, too: there is no duplicate, and nothing is lost."""
    for place in itertools.count(1):
        store, moment = new_store(), VirtualClock()
        app = party(store, moment)
        app.dispatch(Remind("ada"), to="p", after=1)
        app.dispatch(Remind("alan"), to="q", after=1)
        moment.advance(1)
        try:
            party(CrashingStore(store, place), moment).scheduled.promote()
        except Crash:
            assert len(app.read_all()) + app.status().scheduled == 2
            party(store, moment).scheduled.promote()
            assert names(app.read_all()) == ["ada", "alan"]
            assert app.scheduled.list() == []
        else:
            assert place > 4  # due, append, unschedule, commit
            return


def test_an_id_that_waits_already_waits_once_and_as_it_is(app: Sourced, clock: VirtualClock):
    """D69 for the schedule: dispatching a message again changes nothing, not even its time."""
    message = Message.new(Remind("ada"), stream="p", id="reminder", now=START)
    for after in (5, 1, 9):
        app.dispatch(message, after=after)
    (waiting,) = app.scheduled.list()
    assert waiting.at == START + timedelta(seconds=5)
    clock.advance(20)
    app.scheduled.promote()
    app.dispatch(message, after=1)
    clock.advance(20)
    app.drain()
    assert [m.id for m in app.history("p") if m.type == "party.remind"] == ["reminder"]
    assert app.scheduled.list() == []


def test_a_message_dispatched_for_later_and_then_for_now_is_stored_once(app: Sourced, clock: VirtualClock):
    message = Message.new(Remind("ada"), stream="p", id="reminder", now=START)
    app.dispatch(message, after=5)
    app.dispatch(message)
    clock.advance(5)
    app.drain()
    assert app.load(Party, "p").state.reminded == ["ada"]
    assert app.scheduled.list() == []


def test_what_a_transaction_schedules_stands_or_falls_with_it(app: Sourced):
    def work() -> None:
        with app.transaction() as tx:
            tx.dispatch(Remind("ada"), to="p", after=1)
            assert tx.status().scheduled == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert app.status().scheduled == 0


# -- what cannot be read -----------------------------------------------------------------------------------------------


def spoil(app: Sourced, spoilt: Callable[[Scheduled], Scheduled]) -> None:
    """Another program, or a hand on the database, has changed the rows that wait."""
    rows = app.scheduled.list()
    app.scheduled.cancel(*(each.record.id for each in rows))
    with app.store.transaction() as connection:
        run(app.store.schedule([spoilt(each) for each in rows]), connection)


def test_one_row_that_cannot_be_read_is_set_aside_and_the_others_are_promoted(app: Sourced, clock: VirtualClock):
    """I154. It stays in the list with its error until somebody takes it away, and holds up nobody."""
    for number in range(3):
        app.dispatch(Remind(str(number)), to="p", after=1 + number)
    bad = app.scheduled.list()[1].record.id
    spoil(app, lambda each: replace(each, record=replace(each.record, metadata="{")) if each.record.id == bad else each)
    clock.advance(9)
    assert app.scheduled.promote() == 2
    assert names(app.history("p")) == ["0", "2"]
    (left,) = app.scheduled.list()
    assert left.record.id == bad
    assert left.error
    app.dispatch(Remind("3"), to="p", after=1)
    clock.advance(1)
    assert app.scheduled.promote() == 1
    assert [each.id for each in app.scheduled.cancel(bad).messages] == [bad]
    assert app.scheduled.list() == []


def test_a_payload_that_its_class_cannot_read_parks_its_own_stream_and_no_other(app: Sourced, clock: VirtualClock):
    """I154. A store moves payloads without reading them, so this one shows where every such message does."""
    for stream in ("bad", "good"):
        app.dispatch(Remind(stream), to=stream, after=1)
    spoil(
        app,
        lambda each: (
            replace(each, record=replace(each.record, payload='{"name":7}')) if each.record.stream == "bad" else each
        ),
    )
    clock.advance(1)
    app.drain()
    assert app.load(Party, "good").state.reminded == ["good"]
    (waiting,) = app.groups.get(Party).stragglers
    assert waiting.stream == "bad"
    assert "Undecodable" in waiting.error
