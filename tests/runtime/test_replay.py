"""What had been handled before comes again as a replay: it causes nothing a second time, what is new does."""

import pytest

from sourced import Actor, Delivery, Sourced, decide
from sourced.actions import Actions
from sourced.store import Store, Straggler
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, Stock
from tests.rows import table
from tests.runtime.counter import Alarm, Counter, alarms, counting, counts
from tests.runtime.listener import Noted, listening, streams


def test_after_a_reset_a_processed_message_comes_again_as_a_replay(store: Store):
    """F107."""
    app, listener = listening(store=store)
    app.append("s", Noted())
    app.drain()
    assert listener.replays == [False]
    app.groups.reset(listener)
    app.drain()
    assert listener.replays == [False, True]
    assert (app.drain(), len(listener.seen)) == (0, 2)


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_what_is_new_since_the_reset_is_no_replay(batch: int, store: Store):
    """F108. Two that were processed, a reset, and a third: the flags are true, true, false, in any batch."""
    app, listener = listening(batch=batch, store=store)
    app.append("s", [Noted(), Noted()])
    app.drain()
    app.groups.reset(listener)
    app.append("s", Noted())
    listener.forget()
    app.drain()
    assert listener.replays == [True, True, False]


def test_only_what_is_new_triggers_a_reaction_and_the_sync_runs_once_over_all(store: Store):
    """F109."""
    app = counting(store=store)
    app.append("s", [Noted(), Noted()])
    app.drain()
    assert [m.payload.count for m in alarms(app)] == [1, 2]
    app.groups.reset(Counter)
    app.append("s", Noted())
    app.drain()
    assert [m.payload.count for m in alarms(app)] == [1, 2, 3]
    assert table(app.store, "saves")[1] == ([1, 2, 5], False)
    assert counts(app) == {"s": 3}


@pytest.mark.parametrize("batch", [1, 2, 50])
@pytest.mark.parametrize("apart", [True, False])
def test_what_was_never_processed_is_live_whatever_its_place(batch: int, apart: bool, store: Store):
    """F110. s1 has the first and third message, s2 the second; in one shard or in two, all reactions run."""
    first, second = streams(2, apart=apart)
    app = counting(batch=batch, store=store)
    for stream in (first, second, first):
        app.append(stream, Noted())
    app.drain()
    assert sorted((m.stream, m.payload.count) for m in alarms(app)) == sorted([(first, 1), (first, 2), (second, 1)])


def test_an_actor_that_is_reset_neither_decides_nor_reacts_again(store: Store):
    """F114. Commands handled in the foreground and in the background alike; what was not handled yet still is."""
    app = Sourced(store, clock=VirtualClock())
    app.register(Cart, Stock)
    app.execute(AddItem("p"), to="c1")
    app.dispatch(AddItem("p", 2), to="c1")
    app.drain()
    app.dispatch(AddItem("p", 4), to="c1")
    app.groups.reset(Cart)
    app.groups.reset(Stock)
    before = len(app.read_all())
    app.drain()
    assert app.load(Cart, "c1").state.items == {"p": 7}
    assert app.load(Stock, "stock-p").state.reserved == 7
    assert len(app.read_all()) == before + 3  # of the one that was pending: its event, the reservation and its event


def test_a_command_from_before_a_reset_that_nobody_handled_is_decided_once(store: Store):
    """F114. It is newer than all that was handled, so it is no replay, whatever foreground decisions surround it."""
    app = Sourced(store, clock=VirtualClock())
    app.register(Cart)
    app.dispatch(AddItem("queued"), to="c1")
    app.execute(AddItem("now"), to="c1")
    app.groups.reset(Cart)
    app.drain()
    app.groups.reset(Cart)
    app.drain()
    assert app.load(Cart, "c1").state.items == {"queued": 1, "now": 1}


def test_a_failure_in_the_middle_of_a_replay_keeps_replays_apart_from_what_is_live(store: Store):
    """F107. The stream waits, is replayed from there when it is mended, and turns live exactly where it should."""
    app, listener = listening(batch=3, store=store)
    app.append("s", [Noted(str(n)) for n in range(5)])
    app.drain()
    app.groups.reset(listener)
    listener.answer = lambda d: 1 / 0 if d.message.payload.text == "2" else ()  # type: ignore[assignment,return-value]
    app.append("s", [Noted("5"), Noted("6")])
    listener.forget()
    app.drain()
    assert listener.texts == ["0", "1", "2"]
    listener.answer = lambda delivery: ()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts[3:] == ["2", "3", "4", "5", "6"]
    assert listener.replays == [True] * 6 + [False] * 2


def test_a_stream_that_waits_for_a_place_its_shard_will_never_come_to_goes_on(store: Store):
    """Such a row can only be made by hand. What is there is a replay, and what comes later is live."""
    app, listener = listening(store=store)
    name = streams(1)[0]
    app.append(name, [Noted(), Noted()])
    app.drain()
    app.groups.reset(listener)
    listener.forget()
    app.store.transact(app.store.straggle([Straggler(listener.group, name, 2, live_after=1_000_000)]))
    assert [app.drain(limit=5), app.drain(limit=5)] == [1, 0]
    assert app.groups.get(listener).stragglers == ()
    app.append(name, Noted())
    app.drain()
    assert (listener.places, listener.replays) == ([(name, 2), (name, 3)], [True, False])


def test_settled_by_is_respected_by_workers_and_set_aside_by_a_reset(store: Store):
    """F107, K189. What was decided in the foreground is passed over, older commands are not; a reset sees both."""
    seen: list[tuple[int, bool]] = []

    class Watchful(Actor[None], group="watchful"):
        @decide
        def note(self, state: None, command: Alarm): ...

        def handle(self, delivery: Delivery) -> Actions:
            seen.append((delivery.message.seq, delivery.replaying))
            return super().handle(delivery)

    app = Sourced(store)
    app.register(Watchful)
    app.dispatch(Alarm(1), to="s")
    app.execute(Alarm(2), to="s")
    app.dispatch(Alarm(3), to="s")
    app.drain()
    assert seen == [(1, False), (3, False)]
    app.groups.reset(Watchful)
    app.execute(Alarm(4), to="s")
    app.drain()
    assert seen[2:] == [(1, True), (2, True), (3, True)]
