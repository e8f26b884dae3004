"""Where a group starts is fixed when it is registered, and is a time or nothing."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from sourced import Sourced
from sourced.errors import DefinitionError
from sourced.store import Store
from sourced.testing import VirtualClock
from tests.runtime.listener import Listener, Noted, listening


@pytest.mark.parametrize("wait", [timedelta(0), timedelta(hours=1)])
def test_a_group_that_starts_now_gets_what_comes_later_however_late_it_looks(wait: timedelta, store: Store):
    """G131. Where it starts is fixed when it is registered, not when it first looks."""
    clock = VirtualClock()
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


def test_a_group_may_start_from_a_time(store: Store):
    """G131. Only what was made after it is delivered; it is asked once, when the group is registered."""
    clock, asked = VirtualClock(), list[datetime]()

    class Windowed(Listener, group="windowed"):
        def start_from(self) -> datetime:
            asked.append(clock.now() - timedelta(seconds=5))
            return asked[-1]

    app, _ = listening(clock=clock, store=store)
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
