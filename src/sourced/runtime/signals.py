"""How a process is told to end: politely the first time, at once the second."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

POLITE = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def until_told(stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` on the running loop at the first SIGINT or SIGTERM; the next one does what it always does.

    Only a program's main thread is ever told.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def told(*_: object) -> None:
        restore()
        loop.call_soon_threadsafe(stop)

    before = {each: signal.signal(each, told) for each in POLITE}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)

    try:
        yield
    finally:
        restore()
