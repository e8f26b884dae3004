"""Works that threads are in the middle of, and that others do not wait for."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from sourced.runtime.programs import Relieved
from sourced.runtime.workers.threads import Driver
from tests.facts import PATIENCE
from tests.stores.meanwhile import thread


@contextlib.contextmanager
def left_behind(end: Callable[[], object]) -> Iterator[tuple[Driver, Future[Any]]]:
    """Plain code that hangs, and a driver that has gone on without it; at the end of the block it comes to its own."""
    begun, go_on = threading.Event(), threading.Event()

    def hanging() -> Any:
        begun.set()
        assert go_on.wait(PATIENCE)
        end()
        return
        yield

    work = hanging()
    with contextlib.closing(asyncio.new_event_loop()) as loop, thread() as start:
        driver = Driver(loop)
        held_up = start(driver.leaving, [work], 0, lambda count: True)
        assert begun.wait(PATIENCE)
        rest = driver.left_with(0)
        assert rest is not None
        yield driver, rest()[work]
        go_on.set()
        assert isinstance(held_up.exception(PATIENCE), Relieved)


def exits() -> None:
    raise SystemExit


@pytest.mark.parametrize("given_up", [True, False])
def test_who_was_left_behind_disturbs_nobody_however_he_ends(given_up: bool):
    """What is thrown in his thread must not reach the round, which another one has gone on with."""
    with left_behind(exits) as (_, left):
        if given_up:
            left.cancel()
    assert left.cancelled() if given_up else isinstance(left.exception(), SystemExit)


def test_who_was_left_behind_is_heard_of_however_often_somebody_looked_whether_to_leave_him():
    """A round that takes long after it has left somebody is looked at again."""
    with left_behind(lambda: None) as (driver, left):
        assert driver.left_with(0) is None
    assert left.done()
