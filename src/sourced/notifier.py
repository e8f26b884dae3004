"""The port for wake-ups: hints that something happened. A lost one costs time, never a message."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Listener(Protocol):
    """One who waits for the next hint."""

    def wait(self, seconds: float) -> bool:
        """Until a hint comes that was sent after the last `wait` ended, or the time is up."""
        ...

    async def wait_async(self, seconds: float) -> bool: ...


class Notifier(Protocol):
    def notify(self) -> None:
        """Something was committed; always called after the commit."""
        ...

    def listen(self) -> AbstractContextManager[Listener]: ...

    def close(self) -> None: ...


class Relay(Protocol):
    """What a store that processes share does for wake-ups between them."""

    silent: bool  # others hear of a commit without being told

    def tell(self) -> None:
        """Others are to look."""
        ...

    def hear(self, heard: Callable[[], None], deaf: threading.Event) -> None:
        """Calls `heard` whenever another process has committed, and after anything it may have missed; until `deaf`."""
        ...

    def rouse(self) -> None:
        """Lets `hear` notice soon that it is to end."""
        ...
