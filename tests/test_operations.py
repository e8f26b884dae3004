"""What people do to a running app is told in the log, can be tried beforehand, and may be done by two at once."""

import asyncio
import contextlib
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from sourced import Delivery, Park, Retry, Sourced
from sourced.audit import (
    OPERATIONS,
    GroupReset,
    GroupStarted,
    GroupStopped,
    ParkedRetried,
    ParkedSkipped,
    ParkedStream,
    ScheduleCancelled,
    ScheduleHastened,
)
from sourced.errors import Conflict, Invalid, NotKnown, Undecodable
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from tests.runtime.listener import Ignored, Listener, Noted, refuse


@pytest.fixture(params=["memory", "sqlite", "file", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Any):
    """On every store, with a listener that refuses whatever begins with "bad"."""
    url = "memory://"
    if request.param in ("sqlite", "file"):
        url = f"{request.param}:///{tmp_path / 'app'}"
    elif request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    with contextlib.closing(Sourced(url, clock=VirtualClock(), errors=Park())) as app:
        app.migrate()
        app.register(Listener(lambda d: refuse(d) if d.message.payload.text.startswith("bad") else ()))
        yield app


def listener_of(app: Sourced) -> Any:
    return app._engine.router.group(Listener)


def told(app: Sourced) -> list[Any]:
    return [message.payload for message in app.history(OPERATIONS)]


def everything(app: Sourced) -> Any:
    return app.read_all(), app.groups.list(), app.parked.list(), app.scheduled.list()


def park(app: Sourced, *streams: str, text: str = "bad") -> None:
    for stream in streams:
        app.append(stream, [Noted(text), Noted("next")])
    app.drain()
    listener_of(app).forget()


# -- every action is an event, and its trial run the same event


def test_stop_start_and_reset_are_in_the_log_with_who_why_and_how_much(app: Sourced):
    app.append("s", [Noted("1"), Noted("2"), Ignored()])
    app.drain()
    app.append("s", Noted("3"))
    stopped = app.groups.stop(Listener, "a new column", by="ada@desk")
    assert stopped == GroupStopped(group="listener", was="active", behind=1, by="ada@desk", reason="a new column")
    reset = app.groups.reset(Listener, "to fill it", by="ada@desk")
    assert reset == GroupReset(
        group="listener", was="stopped", messages=3, waiting=0, by="ada@desk", reason="to fill it"
    )
    started = app.groups.start(Listener, by="bob@phone")
    assert (started.group, started.was, started.due, started.by) == ("listener", "stopped", 0, "bob@phone")
    assert started.behind == reset.messages  # what it wants, and neither the rest nor what was said of it
    assert told(app) == [stopped, reset, started]
    assert {message.created_at for message in app.history(OPERATIONS)} == {START}


def test_retries_and_skips_are_in_the_log_stream_by_stream(app: Sourced):
    park(app, "s", "t")
    (s, t) = sorted(app.parked.list(), key=lambda row: row.stream)
    at_s, at_t = (
        ParkedStream("listener", row.stream, 1, row.message_id, "ValueError: cannot take bad") for row in (s, t)
    )
    retried = app.parked.retry(Listener, reason="the carrier is back", by="ada")
    assert retried == ParkedRetried(streams=[at_s, at_t], reason="the carrier is back", by="ada")
    app.drain()
    skipped = app.parked.skip(Listener, "s", reason="a test", by="ada")
    assert skipped == ParkedSkipped(
        group="listener", stream="s", seq=1, message_id=s.message_id, error=at_s.error, reason="a test", by="ada"
    )
    assert told(app) == [retried, skipped]
    assert listener_of(app).texts == ["bad", "bad"]
    app.drain()
    assert listener_of(app).texts == ["bad", "bad", "next"]


def test_what_is_taken_off_the_schedule_or_hastened_is_in_the_log(app: Sourced):
    late, later = (app.dispatch(Noted(text), to="s", after=3600) for text in ("late", "later"))
    cancelled = app.scheduled.cancel(late, "nobody", reason="not wanted", by="ada")
    assert [(each.id, each.type, each.stream) for each in cancelled.messages] == [(late.id, "test.noted", "s")]
    hastened = app.scheduled.run_now(late.id, later.id, by="ada")
    assert [each.id for each in hastened.messages] == [later.id]
    assert told(app) == [cancelled, hastened]
    (message,) = app.history("s")
    assert (message.id, message.created_at) == (later.id, START)
    assert message.metadata == {"scheduled_at": (START + timedelta(hours=1)).isoformat()}
    assert app.scheduled.list() == []


def test_what_was_set_aside_cannot_be_hastened_and_says_why(app: Sourced):
    waiting = app.dispatch(Noted("late"), to="s", after=3600)
    (row,) = app.scheduled.list()
    app.scheduled.cancel(waiting)
    broken = replace(row, record=replace(row.record, metadata="{"))
    app.store.transact(app.store.schedule([broken]))
    for dry_run in (True, False):
        with pytest.raises(Undecodable, match=r"its metadata: .* it can only be cancelled"):
            app.scheduled.run_now(waiting, dry_run=dry_run)
    assert app.scheduled.list() == [broken]


@pytest.mark.parametrize("verb", ["stop", "start", "reset", "retry", "skip", "cancel", "run_now"])
def test_a_dry_run_tells_what_would_be_done_and_does_nothing(app: Sourced, verb: str):
    """The answer is what is told of it when it is done."""
    park(app, "s", "t")
    waiting = app.dispatch(Noted("late"), to="s", after=3600)
    if verb == "start":
        app.groups.stop(Listener)
    work: Any = {
        "stop": lambda **dry: app.groups.stop(Listener, "why", by="ada", **dry),
        "start": lambda **dry: app.groups.start(Listener, "why", by="ada", **dry),
        "reset": lambda **dry: app.groups.reset(Listener, "why", by="ada", **dry),
        "retry": lambda **dry: app.parked.retry(Listener, reason="why", by="ada", **dry),
        "skip": lambda **dry: app.parked.skip(Listener, "s", reason="why", by="ada", **dry),
        "cancel": lambda **dry: app.scheduled.cancel(waiting.id, reason="why", by="ada", **dry),
        "run_now": lambda **dry: app.scheduled.run_now(waiting.id, reason="why", by="ada", **dry),
    }[verb]
    before = everything(app)
    expected = work(dry_run=True)
    assert everything(app) == before
    assert work() == expected == told(app)[-1]
    assert (expected.by, expected.reason) == ("ada", "why")
    assert everything(app) != before


# -- doing it twice, or when there is nothing to do


def test_what_changes_nothing_is_not_told(app: Sourced):
    app.groups.stop(Listener, "first")
    before = everything(app)
    again = app.groups.stop(Listener, "second")
    assert (again.was, again.reason) == ("stopped", "second")
    assert app.parked.retry().streams == []
    assert app.scheduled.cancel("nobody").messages == app.scheduled.run_now("nobody").messages == []
    with pytest.raises(NotKnown, match="'s' is not parked for group 'listener'"):
        app.parked.skip(Listener, "s", reason="why")
    assert everything(app) == before
    app.groups.start(Listener)
    before = everything(app)
    assert app.groups.start(Listener).was == "active"
    assert everything(app) == before


def test_hooks_run_when_something_was_done():
    """G122."""
    calls: list[str] = []

    class Hooked(Listener, group="hooked"):
        def on_stop(self, reason: str) -> None:
            calls.append(f"stop {reason}")

        def on_start(self) -> None:
            calls.append("start")

        def on_reset(self, tx: Any) -> None:
            calls.append("reset")

    app = Sourced()
    app.register(Hooked())
    for dry_run in (True, False, False):
        app.groups.stop(Hooked, "a", dry_run=dry_run)
    app.groups.reset(Hooked, dry_run=True)
    for dry_run in (True, False, False):
        app.groups.start(Hooked, dry_run=dry_run)
    assert calls == ["stop a", "start"]


def test_starting_a_group_that_runs_tells_of_what_it_made_due():
    app = Sourced(clock=VirtualClock(), errors=Retry(after=3600))
    app.register(Listener(refuse))
    app.append("s", Noted())
    app.drain()
    assert (started := app.groups.start(Listener)).due == 1
    assert told(app) == [started] == [GroupStarted(group="listener", was="active", behind=0, due=1)]


def test_a_reset_whose_hook_fails_is_not_told():
    class Clumsy(Listener, group="clumsy"):
        def on_reset(self, tx: Any) -> None:
            raise RuntimeError("no")

    app = Sourced()
    app.register(Clumsy())
    with pytest.raises(RuntimeError):
        app.groups.reset(Clumsy)
    assert told(app) == []


def test_whoever_cannot_be_told_of_does_nothing():
    """What is not text fits into no log, so the change is not made either."""
    app = Sourced()
    app.register(Listener())
    with pytest.raises(Invalid, match="by"):
        app.groups.stop(Listener, by="\udc80")
    assert app.groups.get(Listener).status == "active"


# -- two at once


def at_once(*works: Any) -> list[Any]:
    start = threading.Barrier(len(works))

    def work(each: Any) -> Any:
        start.wait()
        with contextlib.suppress(NotKnown, Conflict):
            return each()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(work, works))


def test_two_who_skip_the_same_message_skip_it_once(app: Sourced):
    park(app, "s")
    skip = lambda: app.parked.skip(Listener, "s", reason="why")  # noqa: E731
    done = [each for each in at_once(skip, skip, skip) if each]
    assert len(done) == 1
    assert told(app) == done
    app.drain()
    assert listener_of(app).texts == ["next"]


def test_two_who_retry_everything_retry_each_stream_once(app: Sourced):
    park(app, *(f"s-{n}" for n in range(6)))
    done = at_once(*(lambda: app.parked.retry() for _ in range(3)))
    assert sorted(each.stream for retried in done for each in retried.streams) == [f"s-{n}" for n in range(6)]
    assert len(told(app)) == len([retried for retried in done if retried.streams])


def test_two_who_stop_and_two_who_start_a_group_do_each_once(app: Sourced):
    stops = at_once(*(lambda who=who: app.groups.stop(Listener, by=who) for who in ("ada", "bob", "eve")))
    assert sorted(each.was for each in stops) == ["active", "stopped", "stopped"]
    starts = at_once(*(lambda: app.groups.start(Listener) for _ in range(3)))
    assert sorted(each.was for each in starts) == ["active", "active", "stopped"]
    first, second = told(app)
    assert isinstance(first, GroupStopped)
    assert isinstance(second, GroupStarted)
    assert first.by == next(each.by for each in stops if each.was == "active")


def test_a_message_cancelled_and_hastened_at_once_is_either(app: Sourced):
    waiting = app.dispatch(Noted("late"), to="s", after=3600)
    at_once(lambda: app.scheduled.cancel(waiting), lambda: app.scheduled.run_now(waiting))
    (event,) = told(app)
    assert isinstance(event, ScheduleCancelled | ScheduleHastened)
    assert len(app.history("s")) == isinstance(event, ScheduleHastened)
    assert app.scheduled.list() == []


def test_a_skip_may_name_the_message_that_was_seen(app: Sourced):
    """Somebody else skipped it meanwhile, and the stream is parked at the next one: that one was not meant."""
    app.append("s", [Noted("bad"), Noted("bad again")])
    app.drain()
    app.parked.skip(Listener, "s", seq=1, reason="why")
    app.drain()
    for dry_run in (True, False):
        with pytest.raises(Conflict, match="'s' is at seq 2, not at the expected 1"):
            app.parked.skip(Listener, "s", seq=1, reason="why", dry_run=dry_run)
    assert app.parked.skip(Listener, "s", seq=2, reason="why").seq == 2
    assert len(told(app)) == 2


# -- which ones


def test_parked_streams_are_chosen_by_group_stream_error_and_message(app: Sourced):
    class Other(Listener, group="other"):
        handles = (Noted, Ignored)  # type: ignore[assignment]

    def choosy(delivery: Delivery) -> Any:
        raise OSError(f"out of {delivery.message.type}")

    app.register(Other(choosy))
    app.append("s", Noted("bad"))
    app.append("t", [Noted("bad"), Ignored()])
    app.append("u", Ignored())
    app.drain()

    def chosen(*which: Any, **options: Any) -> set[tuple[str, str]]:
        found = app.parked.list(*which, **options)
        retried = app.parked.retry(*which, **options, dry_run=True).streams
        assert {(row.group, row.stream) for row in found} == {(row.group, row.stream) for row in retried}
        return {(row.group, row.stream) for row in found}

    assert chosen() == {("listener", "s"), ("listener", "t"), ("other", "s"), ("other", "t"), ("other", "u")}
    assert chosen(Other) == {("other", "s"), ("other", "t"), ("other", "u")}
    assert chosen("other", "t") == {("other", "t")}
    assert chosen(None, "t") == {("listener", "t"), ("other", "t")}
    assert chosen(None, ["t", "u", "v"]) == {("listener", "t"), ("other", "t"), ("other", "u")}
    assert chosen(Other, []) == set()
    assert chosen(error="cannot take") == {("listener", "s"), ("listener", "t")}
    assert chosen(error="OSError", stream="s") == {("other", "s")}
    assert chosen(type=Ignored) == {("other", "u")}
    assert chosen(Other, type="test.noted", error="out of") == {("other", "s"), ("other", "t")}
    assert chosen(type="no such message") == chosen(error="no such error") == set()
    retried = app.parked.retry(error="OSError", type=Noted)
    assert {row.stream for row in retried.streams} == {"s", "t"}
    assert len(app.parked.list()) == 3


# -- who is told


def test_a_reactor_that_asks_for_it_hears_of_operations_and_nobody_else():
    class Pager(Listener, group="pager"):
        handles = (GroupStopped,)  # type: ignore[assignment]

    app, pager = Sourced(), Pager()
    app.register(Listener, pager)
    app.groups.stop(Listener, "why")
    app.groups.start(Listener)
    app.drain()
    assert [each.message.payload.reason for each in pager.seen] == ["why"]
    assert listener_of(app).seen == []


def test_an_operation_in_a_transaction_is_done_and_told_with_the_rest_or_not_at_all(app: Sourced):
    def failing() -> None:
        with app.transaction() as client:
            client.groups.stop(Listener, "why")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert (told(app), app.groups.get(Listener).status) == ([], "active")
    with app.transaction() as client:
        client.groups.stop(Listener, "why")
    assert (len(told(app)), app.groups.get(Listener).status) == (1, "stopped")


def test_whatever_a_person_does_says_who_and_why_and_can_be_tried_first():
    """A verb that is new to one of these is either one to look with, which is said here, or it is one of them."""
    app = Sourced()
    looking = {"list", "get", "run", "promote"}  # the last is what workers do by themselves
    rooms = (app.groups, app.parked, app.scheduled, app.workflows)
    done = [getattr(room, name) for room in rooms for name in dir(room) if not name.startswith("_")]
    acting = [verb for verb in done if verb.__name__ not in looking] + [app.rebuild, app.restore]
    assert len(acting) == 11
    for verb in acting:
        assert {"by", "reason", "dry_run"} <= set(inspect.signature(verb).parameters), verb


def test_the_awaitable_side_does_the_same():
    async def main(app: Sourced) -> None:
        await app.aio.groups.stop(Listener, "why", by="ada")
        assert (await app.aio.groups.reset(Listener, dry_run=True)).messages == 2
        waiting = await app.aio.dispatch(Noted("late"), to="t", after=60)
        assert len((await app.aio.scheduled.run_now(waiting)).messages) == 1

    app = Sourced(clock=VirtualClock(), errors=Park())
    app.register(Listener(refuse))
    park(app, "s")
    asyncio.run(main(app))
    assert [type(each) for each in told(app)] == [GroupStopped, ScheduleHastened]
