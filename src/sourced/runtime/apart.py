"""Work in a context of its own, step by step: pieces of work that take turns in one thread do not see each other's."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


def apart(
    context: Context, work: Generator[Any, Any, T], hand: Callable[[Any], Any] = lambda step: step
) -> Generator[Any, Any, T]:
    """Work in a context of its own: what it sets is seen by what it calls and awaits, and by nobody beside it."""
    try:
        step = context.run(next, work)
        while True:
            try:
                answer = yield hand(step)
            except BaseException as error:
                if inspect.iscoroutine(step) and inspect.getcoroutinestate(step) == inspect.CORO_CREATED:
                    step.close()  # nobody will ever begin it
                step = context.run(work.throw, error)
            else:
                step = context.run(work.send, answer)
    except StopIteration as end:
        return end.value


async def awaited_within(context: Context, awaitable: Awaitable[T]) -> T:
    return await _Apart(context, awaitable)


class _Apart(Awaitable[T]):
    """An awaitable whose steps are taken in a context."""

    def __init__(self, context: Context, awaitable: Awaitable[T]) -> None:
        self.context, self.awaitable = context, awaitable

    def __await__(self) -> Generator[Any, Any, T]:
        return apart(self.context, _steps(self.awaitable))


def _steps(awaitable: Awaitable[T]) -> Generator[Any, Any, T]:
    return (yield from awaitable.__await__())
