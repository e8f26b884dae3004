"""One transaction at a time, for threads and event loops alike."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, TypeAlias

from sourced.errors import InTransaction

_Place: TypeAlias = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Gate:
    """A lock that threads block on and tasks await; whoever holds it and asks again is told so instead of hanging.

    Tasks queue without a thread each: those of the loop's pool may be what the holder needs to come to its end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0
        self._task: Any = None
        self._queue: deque[_Place] = deque()
        self._queuing = threading.Lock()

    def __enter__(self) -> None:
        if self._thread == threading.get_ident():
            raise InTransaction()
        self._lock.acquire()
        self._thread, self._task = threading.get_ident(), _task_here()

    def __exit__(self, *_: object) -> None:
        self._thread, self._task = 0, None
        self._lock.release()
        if self._queue:
            self._rouse()

    def refuse_holder(self, *, blocking: bool = False) -> None:
        """For what would not wait for the gate, or not here: whoever holds it is to use what he was handed.

        To block holds up a whole thread, and with it the task of it that holds the gate.
        """
        if self._thread == threading.get_ident() and (blocking or self._task in (None, _task_here())):
            raise InTransaction()

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if self._thread == threading.get_ident() and self._task in (None, task):  # None: this loop runs inside it
            raise InTransaction()
        while not self._lock.acquire(blocking=False):
            await self._turn()
        self._thread, self._task = threading.get_ident(), task

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    async def _turn(self) -> None:
        place = (asyncio.get_running_loop(), asyncio.Event())
        with self._queuing:
            self._queue.append(place)
        if not self._lock.locked():  # it was opened before we stood in the queue
            self._rouse()
        try:
            await place[1].wait()
        except asyncio.CancelledError:
            with self._queuing:
                roused = place not in self._queue
                if not roused:
                    self._queue.remove(place)
            if roused:
                self._rouse()  # it was our turn: the next one's, then
            raise

    def _rouse(self) -> None:
        """Tells the first in the queue to try again."""
        while True:
            with self._queuing:
                if not self._queue:
                    return
                loop, event = self._queue.popleft()
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:
                continue  # that loop is closed
            return


def _task_here() -> asyncio.Task[Any] | None:
    loop = asyncio._get_running_loop()  # where there is none, the public one raises: that takes longer than the rest
    return None if loop is None else asyncio.current_task(loop)
