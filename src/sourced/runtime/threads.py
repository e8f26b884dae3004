"""Rounds in threads, so that no plain handler holds up an event loop; what is `async` runs there, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeAlias

from sourced.runtime.programs import CANCELLED, Work, go_on

_Answer: TypeAlias = tuple[Work, "Future[Any]"]


def driving_on(loop: asyncio.AbstractEventLoop) -> Callable[[Sequence[Work]], None]:
    """Drives works from a thread that is not the loop's: their plain code here, what they wait for there."""

    def drive(works: Sequence[Work]) -> None:
        answers: SimpleQueue[_Answer] = SimpleQueue()
        under_way = 0

        def hand_over(work: Work, awaitable: Awaitable[Any] | None) -> int:
            if awaitable is None:
                return 0
            future = asyncio.run_coroutine_threadsafe(_awaited(awaitable), loop)
            future.add_done_callback(lambda done: answers.put((work, done)))
            return 1

        for work in works:
            under_way += hand_over(work, next(work, None))
        while under_way:
            work, future = answers.get()
            under_way -= 1
            under_way += hand_over(work, _answered(work, future))

    return drive


def _answered(work: Work, future: Future[Any]) -> Awaitable[Any] | None:
    """Work goes on with what it waited for; what it waits for next."""
    if future.cancelled():
        return go_on(work.throw, RuntimeError(CANCELLED))
    error = future.exception()
    return go_on(work.send, future.result()) if error is None else go_on(work.throw, error)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
