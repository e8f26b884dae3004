"""Who has a transaction open, so that nobody waits for himself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any, TypeAlias

from sourced.errors import InTransaction

_Who: TypeAlias = "tuple[int, asyncio.Task[Any] | None]"  # a thread, and the task that runs in it


class Inside:
    """Who has a transaction open: a second one, in the middle of it, could wait for the first for ever."""

    def __init__(self) -> None:
        self._open: list[_Who] = []

    @contextlib.contextmanager
    def entered(self, *, blocking: bool) -> Iterator[None]:
        self.refuse(blocking=blocking)
        who = _who()
        self._open.append(who)
        try:
            yield
        finally:
            self._open.remove(who)

    def refuse(self, *, blocking: bool) -> None:
        """To block holds up a whole thread, and with it what any task of it has open."""
        if self._open:
            thread, task = _who()
            if any(there == thread and (blocking or by in (None, task)) for there, by in list(self._open)):
                raise InTransaction()


def _who() -> _Who:
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None
