"""A failure keeps what was good, makes its own stream wait in order, is counted, and never delays another stream."""

from datetime import timedelta
from typing import Any

import pytest

from sourced import Delivery, Retry, Sync
from sourced.actions import Actions, Failure
from sourced.store import Store
from tests.rows import table
from tests.runtime.listener import Noted, failing, handled, listening, streams


def test_an_error_on_the_third_message_keeps_the_first_two(store: Store):
    """E96. Their effects are stored, the policy is told the third and its own exception; the next try starts there."""
    told: list[Failure] = []
    app, listener = listening(
        failing("3"), errors=Retry(on_retry=lambda failure, at: told.append(failure)), store=store
    )
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    app.drain()
    assert handled(app, "1", "2", "3") == [1, 1, 0]
    (failure,) = told
    assert (failure.group, failure.message.seq, failure.attempts) == ("listener", 3, 1)
    assert isinstance(failure.error, ValueError)
    listener.answer = failing()
    listener.forget()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts == ["3"]
    assert handled(app, "1", "2", "3") == [1, 1, 1]


def test_an_error_on_the_first_message_keeps_nothing_of_the_stream(store: Store):
    """E97. All of it comes again, in order."""
    app, listener = listening(failing("1"), store=store)
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    assert handled(app, "1", "2") == [0, 0]
    listener.answer = failing()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts == ["1", "1", "2"]


def test_with_raise_errors_the_error_reaches_the_caller_and_nothing_is_acknowledged(store: Store):
    """E98. Not even what had been handled before it in that round."""
    app, listener = listening(failing("2"), store=store)
    app.append("s", [Noted("1"), Noted("2")])
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot take 2"):
            app.drain(raise_errors=True)
    assert handled(app, "1") == [0]
    assert (app.groups.get(listener).stragglers, app.groups.get(listener).lag) == ((), 2)
    listener.answer = failing()
    app.drain(raise_errors=True)
    assert handled(app, "1", "2") == [1, 1]


def test_with_raise_errors_work_that_fails_in_the_transaction_reaches_the_caller_too(store: Store):
    """E98. The transaction it was in is undone as a whole."""

    def work(tx: Any) -> None:
        table(tx, "rows")["k"] = 1
        raise ValueError("no room")

    app, listener = listening(
        lambda delivery: (Sync(work),) if delivery.message.stream == "s" else failing()(delivery), store=store
    )
    app.append("s", [Noted("1"), Noted("2")])
    app.append("t", Noted("3"))
    with pytest.raises(ValueError, match="no room"):
        app.drain(raise_errors=True)
    assert (handled(app, "3"), dict(table(app.store, "rows"))) == ([0], {})
    assert (app.groups.get(listener).stragglers, app.groups.get(listener).lag) == ((), 3)


def test_with_raise_errors_a_stream_that_waits_raises_its_own_error_each_time(store: Store):
    """E98. The round changes nothing, so it is neither counted nor mistaken for a process that died."""
    app, listener = listening(failing("1"), store=store)
    app.append("s", Noted("1"))
    app.drain()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    before = app.groups.get(listener).stragglers
    for _ in range(3):
        with pytest.raises(ValueError, match="cannot take 1"):
            app.drain(raise_errors=True)
        assert app.groups.get(listener).stragglers == before


def test_an_interrupted_round_is_not_counted_either(store: Store):
    """A person who presses Ctrl-C in the middle of a handler has not made its message fail."""
    app, listener = listening(failing("1"), store=store)
    app.append("s", Noted("1"))
    app.drain()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]

    def interrupted(delivery: Delivery) -> Actions:
        raise KeyboardInterrupt

    listener.answer = interrupted
    with pytest.raises(KeyboardInterrupt):
        app.drain()
    (row,) = app.groups.get(listener).stragglers
    assert (row.attempts, row.running, row.error) == (1, False, "ValueError: cannot take 1")
    listener.answer = failing()
    assert app.drain() == 1
    assert handled(app, "1") == [1]


def test_one_bad_stream_of_many_never_delays_the_others(store: Store):
    """One drain handles everything else, those in the same shard too; the bad one is retried, and finally parked."""
    app, listener = listening(failing("bad"), errors=Retry(times=2, after=1), batch=10, store=store)
    names = [*streams(30), *streams(5, apart=False)]
    for n in range(3):
        for name in dict.fromkeys(names):
            app.append(name, Noted("bad" if (name, n) == (names[0], 1) else f"{name}-{n}"))
    app.drain()
    others = [f"{name}-{n}" for name in dict.fromkeys(names) for n in range(3) if name != names[0]]
    assert handled(app, *others) == [1] * len(others)
    assert handled(app, f"{names[0]}-0", f"{names[0]}-2") == [1, 0]
    for _ in range(5):
        app._engine.clock.advance(10)  # type: ignore[attr-defined]
        app.drain()
    assert listener.texts.count("bad") == 3
    assert [(row.stream, row.from_seq) for row in app.parked.list()] == [(names[0], 2)]


def test_later_messages_queue_behind_a_straggler_and_are_caught_up_in_order(store: Store):
    """Whatever arrives while a stream waits comes after what it waits for, then the stream is like any other."""
    app, listener = listening(failing("1"), batch=3, store=store)
    app.append("s", [Noted("0"), Noted("1"), Noted("2")])
    for n in range(3, 9):
        app.append("s", Noted(str(n)))
        app.drain()
    assert listener.texts == ["0", "1"]
    listener.answer = failing()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts[2:] == [str(n) for n in range(1, 9)]
    assert app.groups.get(listener).stragglers == ()
    app.append("s", Noted("9"))
    app.drain()
    assert handled(app, *"0123456789") == [1] * 10


def test_a_straggler_that_fails_again_further_on_keeps_what_it_caught_up_with(store: Store):
    """Each message is counted on its own: the second one's first failure is its first attempt."""
    told: list[tuple[int, int]] = []
    policy = Retry(on_retry=lambda failure, at: told.append((failure.message.seq, failure.attempts)))
    app, listener = listening(failing("1", "3"), errors=policy, store=store)
    app.append("s", [Noted("1"), Noted("2"), Noted("3"), Noted("4")])
    app.drain()
    listener.answer = failing("3")
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert handled(app, *"1234") == [1, 1, 0, 0]
    assert told == [(1, 1), (3, 1)]


def test_a_stream_that_waits_for_its_turn_in_a_replay_is_not_counted(store: Store):
    """Only what is handed to the handler is an attempt, however many rounds pass until there is something to hand."""
    told: list[int] = []
    first, second = streams(2, apart=False)
    policy = Retry(on_retry=lambda failure, at: told.append(failure.attempts))
    app, listener = listening(failing("bad"), errors=policy, batch=1, store=store)
    for n in range(5):
        app.append(first, Noted(str(n)))
    app.append(second, Noted("bad"))
    app.append(first, Noted("5"))
    app.drain()
    app.groups.reset(listener)
    app.drain()
    assert told == [1, 1]
    assert [row.attempts for row in app.groups.get(listener).stragglers] == [1]


def test_the_time_until_a_retry_is_kept_and_nobody_asks_in_between(store: Store):
    """The attempt after a failure comes when the policy said, not earlier, however often somebody drains."""
    app, listener = listening(failing("1"), errors=Retry(after=timedelta(minutes=1)), store=store)
    app.append("s", Noted("1"))
    for seconds in (0, 30, 29):
        app._engine.clock.advance(seconds)  # type: ignore[attr-defined]
        app.drain()
        assert len(listener.seen) == 1
    app._engine.clock.advance(1)  # type: ignore[attr-defined]
    app.drain()
    assert len(listener.seen) == 2
