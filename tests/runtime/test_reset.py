"""A reset hands out everything once more, whatever is going on: in flight, stopped, waiting, or reset just now."""

from typing import Any

import pytest

from sourced import Delivery, Message, Park, Retry, Send, Sourced, Sync
from sourced.actions import Actions
from sourced.runtime.programs import perform
from sourced.runtime.rounds.round import Round
from sourced.runtime.transacting import transacting
from sourced.store import Store
from sourced.testing import VirtualClock
from tests.runtime.counter import Counter, counts
from tests.runtime.listener import Ignored, Listener, Noted, listening, refuse, streams


def test_a_stopped_group_stays_stopped_when_it_is_reset(store: Store):
    """F115. Started again, it replays."""
    app, listener = listening(store=store)
    app.append("s", Noted())
    app.drain()
    app.groups.stop(listener, "for the night")
    app.groups.reset(listener)
    assert app.drain() == 0
    group = app.groups.get(listener).group
    assert (group.status, group.reason) == ("stopped", "for the night")
    app.groups.start(listener)
    app.drain()
    assert listener.replays == [False, True]


@pytest.mark.parametrize("processed", [0, 2])
def test_a_reset_in_the_middle_of_a_batch_is_not_undone_by_it(processed: int, store: Store):
    """F116. The round in flight changes nothing; afterwards every message comes again, that round's as well.

    What it had not stored yet was not handled, so it comes live; what it asked for is stored once in all.
    """
    echo = Send((Message.new(Ignored(), stream="echo", now=VirtualClock().now()),))
    app, listener = listening(lambda d: (echo,) if d.message.seq == 4 else (), batch=50, store=store)
    app.append("s", [Noted() for _ in range(processed)])
    app.drain()
    app.append("s", [Noted() for _ in range(4 - processed)])
    listener.forget()
    answer, due = listener.answer, [True]

    def reset_once(delivery: Delivery) -> Actions:
        if delivery.message.seq == 3 and due:
            due.clear()
            app.groups.reset(listener)
        return answer(delivery)

    listener.answer = reset_once
    app.drain()
    assert app.drain() == 0
    assert [d.message.seq for d in listener.seen] == [*range(processed + 1, 5), 1, 2, 3, 4]
    assert listener.replays == [False] * (4 - processed) + [n < processed for n in range(4)]
    assert len(app.history("echo")) == 1


def test_after_a_reset_in_flight_another_worker_need_not_wait_for_the_lease(store: Store):
    """F116. The round that was fenced off gives its shards back at once, and nobody is suspected of having died."""
    app, listener = listening(store=store)
    listener.answer = lambda delivery: (app.groups.reset(listener), ())[1]
    app.append("s", [Noted(), Noted()])
    program = Round(app._engine, listener, "first").program()
    assert perform(program, transacting(app.store)) == 0
    other, second = listening(store=app.store)
    assert other.drain(limit=1) == 2
    assert second.places == [("s", 1), ("s", 2)]


def test_a_reset_hook_that_fails_resets_nothing(store: Store):
    """F117. The table is as it was, and so is the group."""

    class Clumsy(Counter, group="clumsy"):
        def on_reset(self, tx: Any) -> None:
            super().on_reset(tx)
            raise RuntimeError("no")

    app = Sourced(store)
    app.register(Clumsy)
    app.append("s", Noted())
    app.drain()
    with pytest.raises(RuntimeError):
        app.groups.reset(Clumsy)
    assert (counts(app), app.drain()) == ({"s": 1}, 0)


def test_other_groups_are_not_affected_by_a_reset(store: Store):
    """F119."""
    app, listener = listening(store=store)

    class Other(Listener, group="other"): ...

    other = Other()
    app.register(other)
    app.append("s", Noted())
    app.drain()
    app.groups.reset(listener)
    app.drain()
    assert (len(listener.seen), len(other.seen)) == (2, 1)


def refusing_the_bad(delivery: Delivery) -> Actions:
    return refuse(delivery) if delivery.message.payload.text == "bad" else ()


@pytest.mark.parametrize("verdict", [Park(), Retry(after=3600)])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_a_stream_that_waits_is_replayed_up_to_where_it_failed_and_live_from_there(
    verdict: Any, batch: int, store: Store
):
    """F107, F116. A reset gives parked streams another chance; what they never got through is no replay."""
    app, listener = listening(refusing_the_bad, errors=verdict, batch=batch, store=store)
    bad, fine = streams(2, apart=False)
    app.append(bad, [Noted("1"), Noted("bad"), Noted("3")])
    app.append(fine, [Noted("a"), Noted("b")])
    app.drain()
    listener.answer = lambda delivery: ()
    listener.forget()
    app.groups.reset(listener)
    app.append(bad, Noted("4"))
    app.append(fine, Noted("c"))
    app.drain()
    flags = {each.message.payload.text: each.replaying for each in listener.seen}
    assert flags == {"1": True, "bad": False, "3": False, "4": False, "a": True, "b": True, "c": False}
    assert [text for text in listener.texts if text in ("1", "bad", "3", "4")] == ["1", "bad", "3", "4"]
    assert len(listener.seen) == 7
    app.groups.reset(listener)
    listener.forget()
    app.drain()
    assert listener.replays == [True] * 7


def test_a_reset_after_a_reset_remembers_what_had_been_handled_before_the_first(store: Store):
    """F107. Also of a stream that waits and was not replayed in between."""
    app, listener = listening(refusing_the_bad, errors=Park(), store=store)
    app.append("s", [Noted("1"), Noted("2"), Noted("bad")])
    app.drain()
    app.groups.reset(listener)
    app.groups.reset(listener)
    listener.forget()
    app.drain()
    assert list(zip(listener.texts, listener.replays, strict=True)) == [("1", True), ("2", True), ("bad", False)]


def test_a_stream_skipped_to_its_end_is_replayed_and_waits_no_longer(store: Store):
    """F107. What was given up comes again after a reset, and the stream is like any other."""
    app, listener = listening(refusing_the_bad, errors=Park(), store=store)
    app.append("other", Noted("0"))
    app.append("s", [Noted("1"), Noted("bad")])
    app.drain()
    app.parked.skip(listener, "s", reason="not needed")
    listener.answer = lambda delivery: ()
    app.groups.reset(listener)
    app.append("other", [Noted("2"), Noted("3")])
    app.drain()
    assert sorted(listener.texts[3:]) == ["0", "1", "2", "3", "bad"]
    assert app.groups.get(listener).stragglers == ()


@pytest.mark.parametrize("start", ["now", "time"])
def test_a_reset_never_reaches_back_before_where_the_group_started(start: str, store: Store):
    """F113, G131. Not even for a stream that waits for itself."""
    clock = VirtualClock()
    early, _ = listening(store=store, clock=clock)
    early.append("s", [Noted("old")])
    clock.advance(1)

    class Late(Listener, group="late"):
        start_from = "now" if start == "now" else clock.now()

    app, late = Sourced(store, clock=clock, errors=Park()), Late(refuse)
    app.register(late)
    app.drain()
    clock.advance(1)
    app.append("s", Noted("new"))
    app.drain()
    late.answer = lambda delivery: ()
    late.forget()
    app.groups.reset(late)
    app.drain()
    assert late.texts == ["new"]
    app.groups.reset(late)
    app.drain()
    assert late.texts == ["new", "new"]


def test_a_sync_block_may_not_reset_its_own_group(store: Store):
    """It runs inside the transaction that the reset would need: the message fails, and the reason says so."""
    app, listener = listening(errors=Park(), store=store)
    listener.answer = lambda delivery: (Sync(lambda tx: app.groups.reset(listener)),)
    app.append("s", Noted())
    app.drain()
    assert [row.error.partition(":")[0] for row in app.parked.list()] == ["InTransaction"]
