"""Works that threads are in the middle of, and that others do not wait for."""

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from sourced.runtime.programs import Relieved
from sourced.runtime.workers.threads import Driver
from tests.facts import PATIENCE
from tests.stores.meanwhile import thread


@pytest.mark.parametrize("given_up", [True, False])
def test_who_was_left_behind_disturbs_nobody_however_he_ends(given_up: bool):
    """What is thrown in his thread must not reach the round, which another one has gone on with."""
    begun, go_on = threading.Event(), threading.Event()

    def hanging() -> Any:
        begun.set()
        assert go_on.wait(PATIENCE)
        raise SystemExit
        yield

    work = hanging()
    with contextlib.closing(asyncio.new_event_loop()) as loop, thread() as start:
        driver = Driver(loop)
        held_up = start(driver.leaving, [work], 0, lambda count: True)
        assert begun.wait(PATIENCE)
        rest = driver.left_with(0)
        assert rest is not None
        left = rest()[work]
        if given_up:
            left.cancel()
        go_on.set()
        assert isinstance(held_up.exception(PATIENCE), Relieved)
    assert left.cancelled() if given_up else isinstance(left.exception(), SystemExit)


def test_who_was_left_behind_is_heard_of_however_often_somebody_looked_whether_to_leave_him():
    """A round that takes long after it has left somebody is looked at again."""
    begun, go_on = threading.Event(), threading.Event()

    def hanging() -> Any:
        begun.set()
        assert go_on.wait(PATIENCE)
        return
        yield

    work = hanging()
    with contextlib.closing(asyncio.new_event_loop()) as loop, thread() as start:
        driver = Driver(loop)
        held_up = start(driver.leaving, [work], 0, lambda count: True)
        assert begun.wait(PATIENCE)
        rest = driver.left_with(0)
        assert rest is not None
        left = rest()[work]
        assert driver.left_with(0) is None
        go_on.set()
        assert isinstance(held_up.exception(PATIENCE), Relieved)
    assert left.done()
