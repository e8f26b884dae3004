"""A group is stopped, started, reset and looked at by people; its errors go the way its policy says."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from sourced import Delivery, Exponential, Linear, Park, Reactor, Retry, RetryAt, Sourced, Stop
from sourced.actions import Actions, Failure
from sourced.errors import DefinitionError, NotKnown, StillWaiting, UnknownGroup
from sourced.stores.memory import MemoryStore
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from tests.runtime.listener import Ignored, Listener, Noted, listening, streams


def refuse(delivery: Delivery) -> Actions:
    raise ValueError(f"cannot take {delivery.message.payload.text}")


def stragglers(app: Sourced) -> list[Any]:
    return [row for info in app.groups.list() for row in info.stragglers]


def test_a_stopped_group_is_handed_nothing_and_goes_on_where_it_was():
    """G120. Started again, retry times and errors are cleared, and whoever waits is woken up."""
    app, listener = listening(refuse, errors=Retry(after=3600))
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    app.groups.stop(listener, "maintenance")
    app.append("t", Noted("3"))
    assert app.drain() == 0
    assert (app.groups.get(listener).status, app.groups.get(listener).group.reason) == ("stopped", "maintenance")
    assert stragglers(app)[0].error == "ValueError: cannot take 1"
    listener.answer = lambda delivery: ()
    with app._engine.notifier.listen() as ear:
        app.groups.start(listener)
        assert ear.wait(0)
    info = app.groups.get(listener)
    assert (info.status, info.group.reason, info.group.error) == ("active", "", "")
    assert [(row.retry_at, row.attempts, row.error, row.traceback) for row in info.stragglers] == [(None, 0, "", "")]
    app.drain()
    assert sorted(listener.texts[1:]) == ["1", "2", "3"]


def test_starting_a_group_does_not_hand_out_what_is_parked():
    """G120. A parked stream waits for somebody to look at it, not for the group."""
    app, listener = listening(refuse, errors=Park())
    app.append("s", Noted())
    app.drain()
    app.groups.stop(listener)
    app.groups.start(listener)
    listener.forget()
    app.drain()
    assert listener.seen == []
    assert len(app.parked.list(listener)) == 1


class Hooked(Listener, group="hooked"):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def on_start(self) -> None:
        self.calls.append("start")

    def on_stop(self, reason: str) -> None:
        self.calls.append(("stop", reason, app_of[self].groups.get(self).status))

    def on_reset(self, tx: Any) -> None:
        self.calls.append(("reset", type(tx).__name__))


app_of: dict[Any, Sourced] = {}


@pytest.mark.parametrize("by", ["class", "name", "instance"])
def test_groups_are_named_by_their_class_their_id_or_themselves(by: str):
    """G122. The hooks run after the change; `on_reset` runs inside its transaction, on purpose."""
    hooked = Hooked()
    app = app_of[hooked] = Sourced()
    app.register(hooked)
    named: Any = {"class": Hooked, "name": "hooked", "instance": hooked}[by]
    app.groups.stop(named, "why")
    app.groups.reset(named)
    app.groups.start(named)
    assert hooked.calls == [("stop", "why", "stopped"), ("reset", "MemoryConnection"), "start"]


def test_hooks_may_be_async_and_are_awaited():
    """G122. Also on the blocking side."""
    calls: list[str] = []

    class Async(Listener, group="async"):
        async def on_start(self) -> None:  # type: ignore[override]
            calls.append("start")

        async def on_stop(self, reason: str) -> None:  # type: ignore[override]
            calls.append(f"stop {reason}")

        async def on_reset(self, tx: Any) -> None:  # type: ignore[override]
            calls.append("reset")

    app = Sourced()
    app.register(Async())

    async def again() -> None:
        await app.aio.groups.stop("async", "b")
        await app.aio.groups.reset("async")
        await app.aio.groups.start("async")

    app.groups.stop("async", "a")
    app.groups.reset("async")
    app.groups.start("async")
    asyncio.run(again())
    assert calls == ["stop a", "reset", "start", "stop b", "reset", "start"]


@pytest.mark.parametrize("verb", ["stop", "start", "reset", "get"])
def test_a_group_nobody_has_heard_of_is_refused_by_name(verb: str):
    """G122, G130. The default hooks of one that is known do nothing."""
    app, listener = listening()
    getattr(app.groups, verb)(listener)
    with pytest.raises(UnknownGroup, match=r"no group named 'nobody'.*listener"):
        getattr(app.groups, verb)("nobody")


def test_retry_until_a_time_is_kept_without_anybody_stepping_in():
    """G123. Nothing before, and then by itself."""
    clock = VirtualClock()
    app, listener = listening(lambda d: (RetryAt(START + timedelta(minutes=5)),), clock=clock)
    app.append("s", Noted())
    app.drain()
    listener.answer = lambda delivery: ()
    for seconds, seen in ((0, 1), (299, 1), (1, 2)):
        clock.advance(seconds)
        app.drain()
        assert len(listener.seen) == seen
    assert stragglers(app) == []


def test_a_strategy_of_three_linear_retries_then_stops_once():
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
    app, listener = listening(refuse, errors=policy, clock=clock)
    app.append("s", Noted("x"))
    for _ in range(8):
        app.drain()
        clock.advance(20)
    seconds = timedelta(seconds=1)
    assert told == [(1, 5 * seconds), (2, 10 * seconds), (3, 15 * seconds), (4, "stop", "cannot take x")]
    group = app.groups.get(listener).group
    assert (group.status, group.reason, group.error) == ("stopped", "gave up", "ValueError: cannot take x")


def test_exponential_backoff_doubles():
    """G125."""
    told: list[float] = []
    clock = VirtualClock()
    policy = Retry(times=5, backoff=Exponential(2.0), on_retry=lambda f, at: told.append((at - f.now).total_seconds()))
    app, _ = listening(refuse, errors=policy, clock=clock)
    app.append("s", Noted())
    for _ in range(8):
        app.drain()
        clock.advance(60)
    assert told == [2, 4, 8, 16, 32]


def test_by_default_a_stream_is_retried_and_then_parked_and_the_group_goes_on():
    """G126. On purpose not the whole group stops; class and message of the exception are there to be read."""
    clock = VirtualClock()
    app, listener = listening(lambda d: refuse(d) if d.message.stream == "bad" else (), clock=clock)
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


def test_a_group_that_stops_at_the_first_error_says_why():
    """G126. As in the originals, when asked for; started again it begins with the message it stopped at."""
    app, listener = listening(lambda d: refuse(d) if d.message.payload.text == "2" else (), errors=Stop())
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    app.drain()
    info = app.groups.get(listener)
    assert (info.status, info.group.error) == ("stopped", "ValueError: cannot take 2")
    listener.answer = lambda delivery: ()
    app.groups.start(listener)
    app.drain()
    assert listener.texts == ["1", "2", "2", "3"]


def test_a_success_sets_the_count_back():
    """G127. An error weeks later is the first one again."""
    told: list[int] = []
    clock = VirtualClock()
    app, listener = listening(refuse, clock=clock, errors=Retry(on_retry=lambda f, at: told.append(f.attempts)))
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


def test_a_policy_is_anything_that_can_be_called_with_a_failure():
    """G128."""

    def policy(failure: Failure) -> Any:
        return Park("never again") if isinstance(failure.error, ValueError) else Stop("what is this")

    app, _ = listening(refuse, errors=policy)
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


def test_a_reactor_may_have_a_policy_of_its_own():
    """G129. It is used instead of the app's."""

    class Own(Listener, group="own"):
        def errors(self, failure: Failure) -> Park:
            return Park(f"{failure.group} knows better")

    app = Sourced(errors=Stop())
    app.register(Own(refuse))
    app.append("s", Noted())
    app.drain()
    assert [row.reason for row in app.parked.list()] == ["own knows better"]


def test_errors_of_streams_that_fail_at_once_are_all_kept():
    """G130. There is no error context to merge or to lose: each stream has its own row, kept from try to try."""
    clock = VirtualClock()
    app, _ = listening(refuse, clock=clock)
    names = [name for name, _ in zip(streams(), range(5), strict=False)]
    for name in names:
        app.append(name, Noted(name))
    app.drain()
    since = {row.stream: row.since for row in stragglers(app)}
    clock.advance(4)
    app.drain()
    rows = {row.stream: row for row in stragglers(app)}
    assert {name: row.error for name, row in rows.items()} == {n: f"ValueError: cannot take {n}" for n in names}
    assert {row.attempts for row in rows.values()} == {2}
    assert {name: row.since for name, row in rows.items()} == since


@pytest.mark.parametrize("wait", [timedelta(0), timedelta(hours=1)])
def test_a_group_that_starts_now_gets_what_comes_later_however_late_it_looks(wait: timedelta):
    """G131. Where it starts is fixed when it is registered, not when it first looks."""
    store, clock = MemoryStore(), VirtualClock()
    early, _ = listening(store=store, clock=clock)
    early.append("s", Noted("before"))

    class Late(Listener, group="late"):
        start_from = "now"

    app, late = Sourced(store, clock=clock), Late()
    app.register(late)
    app.append("s", Noted("after"))
    clock.advance(wait)
    app.drain()
    assert late.texts == ["after"]


def test_a_group_may_start_from_a_time():
    """G131. Only what was made after it is delivered; it is asked once, when the group is registered."""
    clock, asked = VirtualClock(), list[datetime]()

    class Windowed(Listener, group="windowed"):
        def start_from(self) -> datetime:
            asked.append(clock.now() - timedelta(seconds=5))
            return asked[-1]

    app, _ = listening(clock=clock)
    for n in range(4):
        app.append("s", Noted(str(n)))
        clock.advance(3)
    windowed = Windowed()
    app.register(windowed)
    app.drain()
    clock.advance(3600)
    app.append("s", Noted("4"))
    app.drain()
    assert windowed.texts == ["3", "4"]
    assert len(asked) == 1


@pytest.mark.parametrize("wrong", ["yesterday", 7, None, datetime(2026, 1, 1)])  # noqa: DTZ001
@pytest.mark.parametrize("asked", [True, False])
def test_a_start_that_is_no_time_is_refused_when_registered(wrong: Any, asked: bool):
    """G132."""

    class Wrong(Listener, group="wrong"):
        start_from = staticmethod(lambda: wrong) if asked else wrong

    with pytest.raises(DefinitionError, match="expected 'beginning', 'now' or a time with a zone"):
        Sourced().register(Wrong())


def test_statistics_tell_how_far_every_group_has_come():
    """G133. Oldest and newest over the shards with progress; a group that has done nothing stands at 0, 0."""
    clock = VirtualClock()
    app, busy = listening(clock=clock)

    class Idle(Listener, group="idle"):
        handles = (Ignored,)  # type: ignore[assignment]

    class Failing(Listener, group="failing"): ...

    app.register(Idle(), Failing(lambda d: refuse(d) if d.message.stream == one else ()))
    one, two = (name for name, _ in zip(streams(), range(2), strict=False))
    for stream in (one, two, two, one):
        app.append(stream, Noted())
    app.drain()
    app.append(one, Noted())
    status = app.status()
    assert (status.streams, status.position, status.scheduled) == (2, 5, 0)
    assert {info.name: (info.oldest, info.newest, info.lag) for info in status.groups} == {
        "listener": (3, 4, 1),
        "idle": (0, 0, 1),
        "failing": (3, 3, 1),
    }
    (row,) = app.groups.get("failing").stragglers
    assert row.retry_at == START + timedelta(seconds=3)
    assert busy.texts == [""] * 4


def test_parked_streams_are_listed_retried_and_skipped():
    """A person decides: try again, or give the message up with a reason; what was behind it is handled."""
    app, listener = listening(lambda d: refuse(d) if "bad" in d.message.payload.text else (), errors=Park())
    app.append("s", [Noted("bad"), Noted("1")])
    app.append("t", [Noted("bad"), Noted("2")])
    app.drain()
    assert app.parked.retry(listener, "s") == 1
    app.drain()
    assert len(app.parked.list()) == 2
    assert listener.texts.count("bad") == 3
    app.parked.skip(listener, "s", reason="it was a test")
    app.drain()
    assert [row.stream for row in app.parked.list()] == ["t"]
    assert listener.texts[-1] == "1"
    with pytest.raises(NotKnown, match="'s' is not parked"):
        app.parked.skip(listener, "s", reason="again")
    listener.answer = lambda delivery: ()
    assert app.parked.retry() == 1
    app.drain()
    assert listener.texts[-2:] == ["bad", "2"]
    assert app.parked.retry() == 0


def test_wait_for_says_in_plain_words_why_a_message_waits():
    """The reason names group and stream, so that nobody has to guess."""
    app, listener = listening(refuse, errors=Park())
    message = app.append("s", Noted("x"))[0]
    with pytest.raises(StillWaiting, match="nobody has come to it yet"):
        app.wait_for(message, timeout=1)
    app.drain()
    with pytest.raises(StillWaiting, match="'s' is parked since seq 1: ValueError: cannot take x"):
        app.wait_for(message, timeout=1)
    app.groups.stop(listener, "lunch")
    later = app.append("t", Noted("y"))[0]
    with pytest.raises(StillWaiting, match="the group was stopped: lunch"):
        app.wait_for(later, timeout=1)
    app.groups.start(listener)
    listener.answer = lambda delivery: ()
    app.parked.retry()
    app.drain()
    app.wait_for(message, timeout=1)
    app.wait_for(later, timeout=1)


def test_the_plainest_reactor_needs_no_hooks():
    """G122. `handles` and `handle` are enough to be stopped, started and reset."""

    class Plain(Reactor):
        handles = (Noted,)

        def handle(self, delivery: Delivery) -> Actions:
            return None

    app = Sourced()
    app.register(Plain)
    app.groups.stop(Plain)
    app.groups.start(Plain)
    app.groups.reset(Plain)
    app.append("s", Noted())
    assert app.drain() == 1
