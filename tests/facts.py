"""Facts are waited for, never time. What cannot say that it has become true is looked at until it is: here alone.

`tests/test_house.py` refuses every other pause.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0  # seconds: what takes longer than this has failed, however busy the machine is
LOOK_EVERY = 0.002  # seconds


def eventually(fact: Callable[[], T | None], within: float = PATIENCE, look_every: float = LOOK_EVERY) -> T:
    """Looks until it is so; what was found."""
    deadline = monotonic() + within
    while not (found := fact()):
        if monotonic() > deadline:
            raise TimeoutError(f"expected {fact} to come true within {within:g} s, found {found!r}")
        threading.Event().wait(look_every)
    return found


async def until(fact: Callable[[], T | None], within: float = PATIENCE) -> T:
    """The same while the loop goes on: a fact may have to ask a database, so a thread looks."""
    deadline = monotonic() + within
    while not (found := await asyncio.to_thread(fact)):
        if monotonic() > deadline:
            raise TimeoutError(f"expected {fact} to come true within {within:g} s, found {found!r}")
        await asyncio.sleep(LOOK_EVERY)
    return found


def somebody_else(does: Callable[[], T]) -> T:
    """What another thread does meanwhile: who decides may store nothing himself."""
    with ThreadPoolExecutor(1) as others:
        return others.submit(does).result(PATIENCE)
