"""After an exception a stream goes the way its policy says: again in growing steps, then parked, or the group stops."""

from datetime import timedelta
from typing import Any

import pytest

from sourced import Exponential, Linear, Park, Retry, RetryAt, Sourced, Stop
from sourced.actions import Failure
from sourced.errors import DefinitionError
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from tests.runtime.listener import Listener, Noted, failing, listening, refuse, streams, waiting


def test_retry_until_a_time_is_kept_without_anybody_stepping_in(store: Store):
    """G123. Nothing before, and then by itself."""
    clock = VirtualClock()
    app, listener = listening(lambda d: (RetryAt(START + timedelta(minutes=5)),), clock=clock, store=store)
    app.append("s", Noted())
    app.drain()
    listener.answer = lambda delivery: ()
    for seconds, seen in ((0, 1), (299, 1), (1, 2)):
        clock.advance(seconds)
        app.drain()
        assert len(listener.seen) == seen
    assert waiting(app) == []


def test_a_strategy_of_three_linear_retries_then_stops_once(store: Store):
    """G124. On-retry gets 1, 2, 3 with growing times; then on-stop once, and the group stops if that is asked."""
    told: list[Any] = []
    clock = VirtualClock()
    policy = Retry(
        times=3,
        after=5,
        backoff=Linear(),
        on_retry=lambda failure, at: told.append((failure.attempts, at - failure.now)),
        on_stop=lambda failure: told.append((failure.attempts, "stop", str(failure.error))),
        then=Stop("gave up"),
    )
    app, listener = listening(refuse, errors=policy, clock=clock, store=store)
    app.append("s", Noted("x"))
    for _ in range(8):
        app.drain()
        clock.advance(20)
    seconds = timedelta(seconds=1)
    assert told == [(1, 5 * seconds), (2, 10 * seconds), (3, 15 * seconds), (4, "stop", "cannot take x")]
    group = app.groups.get(listener).group
    assert (group.status, group.reason, group.error) == ("stopped", "gave up", "ValueError: cannot take x")


def test_exponential_backoff_doubles(store: Store):
    """G125."""
    told: list[float] = []
    clock = VirtualClock()
    policy = Retry(times=5, backoff=Exponential(2.0), on_retry=lambda f, at: told.append((at - f.now).total_seconds()))
    app, _ = listening(refuse, errors=policy, clock=clock, store=store)
    app.append("s", Noted())
    for _ in range(8):
        app.drain()
        clock.advance(60)
    assert told == [2, 4, 8, 16, 32]


def test_by_default_a_stream_is_retried_and_then_parked_and_the_group_goes_on(store: Store):
    """G126. On purpose not the whole group stops; class and message of the exception are there to be read."""
    clock = VirtualClock()
    app, listener = listening(lambda d: refuse(d) if d.message.stream == "bad" else (), clock=clock, store=store)
    app.append("bad", Noted("x"))
    for _ in range(6):
        app.drain()
        clock.advance(60)
    app.append("good", Noted())
    app.drain()
    info = app.groups.get(listener)
    assert info.status == "active"
    (parked,) = info.parked
    assert (parked.error, parked.attempts) == ("ValueError: cannot take x", 4)
    assert "in refuse" in parked.traceback
    assert ("good", 1) in listener.places


def test_a_group_that_stops_at_the_first_error_says_why(store: Store):
    """G126. As in the originals, when asked for; started again it begins with the message it stopped at."""
    app, listener = listening(lambda d: refuse(d) if d.message.payload.text == "2" else (), errors=Stop(), store=store)
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    app.drain()
    info = app.groups.get(listener)
    assert (info.status, info.group.error) == ("stopped", "ValueError: cannot take 2")
    listener.answer = lambda delivery: ()
    app.groups.start(listener)
    app.drain()
    assert listener.texts == ["1", "2", "2", "3"]


def test_a_success_sets_the_count_back(store: Store):
    """G127. An error weeks later is the first one again."""
    told: list[int] = []
    clock = VirtualClock()
    app, listener = listening(
        refuse, clock=clock, errors=Retry(on_retry=lambda f, at: told.append(f.attempts)), store=store
    )
    for _ in range(2):
        app.append("s", Noted())
        for _ in range(2):
            app.drain()
            clock.advance(60)
        listener.answer = lambda delivery: ()
        app.drain()
        listener.answer = refuse
        clock.advance(timedelta(weeks=3))
    assert told == [1, 2, 1, 2]


def test_a_policy_is_anything_that_can_be_called_with_a_failure(store: Store):
    """G128."""

    def policy(failure: Failure) -> Any:
        return Park("never again") if isinstance(failure.error, ValueError) else Stop("what is this")

    app, _ = listening(refuse, errors=policy, store=store)
    app.append("s", Noted())
    app.drain()
    assert [row.reason for row in app.parked.list()] == ["never again"]


@pytest.mark.parametrize("policy", [3, "retry", object(), Retry])
def test_what_cannot_be_called_is_no_policy(policy: Any):
    """G128. Refused when the app is made, and when a reactor that brings it along is registered."""

    class Broken(Listener, group="broken"):
        errors = policy

    with pytest.raises(DefinitionError):
        Sourced(errors=policy)
    with pytest.raises(DefinitionError):
        Sourced().register(Broken())


def test_a_reactor_may_have_a_policy_of_its_own(store: Store):
    """G129. It is used instead of the app's."""

    class Own(Listener, group="own"):
        def errors(self, failure: Failure) -> Park:
            return Park(f"{failure.group} knows better")

    app = Sourced(store, errors=Stop())
    app.register(Own(refuse))
    app.append("s", Noted())
    app.drain()
    assert [row.reason for row in app.parked.list()] == ["own knows better"]


def test_errors_of_streams_that_fail_at_once_are_all_kept(store: Store):
    """G130. There is no error context to merge or to lose: each stream has its own row, kept from try to try."""
    clock = VirtualClock()
    app, _ = listening(refuse, clock=clock, store=store)
    names = streams(5)
    for name in names:
        app.append(name, Noted(name))
    app.drain()
    since = {row.stream: row.since for row in waiting(app)}
    clock.advance(4)
    app.drain()
    rows = {row.stream: row for row in waiting(app)}
    assert {name: row.error for name, row in rows.items()} == {n: f"ValueError: cannot take {n}" for n in names}
    assert {row.attempts for row in rows.values()} == {2}
    assert {name: row.since for name, row in rows.items()} == since


def test_the_log_says_what_failed_and_what_becomes_of_it(caplog: pytest.LogCaptureFixture):
    """In words, a line for each attempt, with the traceback; a retry is a warning, the end of them an error."""
    policies = {"park": Park("no use"), "stop": Stop()}
    app, _ = listening(
        failing("retry", "park", "stop"),
        errors=lambda failure: policies.get(failure.message.payload.text, Retry(after=5)(failure)),
    )
    for text in ("retry", "park", "stop"):
        app.append(text, Noted(text))
    app.drain()
    assert {(record.levelname, record.getMessage(), bool(record.exc_info)) for record in caplog.records} == {
        (level, f"listener: {text} seq 1 (test.noted), attempt 1: ValueError('cannot take {text}'); {becomes}", True)
        for level, text, becomes in [
            ("WARNING", "retry", "it is tried again at 2026-01-01 12:00:05.000+00:00"),
            ("ERROR", "park", "the stream is parked: no use"),
            ("ERROR", "stop", "the group is stopped"),
        ]
    }
