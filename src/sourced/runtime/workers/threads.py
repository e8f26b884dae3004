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
from sourced.runtime.programs import CANCELLED, Relieved, Stepping, UnderWay, Work, go_on

T = TypeVar("T")


class Driver:
    """Drives works from a thread that is not the loop's: their plain code here, what they wait for there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.awaited: set[Future[Any]] = set()
        self.abandoned = False
        self._driving: Driving | None = None

    def __call__(self, works: Sequence[Work]) -> None:
        self.leaving(works, math.inf, lambda count: False)

    def leaving(
        self, works: Sequence[Work], patience: float, may_leave: Callable[[int], bool]
    ) -> dict[Work, Future[Any]]:
        """Waits so many seconds, then it leaves be those that are not through, if so many may be left."""
        self._driving = Driving(self, works, patience, may_leave)
        return self._driving.go_on()

    def left_with(self, patience: float) -> Callable[[], dict[Work, Future[Any]]] | None:
        """When plain code has been under way for longer than that: it is left, and this goes on with the others."""
        driving = self._driving
        if driving is None or self.abandoned or not driving.leave_what_hangs(patience):
            return None
        return driving.go_on

    def abandon(self) -> None:
        """Cancels what is waited for; the thread ends as soon as plain code of the user's lets it."""
        self.abandoned = True
        for future in [*self.awaited]:
            future.cancel()


class Driving:
    """Works, driven by one thread at a time."""

    def __init__(
        self, driver: Driver, works: Sequence[Work], patience: float, may_leave: Callable[[int], bool]
    ) -> None:  # fmt: skip
        self._driver = driver
        self._rest = iter(works)
        self._patience = patience
        self._may_leave = may_leave
        self._answers: SimpleQueue[UnderWay] = SimpleQueue()
        self._waiting: dict[Work, Future[Any]] = {}
        self._left: dict[Work, Future[Any]] = {}
        self._piece: Piece | None = None

    def go_on(self) -> dict[Work, Future[Any]]:
        for work in self._rest:
            self._step(work, partial(next, work, None))
        until = monotonic() + self._patience
        while self._waiting:
            try:
                work, future = self._answers.get(
                    timeout=None if self._patience == math.inf else max(0, until - monotonic())
                )
            except Empty:
                if self._may_leave(len(self._waiting)):
                    self._driver.awaited.difference_update(self._waiting.values())
                    break
                until = monotonic() + self._patience
                continue
            del self._waiting[work]
            self._driver.awaited.discard(future)
            self._step(work, partial(_answered, work, future))
        return self._waiting | self._left

    def _step(self, work: Work, take: Callable[[], Awaitable[Any] | None]) -> None:
        if self._driver.abandoned:
            raise asyncio.CancelledError
        piece = self._piece = Piece(work)
        try:
            awaitable = take()
        except BaseException as error:
            if piece.ours():
                raise
            piece.fail(error)
            raise Relieved from error
        if not piece.ours():
            piece.give(awaitable)
            raise Relieved
        if awaitable is not None:
            self._wait(work, awaitable)

    def _wait(self, work: Work, awaitable: Awaitable[Any]) -> None:
        driver = self._driver
        elsewhere = awaitable.future if type(awaitable) is Later else None
        future = self._waiting[work] = elsewhere or asyncio.run_coroutine_threadsafe(_awaited(awaitable), driver.loop)
        driver.awaited.add(future)
        future.add_done_callback(lambda done: self._answers.put((work, done)))
        if driver.abandoned:  # just now, and who did it may not have seen this one
            future.cancel()

    def leave_what_hangs(self, patience: float) -> bool:
        """Whether something did, and is left from now on."""
        piece = self._piece
        if piece is None or piece.left is not None or monotonic() - piece.begun < patience:
            return False
        if not self._may_leave(len(self._waiting) + 1):
            return False
        piece.left = Stepping()
        if not piece.ours():
            return False
        self._left[piece.work] = piece.left
        return True


class Piece:
    """Plain code of a work, which a thread is in the middle of."""

    __slots__ = ("begun", "left", "ours_alone", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.begun = monotonic()
        self.left: Stepping | None = None  # what the one who left it waits for
        self.ours_alone = [True]

    def ours(self) -> bool:
        """The first to ask has it: the thread when the code is through, or who does not wait for that."""
        try:
            return self.ours_alone.pop()
        except IndexError:
            return False

    def give(self, awaitable: Awaitable[Any] | None) -> None:
        """What the work waits for next, to whoever goes on with it."""
        assert self.left is not None
        if self.left.set_running_or_notify_cancel():
            self.left.set_result(awaitable)
        elif inspect.iscoroutine(awaitable):
            awaitable.close()  # nobody will ever begin it

    def fail(self, error: BaseException) -> None:
        assert self.left is not None
        if self.left.set_running_or_notify_cancel():
            self.left.set_exception(error)


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
