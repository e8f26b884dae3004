"""Connections that are kept for the next one who needs one: for threads, and for each event loop by itself.

Written by hand because it has no workers of its own: nothing runs, waits or warns when nobody is using the store.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from sourced.forks import leave_alone

C = TypeVar("C")


class Pool(Generic[C]):
    """At most `size` connections; whoever finds all of them in use waits his turn."""

    def __init__(self, connect: Callable[[], C], close: Callable[[C], None], size: int) -> None:
        self._connect = connect
        self._close = close
        self._room = _room(size)
        self._size = size
        self._idle: deque[C] = deque()

    def acquire(self, timeout: float) -> C:
        try:
            self._room.get(timeout=timeout)
        except Empty:
            raise TimeoutError from None
        try:
            return self._idle.pop()  # the one used last is the one most likely to be alive
        except IndexError:
            pass
        try:
            return self._connect()
        except BaseException:
            self._room.put(None)
            raise

    def release(self, connection: C) -> None:
        self._idle.append(connection)
        self._room.put(None)

    def replace(self, connection: C) -> C:
        """A new one for one that was lost; those that lay idle are as old, and go too."""
        self._close(connection)
        self.clear()
        return self._connect()

    def discard(self, connection: C) -> None:
        try:
            self._close(connection)
        finally:
            self._room.put(None)

    def clear(self) -> None:
        while self._idle:
            self._close(self._idle.pop())

    def forked(self) -> None:
        leave_alone(self._idle)
        self._idle = deque()
        self._room = _room(self._size)


class AsyncPool(Generic[C]):
    """The same on event loops; what a loop that is closed left behind is closed as well."""

    def __init__(self, connect: Callable[[], Awaitable[C]], close: Callable[[C], None], size: int) -> None:
        self._connect = connect
        self._close = close
        self._size = size
        self._loops: weakref.WeakKeyDictionary[Any, _OfLoop[C]] = weakref.WeakKeyDictionary()

    def _here(self) -> _OfLoop[C]:
        loop = asyncio.get_running_loop()
        here = self._loops.get(loop)
        if here is None:
            for other in [each for each in self._loops if each.is_closed()]:
                self._clear(self._loops.pop(other))
            here = self._loops[loop] = _OfLoop(self._size)
            weakref.finalize(loop, self._clear, here).atexit = False
        return here

    async def acquire(self, timeout: float) -> C:
        here = self._here()
        if here.room.locked():
            async with asyncio.timeout(timeout):
                await here.room.acquire()
        else:
            await here.room.acquire()
        if here.idle:
            return here.idle.pop()
        try:
            return await self._connect()
        except BaseException:
            here.room.release()
            raise

    def release(self, connection: C) -> None:
        here = self._here()
        here.idle.append(connection)
        here.room.release()

    async def replace(self, connection: C) -> C:
        self._close(connection)
        self._clear(self._here())
        return await self._connect()

    def discard(self, connection: C) -> None:
        try:
            self._close(connection)
        finally:
            self._here().room.release()

    def forked(self) -> None:
        for here in self._loops.values():
            leave_alone(here.idle)
            here.idle = []
        self._loops = weakref.WeakKeyDictionary()

    def clear(self) -> None:
        """Those of every loop: nobody uses the store any more."""
        for here in self._loops.values():
            self._clear(here)

    def _clear(self, here: _OfLoop[C]) -> None:
        while here.idle:
            self._close(here.idle.pop())


class _OfLoop(Generic[C]):
    def __init__(self, size: int) -> None:
        self.room = asyncio.Semaphore(size)
        self.idle: list[C] = []


def _room(size: int) -> SimpleQueue[None]:
    """A semaphore, at a tenth of the price."""
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(size):
        room.put(None)
    return room
