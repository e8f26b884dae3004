"""Rounds in threads, so that no plain handler holds up an event loop; what is `async` runs there, side by side."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar

from sourced.reactor import Later
from sourced.runtime.programs import CANCELLED, UnderWay, Work, go_on

T = TypeVar("T")


class Driver:
    """Drives works from a thread that is not the loop's: their plain code here, what they wait for there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._awaited: set[Future[Any]] = set()
        self._abandoned = False

    def __call__(self, works: Sequence[Work]) -> None:
        self.leaving(works, math.inf, lambda count: False)

    def leaving(
        self, works: Sequence[Work], patience: float, may_leave: Callable[[int], bool]
    ) -> dict[Work, Future[Any]]:
        """Waits so many seconds, then it leaves be those that are not through, if so many may be left."""
        answers: SimpleQueue[UnderWay] = SimpleQueue()
        waiting: dict[Work, Future[Any]] = {}
        for work in works:
            self._go_on_unless_abandoned()
            self._hand_over(work, next(work, None), answers, waiting)
        until = monotonic() + patience
        while waiting:
            try:
                work, future = answers.get(timeout=None if patience == math.inf else max(0, until - monotonic()))
            except Empty:
                if may_leave(len(waiting)):
                    self._awaited.difference_update(waiting.values())
                    return waiting
                until = monotonic() + patience
                continue
            del waiting[work]
            self._awaited.discard(future)
            self._go_on_unless_abandoned()
            self._hand_over(work, _answered(work, future), answers, waiting)
        return waiting

    def abandon(self) -> None:
        """Cancels what is waited for; the thread ends as soon as plain code of the user's lets it."""
        self._abandoned = True
        for future in [*self._awaited]:
            future.cancel()

    def _go_on_unless_abandoned(self) -> None:
        if self._abandoned:
            raise asyncio.CancelledError

    def _hand_over(
        self, work: Work, awaitable: Awaitable[Any] | None, answers: SimpleQueue[UnderWay],
        waiting: dict[Work, Future[Any]],
    ) -> None:  # fmt: skip
        if awaitable is None:
            return
        elsewhere = awaitable.future if type(awaitable) is Later else None
        future = waiting[work] = elsewhere or asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop)
        self._awaited.add(future)
        future.add_done_callback(lambda done: answers.put((work, done)))
        if self._abandoned:  # just now, and who did it may not have seen this one
            future.cancel()


async def drive_on_the_loop(works: Sequence[Work], threads: Executor) -> None:
    """For works that wait most of the time: here on the loop; a thread is taken for their plain code alone."""
    for work in works:
        awaitable = await in_thread(threads, lambda work=work: next(work, None))  # type: ignore[misc]
        while awaitable is not None:
            try:
                answer = await awaitable
            except Exception as error:
                step = partial(go_on, work.throw, error)
            else:
                step = partial(go_on, work.send, answer)
            awaitable = await in_thread(threads, step)


async def in_thread(threads: Executor, work: Callable[[], T], abandon: Callable[[], None] = lambda: None) -> T:
    """Waits for the end of the work even when it is cancelled: nobody can take from a thread what it has begun."""
    future = asyncio.get_running_loop().run_in_executor(threads, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            abandon()
            await asyncio.wait({future})
        if not future.cancelled() and future.exception() is None:
            result: Any = future.result()
            if inspect.iscoroutine(result):
                result.close()  # nobody will await it any more
        raise


def _answered(work: Work, future: Future[Any]) -> Awaitable[Any] | None:
    """Work goes on with what it waited for; what it waits for next."""
    if future.cancelled():
        return go_on(work.throw, RuntimeError(CANCELLED))
    error = future.exception()
    return go_on(work.send, future.result()) if error is None else go_on(work.throw, error)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
