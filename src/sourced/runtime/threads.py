"""Rounds in threads, so that no plain handler holds up an event loop; what is `async` runs there, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

from sourced.runtime.programs import CANCELLED, Work, go_on

T = TypeVar("T")

_Answer: TypeAlias = tuple[Work, "Future[Any]"]


class Driver:
    """Drives works from a thread that is not the loop's: their plain code here, what they wait for there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._awaited: set[Future[Any]] = set()
        self._abandoned = False

    def __call__(self, works: Sequence[Work]) -> None:
        answers: SimpleQueue[_Answer] = SimpleQueue()
        under_way = 0
        for work in works:
            self._go_on_unless_abandoned()
            under_way += self._hand_over(work, next(work, None), answers)
        while under_way:
            work, future = answers.get()
            self._awaited.discard(future)
            self._go_on_unless_abandoned()
            under_way += self._hand_over(work, _answered(work, future), answers) - 1

    def abandon(self) -> None:
        """Cancels what is waited for; the thread ends as soon as plain code of the user's lets it."""
        self._abandoned = True
        for future in [*self._awaited]:
            future.cancel()

    def _go_on_unless_abandoned(self) -> None:
        if self._abandoned:
            raise asyncio.CancelledError

    def _hand_over(self, work: Work, awaitable: Awaitable[Any] | None, answers: SimpleQueue[_Answer]) -> int:
        if awaitable is None:
            return 0
        future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop)
        self._awaited.add(future)
        future.add_done_callback(lambda done: answers.put((work, done)))
        if self._abandoned:  # just now, and who did it may not have seen this one
            future.cancel()
        return 1


async def in_thread(threads: Executor, work: Callable[[], T], abandon: Callable[[], None] = lambda: None) -> T:
    """Waits for the end of the work even when it is cancelled: nobody can take from a thread what it has begun."""
    future = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            abandon()
            await asyncio.wait({future})
        if not future.cancelled():
            future.exception()  # it was seen
        raise


def _answered(work: Work, future: Future[Any]) -> Awaitable[Any] | None:
    """Work goes on with what it waited for; what it waits for next."""
    if future.cancelled():
        return go_on(work.throw, RuntimeError(CANCELLED))
    error = future.exception()
    return go_on(work.send, future.result()) if error is None else go_on(work.throw, error)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
