"""Steps of workflows that take longer than a round: they go on beside it, and are stored when they are through.

Whoever runs one puts a watchdog on the schedule, and puts it off for as long as it lives. When it is not heard of any
more the watchdog comes to the run's stream instead, and the step is begun anew.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from time import monotonic
from typing import Any

from sourced.ops import Op
from sourced.runtime.engine import Engine
from sourced.runtime.recording import put_off, recorded
from sourced.workflow.attempts import Attempt, Ref, Result

log = logging.getLogger("sourced.worker")

PATIENCE = 0.1  # seconds: how long a round waits for steps before it goes on without them
MOST = 1_000  # steps that go on beside the rounds of one worker; beyond that rounds wait
BREATH = 0.001  # seconds in which steps gather before the loop is woken up for them
THREADS = 32  # for steps that are plain methods
AGAIN = 0.5  # seconds until what could not be stored is tried again

Transacting = Callable[[Op[Any]], Awaitable[Any]]


class UnderWay:
    """An attempt that was begun here."""

    __slots__ = ("adopted", "attempt", "context", "dropped", "open", "result", "stale", "task", "told", "wanted_by")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.context = contextvars.copy_context()
        self.task: asyncio.Task[None] | None = None
        self.open = [True]  # who takes that out is the one whose result counts
        self.result: Result | None = None
        self.wanted_by: Waiting | None = None
        self.told = False  # a round has its result
        self.adopted = False  # it goes on beside the rounds, with a watchdog
        self.dropped = False  # nobody wants its result
        self.stale = False  # its round could not store it, and nobody has asked for it again


class Waiting:
    """A round that waits for the attempts of one run, though not for long."""

    __slots__ = ("attempts", "future", "open")

    def __init__(self, attempts: Sequence[UnderWay]) -> None:
        self.attempts = attempts
        self.open = [True]  # who takes that out is the one who answers
        self.future: Future[list[Result | None]] = Future()

    @property
    def ready(self) -> bool:
        return all(each.result is not None for each in self.attempts)


class Background:
    """Belongs to a worker; plain steps are made in threads of it, others on the worker's event loop.

    Rounds, threads and the loop meet here without a lock: each writes down what it has done before it looks at what the
    others have written, so of any two at least one sees the other.
    """

    def __init__(self, engine: Engine, transact: Transacting) -> None:
        self.engine = engine
        self.lease = engine.lease
        self._transact = transact
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sourced-steps")
        self._under_way: dict[Ref, UnderWay] = {}
        self._to_begin: deque[UnderWay | Waiting] = deque()
        self._beginning = False
        self._impatient: deque[tuple[float, Waiting]] = deque()
        self._armed = False
        self._ended: list[UnderWay] = []
        self._recording: asyncio.Task[None] | None = None
        self._fewer = asyncio.Event()

    def now(self) -> datetime:
        return self.engine.clock.now()

    # -- for rounds, called from their threads -----------------------------------------------------------------------

    def make(self, attempts: Sequence[Attempt]) -> Future[list[Result | None]]:
        """What they come to; nothing for those that take longer. One that was begun already is not begun again."""
        known = [self._under_way.get(each.ref) for each in attempts]
        waiting = Waiting([each or UnderWay(attempt) for each, attempt in zip(known, attempts, strict=True)])
        for each in waiting.attempts:
            each.wanted_by, each.stale = waiting, False
        for begun, each in zip(known, waiting.attempts, strict=True):
            if begun is None:
                self._under_way[each.attempt.ref] = each
                self._begin(each)
        if waiting.ready:
            self._answer(waiting)
        elif len(self._under_way) < MOST:  # else it has to wait
            if any(each.attempt.step.is_async for each in waiting.attempts):
                self._on_the_loop(waiting)  # that the loop is busy does not make its steps slow
            else:
                self._wait_impatiently(waiting)
        return waiting.future

    def settled(self, attempts: Sequence[Attempt]) -> None:
        """What the round had to say of them is stored."""
        for attempt in attempts:
            each = self._under_way.get(attempt.ref)
            if each is None or each.adopted:
                continue
            if each.told:
                del self._under_way[attempt.ref]
                continue
            each.adopted = True
            if each.result is not None:
                self._loop.call_soon_threadsafe(self._through, each)

    def stop(self, refs: Iterable[Ref]) -> None:
        """Nobody wants their results any more."""
        for ref in refs:
            if ref in self._under_way:  # or it is in another worker, which learns from its watchdog that it is off
                self._loop.call_soon_threadsafe(self._drop, ref)

    def _begin(self, each: UnderWay) -> None:
        if not each.attempt.step.is_async:
            self._threads.submit(each.context.run, self._make_here, each)
        else:
            self._on_the_loop(each)

    def _on_the_loop(self, what: UnderWay | Waiting) -> None:
        self._to_begin.append(what)
        if not self._beginning:
            self._beginning = True
            self._loop.call_soon_threadsafe(self._loop.call_later, BREATH, self._begin_on_the_loop)

    def _wait_impatiently(self, waiting: Waiting) -> None:
        self._impatient.append((monotonic() + PATIENCE, waiting))
        if not self._armed:
            self._armed = True
            self._loop.call_soon_threadsafe(self._loop.call_later, PATIENCE, self._lose_patience)

    # -- making attempts ---------------------------------------------------------------------------------------------

    def _make_here(self, each: UnderWay) -> None:
        """In a thread of ours, which nobody can stop."""
        limit = each.attempt.step.terms.timeout
        if limit is not None:
            late = Result(error=each.attempt.late())
            self._loop.call_soon_threadsafe(self._loop.call_later, limit.total_seconds(), self._made, each, late)
        begun = each.attempt.begun()
        if isinstance(begun, Result):
            self._made(each, begun)
        else:
            self._loop.call_soon_threadsafe(self._go_on, each, begun)

    def _begin_on_the_loop(self) -> None:
        self._beginning = False
        while self._to_begin:
            each = self._to_begin.popleft()
            if isinstance(each, Waiting):
                self._wait_impatiently(each)
            elif not each.dropped:
                self._go_on(each, None)

    def _go_on(self, each: UnderWay, begun: Awaitable[Any] | None) -> None:
        name = f"sourced {each.attempt.id}"
        each.task = self._loop.create_task(self._awaited(each, begun), name=name, context=each.context)

    async def _awaited(self, each: UnderWay, begun: Awaitable[Any] | None) -> None:
        made = begun or each.attempt.begun()
        self._made(each, made if isinstance(made, Result) else await each.attempt.awaited(made))

    def _made(self, each: UnderWay, result: Result) -> None:
        if not _first(each.open):
            return  # it was late, and that has been told
        each.result = result
        waiting = each.wanted_by
        if waiting is not None and waiting.ready:
            self._answer(waiting)
        if each.adopted:
            self._loop.call_soon_threadsafe(self._through, each)

    def _answer(self, waiting: Waiting) -> None:
        if not _first(waiting.open):
            return
        results = [each.result for each in waiting.attempts]
        for each, result in zip(waiting.attempts, results, strict=True):
            each.told = result is not None
        if waiting.future.set_running_or_notify_cancel():
            waiting.future.set_result(results)

    def _lose_patience(self) -> None:
        now = monotonic()
        while self._impatient and self._impatient[0][0] <= now:
            self._answer(self._impatient.popleft()[1])
        self._armed = False
        if self._impatient:
            self._armed = True
            self._loop.call_later(max(0.0, self._impatient[0][0] - now), self._lose_patience)

    # -- beside the rounds, on the loop ------------------------------------------------------------------------------

    def _drop(self, ref: Ref) -> None:
        each = self._under_way.pop(ref, None)
        if each is not None:
            each.dropped = True
            self._fewer.set()
            if each.task is not None:
                each.task.cancel()

    def _through(self, each: UnderWay) -> None:
        if self._under_way.pop(each.attempt.ref, None) is None:
            return
        self._fewer.set()
        self._ended.append(each)
        if self._recording is None or self._recording.done():
            self._recording = self._loop.create_task(self._record(), name="sourced steps")

    async def _record(self) -> None:
        """All that have ended meanwhile, together."""
        while self._ended:
            batch, self._ended = self._ended, []
            try:
                made = [(each.attempt, each.result) for each in batch if each.result is not None]
                await self._transact(recorded(self.engine, made))
            except Exception as error:
                log.warning("%d steps are through, and could not be stored yet: %s", len(batch), error)
                self._ended = batch + self._ended
                await asyncio.sleep(AGAIN)
            else:
                self.engine.notifier.notify()

    # -- while the worker lives ----------------------------------------------------------------------------------------

    async def prolong(self) -> None:
        """Puts the watchdogs off; an attempt whose watchdog has come meanwhile is given up."""
        under_way = [*self._under_way.items()]
        for ref, each in under_way:
            if each.stale and each.result is not None:
                self._drop(ref)
            each.stale = not each.adopted
        adopted = [each.attempt for _, each in under_way if each.adopted]
        if adopted:
            for attempt in await self._transact(put_off(self.engine, adopted)):
                self._drop(attempt.ref)

    async def finish(self) -> None:
        """Waits for what goes on beside the rounds, and until it is stored."""
        while any(each.adopted for each in self._under_way.values()):
            self._fewer.clear()
            await self._fewer.wait()
        while self._recording is not None and not self._recording.done():
            await asyncio.wait({self._recording})

    def close(self) -> None:
        for ref in [*self._under_way]:
            self._drop(ref)
        self._threads.shutdown(wait=False)


def _first(token: list[bool]) -> bool:
    """Whether nobody was here before; of several threads it is so for one."""
    try:
        return token.pop()
    except IndexError:
        return False
