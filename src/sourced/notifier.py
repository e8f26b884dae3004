"""The port for wake-ups: hints that something happened. A lost one costs time, never a message."""

from __future__ import annotations

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
