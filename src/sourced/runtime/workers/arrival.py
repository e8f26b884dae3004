"""A worker that is started before its database waits for it, says what for, and for a while only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic

from sourced.errors import DefinitionError, Unavailable

log = logging.getLogger("sourced.worker")

WAIT = 60.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between tries


def check_wait(wait: timedelta) -> timedelta:
    if wait < timedelta():
        raise DefinitionError(f"wait: expected a time from 0, found {wait!r}")
    return wait


async def arrived(work: Callable[[], Awaitable[object]], wait: timedelta, stopping: asyncio.Event) -> bool:
    """Does what comes first as soon as the store lets it; false if it is told to stop before.

    What does not pass by itself, a wrong password or tables that do not fit, is not waited for.
    """
    deadline, pause, waited = monotonic() + wait.total_seconds(), FIRST_PAUSE, False
    while True:
        try:
            if done := await _unless(stopping, work()):
                log.log(logging.WARNING if waited else logging.DEBUG, "the store is there")
            return done
        except Unavailable as error:
            left = deadline - monotonic()
            if not error.passing or left <= 0:
                raise
            log.warning("the store is waited for, for %.0f s more: %s: %s", left, error.store, error.why)
            waited = True
        await _unless(stopping, asyncio.sleep(min(pause, left)))
        pause = min(pause * 2, LONGEST_PAUSE)


async def _unless(stopping: asyncio.Event, work: Awaitable[object]) -> bool:
    """Whether it was done before somebody said stop; if not, it is cancelled."""
    doing, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            await doing
        return not stopped.done()
    finally:
        for each in (doing, stopped):
            each.cancel()
        await asyncio.gather(doing, stopped, return_exceptions=True)  # why it failed matters to nobody any more
