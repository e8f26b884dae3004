"""Messages that wait for their time: out of sight until it has come, then in the log, in order."""

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sourced import Invalid, Sourced
from sourced.errors import StillWaiting
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from tests.every_store import told_by_nobody_else
from tests.party import Invite, Party, Remind, names


@pytest.fixture
def app(clock: VirtualClock, store: Store) -> Sourced:
    app = Sourced(store, clock=clock)
    app.register(Party)
    return app


# -- waiting and promotion ---------------------------------------------------------------------------------------------


def test_messages_are_promoted_when_they_are_due(app: Sourced, clock: VirtualClock):
    """I149. Two due after two seconds, one after ten: none at 0, two at 3, the third at 11."""
    app.dispatch(Remind("ada"), to="p", after=2)
    app.dispatch(Remind("alan"), to="p", after=timedelta(seconds=10))
    app.dispatch(Remind("grace"), to="p", at=START + timedelta(seconds=2))
    for seconds, moved, seqs in ((0, 0, []), (3, 2, [1, 2]), (8, 1, [1, 2, 3])):
        clock.advance(seconds)
        assert app.scheduled.promote() == moved
        assert [m.seq for m in app.history("p")] == seqs
    assert names(app.history("p")) == ["ada", "grace", "alan"]
    assert app.scheduled.list() == []


def test_what_waits_is_listed_page_by_page(app: Sourced):
    rows = [app.dispatch(Remind("ada"), to="p", after=seconds) for seconds in (9, 1, 5, 5, 5)]
    found, page = [], app.scheduled.list(limit=2)
    while page:
        found += page
        page = app.scheduled.list(after=page[-1], limit=2)
    assert [each.record.id for each in found] == [rows[index].id for index in (1, 2, 3, 4, 0)]
    with pytest.raises(Invalid, match="expected 0 or more"):
        app.scheduled.list(limit=-1)


def test_a_message_that_waits_is_in_nobodys_sight(app: Sourced):
    """I149. Not in the log, not in a story, not handed to anybody; the status counts it."""
    waiting = app.dispatch(Remind("ada"), to="p", after=1)
    assert (waiting.seq, waiting.position) == (0, 0)
    assert app.drain() == 0
    assert app.read_all() == app.history("p") == app.trace(waiting) == []
    assert app.status().scheduled == 1
    with pytest.raises(StillWaiting, match="the schedule"):
        app.wait_for(waiting, timeout=0)


def test_draining_promotes_what_is_due_and_handles_it(app: Sourced, clock: VirtualClock):
    app.dispatch(Remind("ada"), to="p", after=1)
    clock.advance(1)
    assert app.drain() > 0
    assert app.load(Party, "p").state.reminded == ["ada"]
    assert app.drain() == 0


def test_due_time_comes_first_and_then_the_order_of_scheduling(app: Sourced, clock: VirtualClock):
    """I150. Scheduled second and due first: first in its stream, and in the log."""
    app.dispatch(Remind("second"), to="p", after=5)
    app.dispatch(Remind("third"), to="q", after=5)
    app.dispatch(Remind("first"), to="p", after=1)
    assert [each.record.stream for each in app.scheduled.list()] == ["p", "p", "q"]
    clock.advance(5)
    app.scheduled.promote()
    assert names(app.read_all()) == ["first", "second", "third"]


def test_promotion_moves_all_that_is_due_however_much_it_is(app: Sourced, clock: VirtualClock):
    for number in range(250):
        app.dispatch(Remind(str(number)), to="p", after=1)
    clock.advance(1)
    assert app.scheduled.promote() == 250
    assert names(app.history("p")) == [str(number) for number in range(250)]


def test_what_is_due_now_or_was_due_before_does_not_wait(app: Sourced):
    options: dict[str, Any]
    for options in ({}, {"after": 0}, {"after": -5}, {"at": START}, {"at": START - timedelta(days=1)}):
        app.dispatch(Remind("ada"), to="p", **options)
    assert len(app.history("p")) == 5
    assert app.scheduled.list() == []


def test_a_time_is_a_moment_whatever_its_zone(app: Sourced, clock: VirtualClock):
    there = timezone(timedelta(hours=9))
    app.dispatch(Remind("ada"), to="p", at=(START + timedelta(seconds=2)).astimezone(there))
    app.dispatch(Remind("alan"), to="p", at=START + timedelta(seconds=1))
    assert names([app._engine.codec.decode(each.record) for each in app.scheduled.list()]) == ["alan", "ada"]
    clock.advance(1)
    assert app.scheduled.promote() == 1
    clock.advance(1)
    assert app.scheduled.promote() == 1


def test_a_time_without_a_zone_or_two_times_are_refused(app: Sourced):
    with pytest.raises(Invalid, match="with a zone"):
        app.dispatch(Remind("ada"), to="p", at=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(Invalid, match="either `at` or `after`"):
        app.dispatch(Remind("ada"), to="p", at=START, after=1)
    assert app.scheduled.list() == []


def test_what_could_not_be_stored_is_refused_when_it_is_scheduled(app: Sourced):
    with pytest.raises(Invalid):
        app.dispatch(Remind(7), to="p", after=60)  # type: ignore[arg-type]
    assert app.scheduled.list() == []


# -- what a reaction schedules -----------------------------------------------------------------------------------------


def test_a_reaction_that_schedules_is_done_and_the_message_remembers_where_it_comes_from(
    app: Sourced, clock: VirtualClock
):
    """I151. The event is acknowledged at once. What is promoted was caused by it, belongs to its story, was made at
    the promotion, and carries the source's metadata, its own, and for what time it was scheduled."""
    command, (event,) = app.execute(Invite("ada"), to="p", metadata={"user": "u1"})
    app.drain()
    assert app.groups.get(Party).lag == 0
    due = clock.now() + timedelta(seconds=10)
    clock.advance(12.5)
    app.drain()
    reminder = next(m for m in app.history("p") if m.type == "party.remind")
    assert (reminder.causation_id, reminder.correlation_id) == (event.id, command.id)
    assert reminder.created_at == clock.now()
    assert reminder.metadata == {"user": "u1", "own": 1, "producer": "party", "scheduled_at": due.isoformat()}
    assert [m.type for m in app.trace(command)] == [
        "party.invite", "party.invited", "party.remind", "party.reminded"
    ]  # fmt: skip
    assert app.load(Party, "p").state.reminded == ["ada"]


def test_a_reset_schedules_nothing_again(app: Sourced, clock: VirtualClock):
    """What was reacted to before is replayed in silence, the schedule included."""
    app.execute(Invite("ada"), to="p")
    app.drain()
    app.groups.reset(Party)
    app.drain()
    assert len(app.scheduled.list()) == 1
    clock.advance(10)
    app.drain()
    app.groups.reset(Party)
    app.drain()
    assert app.scheduled.list() == []
    assert app.load(Party, "p").state.reminded == ["ada"]


# -- second thoughts ---------------------------------------------------------------------------------------------------


def test_what_is_cancelled_is_never_promoted(app: Sourced, clock: VirtualClock):
    first, second = (app.dispatch(Remind(name), to="p", after=1) for name in ("ada", "alan"))
    assert [each.id for each in app.scheduled.cancel(first.id, "nobody", first).messages] == [first.id]
    clock.advance(1)
    app.drain()
    assert app.load(Party, "p").state.reminded == ["alan"]
    assert app.scheduled.cancel(second.id).messages == []


def test_scheduling_and_promoting_wake_up_whoever_waits(app: Sourced, clock: VirtualClock):
    """J166. A promotion is news; a message for later is none yet."""
    told_by_nobody_else(app)
    with app._engine.notifier.listen() as listener:
        app.dispatch(Remind("ada"), to="p", after=1)
        assert not listener.wait(0)
        clock.advance(1)
        app.scheduled.promote()
        assert listener.wait(0)


def test_a_promotion_in_a_transaction_is_news_once_that_has_committed(app: Sourced, clock: VirtualClock):
    """J166. Earlier, whoever wakes up would look in vain and go back to sleep."""
    told_by_nobody_else(app)
    app.dispatch(Remind("ada"), to="p", after=1)
    clock.advance(1)
    with app._engine.notifier.listen() as listener:
        with app.transaction() as tx:
            assert tx.scheduled.promote() == 1
            assert not listener.wait(0)
        assert listener.wait(0)


def test_all_of_it_can_be_awaited(app: Sourced, clock: VirtualClock):
    async def story() -> None:
        later = await app.aio.dispatch(Remind("ada"), to="p", after=1)
        other = await app.aio.dispatch(Remind("alan"), to="p", at=START + timedelta(days=1))
        assert [each.record.id for each in await app.aio.scheduled.list()] == [later.id, other.id]
        assert [each.id for each in (await app.aio.scheduled.cancel(other)).messages] == [other.id]
        clock.advance(1)
        assert await app.aio.scheduled.promote() == 1
        await app.aio.drain()

    asyncio.run(story())
    assert app.load(Party, "p").state.reminded == ["ada"]
