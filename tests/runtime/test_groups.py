"""A group is stopped, started, looked at, and what it parked is dealt with, by people."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sourced import Delivery, Park, Reactor, Retry, Sourced
from sourced.actions import Actions
from sourced.errors import NotKnown, StillWaiting, UnknownGroup
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from tests.rows import table
from tests.runtime.listener import Ignored, Listener, Noted, listening, refuse, streams, waiting


def test_a_stopped_group_is_handed_nothing_and_goes_on_where_it_was(store: Store):
    """G120. Started again, retry times and errors are cleared, and whoever waits is woken up."""
    app, listener = listening(refuse, errors=Retry(after=3600), store=store)
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    app.groups.stop(listener, "maintenance")
    app.append("t", Noted("3"))
    assert app.drain() == 0
    assert (app.groups.get(listener).status, app.groups.get(listener).group.reason) == ("stopped", "maintenance")
    assert waiting(app)[0].error == "ValueError: cannot take 1"
    listener.answer = lambda delivery: ()
    with app._engine.notifier.listen() as ear:
        app.groups.start(listener)
        assert ear.wait(0)
    info = app.groups.get(listener)
    assert (info.status, info.group.reason, info.group.error) == ("active", "", "")
    assert [(row.retry_at, row.attempts, row.error, row.traceback) for row in info.stragglers] == [(None, 0, "", "")]
    app.drain()
    assert sorted(listener.texts[1:]) == ["1", "2", "3"]


def test_starting_a_group_does_not_hand_out_what_is_parked(store: Store):
    """G120. A parked stream waits for somebody to look at it, not for the group."""
    app, listener = listening(refuse, errors=Park(), store=store)
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
        self.calls.append("reset")
        table(tx, "hooked")["reset"] = True


app_of: dict[Any, Sourced] = {}


@pytest.mark.parametrize("by", ["class", "name", "instance"])
def test_groups_are_named_by_their_class_their_id_or_themselves(by: str, store: Store):
    """G122. The hooks run after the change; `on_reset` runs inside its transaction, on purpose."""
    hooked = Hooked()
    app = app_of[hooked] = Sourced(store)
    app.register(hooked)
    named: Any = {"class": Hooked, "name": "hooked", "instance": hooked}[by]
    app.groups.stop(named, "why")
    app.groups.reset(named)
    app.groups.start(named)
    assert hooked.calls == [("stop", "why", "stopped"), "reset", "start"]
    assert table(store, "hooked") == {"reset": True}


def test_hooks_may_be_async_and_are_awaited(store: Store):
    """G122. Also on the blocking side."""
    calls: list[str] = []

    class Async(Listener, group="async"):
        async def on_start(self) -> None:
            calls.append("start")

        async def on_stop(self, reason: str) -> None:
            calls.append(f"stop {reason}")

        async def on_reset(self, tx: Any) -> None:
            calls.append("reset")

    app = Sourced(store)
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
def test_a_group_nobody_has_heard_of_is_refused_by_name(verb: str, store: Store):
    """G122, G130. The default hooks of one that is known do nothing."""
    app, listener = listening(store=store)
    getattr(app.groups, verb)(listener)
    with pytest.raises(UnknownGroup, match=r"no group named 'nobody'.*listener"):
        getattr(app.groups, verb)("nobody")


def test_statistics_tell_how_far_every_group_has_come(store: Store):
    """G133. Oldest and newest over the shards with progress; a group that has done nothing stands at 0, 0."""
    clock = VirtualClock()
    app, busy = listening(clock=clock, store=store)

    class Idle(Listener, group="idle"):
        handles = (Ignored,)  # type: ignore[assignment]

    class Failing(Listener, group="failing"): ...

    app.register(Idle(), Failing(lambda d: refuse(d) if d.message.stream == one else ()))
    one, two = streams(2)
    for stream in (one, two, two, one):
        app.append(stream, Noted())
    app.drain()
    app.append(one, Noted())
    status = app.status()
    assert (status.streams, status.position, status.scheduled) == (2, 5, 0)
    assert {info.name: (info.oldest, info.newest, info.lag) for info in status.groups} == {
        "listener": (3, 4, 1),
        "idle": (0, 0, 0),
        "failing": (3, 3, 1),
    }
    (row,) = app.groups.get("failing").stragglers
    assert row.retry_at == START + timedelta(seconds=3)
    assert busy.texts == [""] * 4


def test_parked_streams_are_listed_retried_and_skipped(store: Store):
    """A person decides: try again, or give the message up with a reason; what was behind it is handled."""
    app, listener = listening(
        lambda d: refuse(d) if "bad" in d.message.payload.text else (), errors=Park(), store=store
    )
    app.append("s", [Noted("bad"), Noted("1")])
    app.append("t", [Noted("bad"), Noted("2")])
    app.drain()
    assert len(app.parked.retry(listener, "s").streams) == 1
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
    assert len(app.parked.retry().streams) == 1
    app.drain()
    assert listener.texts[-2:] == ["bad", "2"]
    assert app.parked.retry().streams == []


def test_wait_for_says_in_plain_words_why_a_message_waits(store: Store):
    """The reason names group and stream, so that nobody has to guess."""
    app, listener = listening(refuse, errors=Park(), store=store)
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


def test_the_plainest_reactor_needs_no_hooks(store: Store):
    """G122. `handles` and `handle` are enough to be stopped, started and reset."""

    class Plain(Reactor):
        handles = (Noted,)

        def handle(self, delivery: Delivery) -> Actions:
            return None

    app = Sourced(store)
    app.register(Plain)
    app.groups.stop(Plain)
    app.groups.start(Plain)
    app.groups.reset(Plain)
    app.append("s", Noted())
    assert app.drain() == 1
