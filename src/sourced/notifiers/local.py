"""Wake-ups inside one process, for threads and event loops alike."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


class LocalNotifier:
    """Every listener has a flag of its own, so that nobody takes another's hint away."""

    def __init__(self) -> None:
        self._listeners: set[LocalListener] = set()
        self._lock = threading.Lock()

    def notify(self) -> None:
        if self._listeners:
            with self._lock:
                for listener in self._listeners:
                    listener.rouse()

    def close(self) -> None:
        """Nothing to give back."""

    @contextlib.contextmanager
    def listen(self) -> Iterator[LocalListener]:
        listener = LocalListener()
        with self._lock:
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)


class LocalListener:
    """One who waits, in a thread or on an event loop."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def rouse(self) -> None:
        self._flag.set()
        if self._waiting:
            loop, event = self._waiting
            with contextlib.suppress(RuntimeError):  # the loop was closed while we looked
                loop.call_soon_threadsafe(event.set)

    def wait(self, seconds: float) -> bool:
        roused = self._flag.wait(seconds)
        self._flag.clear()
        return roused

    async def wait_async(self, seconds: float) -> bool:
        event = asyncio.Event()
        self._waiting = (asyncio.get_running_loop(), event)
        try:
            if not self._flag.is_set():
                await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._waiting = None
            self._flag.clear()
        return True
