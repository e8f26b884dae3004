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
    """Calls `stop` on the running loop at the first SIGINT or SIGTERM; the next one ends the process there and then.

    Nothing else would be at once: a plain handler that hangs keeps its thread, and every tidy end waits for that.
    Only a program's main thread is ever told.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def told(*_: object) -> None:
        for each in POLITE:
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop)

    before = {each: signal.signal(each, told) for each in POLITE}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)
