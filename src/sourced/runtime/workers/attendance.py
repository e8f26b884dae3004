"""One group's rounds: as many at a time as are allowed while there is work, and none while there is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

log = logging.getLogger("sourced.worker")

LONGEST_PAUSE = 5.0  # seconds after rounds have failed again and again

Begin: TypeAlias = Callable[[int], Coroutine[Any, Any, "int | None"]]


class Attendance:
    """Begins a round when it is called, and follows up those that found something, a slot for each at a time."""

    def __init__(self, group: str, slots: int, begin: Begin) -> None:
        self.group = group
        self._begin = begin
        self._free = [*range(slots)]
        self._wanted = 1  # rounds to begin as soon as there are slots for them
        self._found = 0  # rounds in a row that found something
        self._failed = 0  # rounds in a row that failed
        self._running: dict[asyncio.Task[int | None], int] = {}  # and the slots they are in
        self._news = asyncio.Event()
        self._stopping = False
        self._resting: asyncio.TimerHandle | None = None

    def call(self) -> None:
        """There may be something that no round under way has seen."""
        self._wanted = max(self._wanted, 1)
        self._news.set()

    def hurry(self) -> None:
        """What rounds failed at is over: the next one need not wait."""
        if self._resting:
            self._resting.cancel()
            self._rested()

    def stop(self) -> None:
        """No more rounds; those under way are waited for."""
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        try:
            while self._running or not self._stopping:
                self._begin_rounds()
                await self._news.wait()
                self._news.clear()
                for task in [each for each in self._running if each.done()]:
                    self._ended(task)
        finally:
            if self._resting:
                self._resting.cancel()
            for task in self._running:
                task.cancel()
            if self._running:
                await asyncio.wait(self._running)

    def _begin_rounds(self) -> None:
        while self._wanted and self._free and not self._stopping and not self._resting:
            self._wanted -= 1
            slot = self._free.pop(0)
            task = asyncio.create_task(self._begin(slot), name=f"sourced {self.group}/{slot}")
            task.add_done_callback(lambda _: self._news.set())
            self._running[task] = slot

    def _ended(self, task: asyncio.Task[int | None]) -> None:
        """One that found something is followed by another, and by as many as may be when that found something, too."""
        self._free.insert(0, self._running.pop(task))
        try:
            dealt_with = task.result()
        except (Exception, asyncio.CancelledError) as error:
            self._rest(error)
            return
        self._failed = 0
        self._found = 0 if dealt_with is None else self._found + 1
        self._wanted = max(self._wanted, min(self._found, len(self._free)))

    def _rest(self, error: BaseException) -> None:
        """Then every slot looks again: each may still hold what it could not give back."""
        self._failed += 1
        pause = min(LONGEST_PAUSE, 0.05 * 2**self._failed)
        if self._failed == 1 or not isinstance(error, ConnectionError):  # which is said once, and says it all
            trace = None if isinstance(error, ConnectionError) else error
            log.error("%s: the next round in %.1f s, after: %r", self.group, pause, error, exc_info=trace)
        self._wanted = len(self._free) + len(self._running)
        if self._resting:
            self._resting.cancel()
        self._resting = asyncio.get_running_loop().call_later(pause, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self._news.set()
