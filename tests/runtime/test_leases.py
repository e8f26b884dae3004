"""Whoever lost its lease changes nothing; whoever holds one is left alone until its time is up."""

from typing import Any

import pytest

from sourced import Delivery, Retry, Sourced, Sync
from sourced.actions import Actions
from sourced.ops import run
from sourced.runtime.programs import perform
from sourced.runtime.rounds.round import Round
from sourced.runtime.transacting import transacting
from sourced.store import Store
from sourced.testing import Crash, VirtualClock, steal_leases
from tests.rows import put, table
from tests.runtime.killers import LEASE, killed_by
from tests.runtime.listener import Listener, Noted, echo, listening, refuse, streams


def test_a_stolen_lease_is_fenced_and_changes_nothing(store: Store):
    """A worker that was paused beyond its lease stores nothing of its round, and runs no after-commit work."""
    clock = VirtualClock()

    def paused(delivery: Delivery) -> Actions:
        steal_leases(store, "listener", clock.now())
        return killed_by()(delivery)

    app, listener = listening(paused, store=store, clock=clock)
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    assert listener.texts == ["1", "2"]
    assert [len(app.history(f"echo-{n}")) for n in (1, 2)] == [0, 0]
    assert app.groups.get(listener).lag == 2
    listener.answer = killed_by()
    clock.advance(2 * 86_400)  # the thief never comes back either
    app.drain()
    assert [len(app.history(f"echo-{n}")) for n in (1, 2)] == [1, 1]


@pytest.mark.parametrize("streams_at_once", [1, 2, 3])
@pytest.mark.parametrize("failing", [False, True])
def test_a_stolen_lease_is_fenced_whatever_the_round_has_to_say(store: Store, streams_at_once: int, failing: bool):
    """Rows of its own, each behind a savepoint, and streams that failed: the fence comes before all of them."""
    clock, late = VirtualClock(), [True]

    def paused(delivery: Delivery) -> Actions:
        text = delivery.message.payload.text
        if late:
            late.clear()
            steal_leases(store, "listener", clock.now())
            if failing:
                raise ValueError("late, and wrong as well")
        return (Sync(lambda tx: put(tx, "rows", text, True)),)

    app, listener = listening(paused, store=store, clock=clock)
    for name in streams(streams_at_once):
        app.append(name, Noted(name))
    assert app.drain() == 0
    assert table(store, "rows") == {}
    assert app.groups.get(listener).stragglers == ()
    clock.advance(2 * 86_400)
    app.drain()
    assert table(store, "rows") == dict.fromkeys(streams(streams_at_once), True)


def test_a_round_that_is_late_for_one_shard_only_changes_nothing_at_all(store: Store):
    """A transaction is one thing: the shards it still holds are not half of it. They are free again at once."""
    clock = VirtualClock()
    app, listener = listening(store=store, clock=clock)
    one, other = streams(2)

    def late(delivery: Delivery) -> Actions:
        if delivery.message.stream == one and len(listener.places) <= 2:
            thief = Sourced(store, clock=clock)
            thief.register(Listener())
            clock.advance(LEASE + 1)
            claim = store.claim("listener", "thief", now=clock.now(), until=clock.advance(0), limit=1)
            with store.transaction() as connection:
                run(claim, connection)
        return killed_by()(delivery)

    listener.answer = late
    app.append(one, Noted("1"))
    app.append(other, Noted("2"))
    assert app.drain() == 2
    assert [len(app.history(f"echo-{n}")) for n in (1, 2)] == [1, 1]
    assert len(listener.places) == 4


def test_a_lease_lasts_until_its_time_is_up_and_not_a_moment_longer(store: Store):
    """Who dies holding a lease keeps its messages from the others for as long as the lease lasts."""
    app, listener = listening(killed_by("1"), store=store)
    app.append("s", Noted("1"))
    with pytest.raises(Crash):
        app.drain()
    listener.answer = killed_by()
    clock: Any = app._engine.clock
    clock.advance(LEASE - 1)
    assert app.drain() == 0
    clock.advance(1)
    assert app.drain() == 1


def test_an_owner_that_comes_back_after_its_lease_expired_is_not_disturbed_if_nobody_took_it(store: Store):
    """Only somebody else's claim makes a round late; slowness by itself loses no work."""
    app, listener = listening(store=store)

    def slow(delivery: Delivery) -> Actions:
        app._engine.clock.advance(10 * LEASE)  # type: ignore[attr-defined]
        return killed_by()(delivery)

    listener.answer = slow
    app.append("s", [Noted("1"), Noted("2")])
    assert app.drain() == 2
    assert len(listener.places) == 2


def test_a_round_that_is_told_to_stop_before_it_begins_gives_back_what_it_claimed(store: Store):
    """J170. It takes no message, holds none, and counts no attempt."""
    app, listener = listening(refuse, store=store, errors=Retry(times=5, after=1))
    app.append("s", [Noted("1")])
    app.drain()
    (waiting_for_itself,) = app.groups.get(listener).stragglers
    app._engine.clock.advance(LEASE)  # type: ignore[attr-defined]
    app.append("t", [Noted("2")])
    listener.answer = echo
    listener.forget()
    one = Round(app._engine, listener, "told")
    one.hurry()
    assert perform(one.program(), transacting(app.store)) == 0
    assert listener.texts == []
    group = app.groups.get(listener)
    assert group.stragglers[0].attempts == waiting_for_itself.attempts
    assert [each for each in group.progress if each.owner] == []
    app.drain()
    assert sorted(listener.texts) == ["1", "2"]


def test_a_round_abandoned_between_handling_and_settling_changes_nothing(store: Store):
    """The program is a generator: dropping it is the gentlest way for a process to die."""
    app, listener = listening(killed_by(), store=store)
    app.append("s", Noted("1"))
    assert app.drain(limit=0) == 0
    engine = app._engine
    program = Round(engine, engine.router.group("listener"), "gone").program()
    answer: Any = None
    for _ in range(3):  # claim, load, remember: the next step would hand out the message
        step = program.send(answer)
        with engine.store.transaction() as connection:
            answer = run(step.op, connection)  # type: ignore[union-attr]
    program.close()
    assert listener.texts == []
    engine.clock.advance(LEASE)  # type: ignore[attr-defined]
    assert app.drain() == 1
    assert len(app.history("echo-1")) == 1
