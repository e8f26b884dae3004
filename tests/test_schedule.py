"""Messages that wait for their time: out of sight until it has come, then in the log, once, in order."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from threading import Barrier
from typing import Any

import pytest
from msgspec.structs import replace

from sourced import Actor, Command, Event, Invalid, Message, Sourced, decide, dispatch, evolve, react
from sourced.errors import StillWaiting
from sourced.handlers import Commands, Events
from sourced.ops import run
from sourced.store import Scheduled
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash, CrashingStore, VirtualClock
from sourced.testing.clock import START


class Invite(Command, type="party.invite"):
    name: str


class Invited(Event, type="party.invited"):
    name: str


class Remind(Command, type="party.remind"):
    name: str


class Reminded(Event, type="party.reminded"):
    name: str


@dataclass
class Guests:
    id: str
    names: list[str] = field(default_factory=list)
    reminded: list[str] = field(default_factory=list)


class Party(Actor[Guests], group="party"):
    @decide
    def invite(self, guests: Guests, command: Invite) -> Events[Guests]:
        yield Invited(command.name)

    @decide
    def remind(self, guests: Guests, command: Remind) -> Events[Guests]:
        yield Reminded(command.name)

    @evolve
    def invited(self, guests: Guests, event: Invited) -> None:
        guests.names.append(event.name)

    @evolve
    def reminded(self, guests: Guests, event: Reminded) -> None:
        guests.reminded.append(event.name)

    @react
    def later(self, guests: Guests, event: Invited) -> Commands:
        yield dispatch(Remind(event.name), after=10, metadata={"own": 1})


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def app(clock: VirtualClock) -> Sourced:
    app = Sourced(clock=clock)
    app.register(Party)
    return app


def names(messages: list[Message[Any]]) -> list[str]:
    return [m.payload.name for m in messages]


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
    for options in ({}, {"after": 0}, {"after": -5}, {"at": START}, {"at": START - timedelta(days=1)}):
        app.dispatch(Remind("ada"), to="p", **options)  # type: ignore[arg-type]
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
    with pytest.raises(Invalid, match="expected a time with a zone"):
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

    async def both() -> list[int]:
        return await asyncio.gather(app.aio.scheduled.promote(), app.aio.scheduled.promote())

    def await_both(_: int) -> int:
        start.wait()
        return sum(asyncio.run(both()))

    with ThreadPoolExecutor(5) as threads:
        moved = list(threads.map(lambda n: (call if n % 2 else await_both)(n), range(5)))
    assert sum(moved) == 40
    assert sorted(names(app.read_all()), key=int) == [str(number) for number in range(40)]


def test_a_crash_anywhere_in_a_promotion_is_made_up_for_by_the_next_one(clock: VirtualClock):
    """I157. Between the append and taking it off the schedule, too: there is no duplicate, and nothing is lost."""
    places = 0
    while True:
        store, moment = MemoryStore(), VirtualClock()
        before = party(store, moment)
        before.dispatch(Remind("ada"), to="p", after=1)
        before.dispatch(Remind("alan"), to="q", after=1)
        moment.advance(1)
        try:
            party(CrashingStore(store, places + 1), moment).scheduled.promote()
        except Crash:
            places += 1
            assert party(store, moment).read_all() == []
            assert party(store, moment).scheduled.promote() == 2
            assert names(before.read_all()) == ["ada", "alan"]
            assert before.scheduled.list() == []
        else:
            break
    assert places >= 4  # due, append, unschedule, commit


def party(store: Any, clock: VirtualClock) -> Sourced:
    app = Sourced(store, clock=clock)
    app.register(Party)
    return app


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
    assert app.scheduled.cancel(bad) == [bad]
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


# -- second thoughts ---------------------------------------------------------------------------------------------------


def test_what_is_cancelled_is_never_promoted(app: Sourced, clock: VirtualClock):
    first, second = (app.dispatch(Remind(name), to="p", after=1) for name in ("ada", "alan"))
    assert app.scheduled.cancel(first.id, "nobody", first.id) == [first.id]
    clock.advance(1)
    app.drain()
    assert app.load(Party, "p").state.reminded == ["alan"]
    assert app.scheduled.cancel(second.id) == []


def test_scheduling_and_promoting_wake_up_whoever_waits(app: Sourced, clock: VirtualClock):
    """J166. A promotion is news; a message for later is none yet."""
    with app._engine.notifier.listen() as listener:
        app.dispatch(Remind("ada"), to="p", after=1)
        assert not listener.wait(0)
        clock.advance(1)
        app.scheduled.promote()
        assert listener.wait(0)


def test_all_of_it_can_be_awaited(app: Sourced, clock: VirtualClock):
    async def story() -> None:
        later = await app.aio.dispatch(Remind("ada"), to="p", after=1)
        other = await app.aio.dispatch(Remind("alan"), to="p", at=START + timedelta(days=1))
        assert [each.record.id for each in await app.aio.scheduled.list()] == [later.id, other.id]
        assert await app.aio.scheduled.cancel(other.id) == [other.id]
        clock.advance(1)
        assert await app.aio.scheduled.promote() == 1
        await app.aio.drain()

    asyncio.run(story())
    assert app.load(Party, "p").state.reminded == ["ada"]
