"""One group's share of a worker: its rounds, a thread for each, and the latecomers they did not wait for."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from sourced.evolving import Evolving
from sourced.notifier import Types
from sourced.ops import Op
from sourced.reactor import Reactor
from sourced.runtime import seams
from sourced.runtime.background import Background
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Commit, Invoke, Leaving, Transact, perform, perform_async
from sourced.runtime.rounds.round import Round
from sourced.runtime.transacting import transacting, transacting_async
from sourced.runtime.workers.attendance import Attendance
from sourced.runtime.workers.hands import Hands, Threads
from sourced.runtime.workers.latecomers import Latecomer
from sourced.runtime.workers.threads import Driver, drive_on_the_loop, in_thread

log = logging.getLogger("sourced.worker")

TICK = 0.001  # seconds: a clock's hand may be a little late
PATIENCE = 0.5  # seconds: after that a round begins no other message, and soon goes on without those who only wait


class Shift:
    """No slow handler of it keeps another group waiting, and none of its streams another one for long."""

    def __init__(
        self,
        engine: Engine,
        reactor: Reactor,
        owner: str,
        rounds: int,
        share: Callable[[], int],
        background: Background,
    ) -> None:
        self.engine = engine
        self.reactor = reactor
        self.attendance = Attendance(reactor.group, rounds, self._watched)
        self.rounds: set[Round] = set()  # in hand
        self.late: dict[Latecomer, asyncio.Task[None]] = {}
        self.handled = 0  # messages, in rounds that came to their end
        self.busy = 0.0  # seconds these took
        self._owner = owner
        self._share = share
        self._background = background
        self._limit = engine.batch
        self._transact, self._transact_async = transacting(engine.store), transacting_async(engine.store)
        self._wanted = engine.types(reactor)
        self._awaits = awaits_transactions(reactor)
        self._threads = Threads(rounds, f"sourced-{reactor.group}")
        self._threads_of_the_late = ThreadPoolExecutor(rounds, thread_name_prefix=f"sourced-late-{reactor.group}")

    async def run(self) -> None:
        try:
            await self.attendance.run()
            while self.late:
                await asyncio.wait(self.late.values())
        finally:
            await self._call_off()
            self._threads.shutdown()
            self._threads_of_the_late.shutdown(wait=False)

    def call(self, types: Types) -> None:
        """There may be something to do, if it is about these."""
        if types is None or not self._wanted.isdisjoint(types):
            self.attendance.call()

    def stop(self) -> None:
        """No more messages; those in hand are finished and settled."""
        self.attendance.stop()
        for each in self.rounds:
            each.hurry()

    def prolong_the_late(self, until: datetime) -> Op[None]:
        for each in [*self.late]:
            yield from each.prolong(until)

    # -- rounds

    async def _watched(self, slot: int) -> int | None:
        return await seams.faltering(self.engine, self.reactor.group, self._round(slot))

    async def _round(self, slot: int) -> int | None:
        """In a thread; only transactions that `async` code is handed belong to the loop."""
        driver = Driver(asyncio.get_running_loop())
        leaving = partial(driver.leaving, patience=2 * PATIENCE, may_leave=self._may_leave)
        one = Round(
            self.engine, self.reactor, f"{self._owner}/{slot}", most=self._share(), limit=self._limit,
            background=self._background, patience=PATIENCE, drive=leaving,
        )  # fmt: skip

        def abandon() -> None:
            one.hurry()
            driver.abandon()

        def in_a_thread(work: Callable[..., Any], *args: Any) -> Awaitable[Any]:
            return in_thread(hands, partial(work, *args), abandon)

        def go_on(rest: Callable[[], Any]) -> Any:
            return rest() if self._awaits else perform(program, self._transact, None, driver, Invoke((), _only(rest)))

        began, program = self.engine.clock.elapsed(), one.program()
        hands = Hands(self._threads, driver, go_on, 2 * PATIENCE)
        self.rounds.add(one)
        try:
            if self._awaits:
                one.drive = partial(in_a_thread, leaving)
                dealt_with = await perform_async(program, self._transact_async, drive=partial(in_a_thread, driver))
            else:
                dealt_with = await in_a_thread(perform, program, self._transact, None, driver)
        finally:
            hands.rest()
            self.rounds.discard(one)
            for each in one.late:
                self._go_on_with(Latecomer(one, each))
        self._call_again(one)
        self._learn(one, dealt_with or 0, self.engine.clock.elapsed() - began)
        return dealt_with

    def _call_again(self, one: Round) -> None:
        """What is to be tried again is, as soon as it is due."""
        if one.again:
            seconds = (one.again - self.engine.clock.now()).total_seconds()
            asyncio.get_running_loop().call_later(max(0.0, seconds) + TICK, self.attendance.call)

    def _learn(self, one: Round, dealt_with: int, seconds: float) -> None:
        """A round should be as large as can be handled before its time is up."""
        if dealt_with:
            self.handled += dealt_with
            self.busy += seconds
        if one.cut_short:
            self._limit = max(1, dealt_with)
        elif seconds < PATIENCE / 2:
            self._limit = min(self.engine.batch, self._limit * 2)

    # -- latecomers

    async def _call_off(self) -> None:
        late = [*self.late]
        for task in self.late.values():
            task.cancel()
        if self.late:
            await asyncio.wait(self.late.values())
        for each in late:
            if not each.resumed:  # cancelled before it could see to that itself
                await self._transact_in_a_thread(Transact(each.put_back()))

    def _may_leave(self, count: int) -> bool:
        """What waits is held in memory, so there is an end to it; when it is reached, rounds wait for their slowest."""
        return len(self.late) + count <= self.engine.batch

    def _go_on_with(self, late: Latecomer) -> None:
        self.late[late] = asyncio.create_task(self._finish(late), name=f"sourced {self.reactor.group} late")
        self.late[late].add_done_callback(lambda _: self.late.pop(late))

    async def _finish(self, late: Latecomer) -> None:
        transact = self._transact_async if self._awaits else self._transact_in_a_thread
        drive = partial(drive_on_the_loop, threads=self._threads_of_the_late)
        try:
            await seams.faltering(self.engine, self.reactor.group, perform_async(late.program(), transact, drive=drive))
            self._call_again(late)
        except Exception as error:
            log.error("%s: %s is handled anew, after: %r", self.reactor.group, late.one.stream, error)

    async def _transact_in_a_thread(self, step: Transact | Commit) -> Any:
        return await in_thread(self._threads_of_the_late, partial(self._transact, step))


def _only(rest: Callable[[], Any]) -> Leaving:
    """Drives what is left of works that were begun."""
    return lambda _: rest()


def awaits_transactions(reactor: Reactor) -> bool:
    """Whether code of it that is handed the transaction is `async`, and so needs one that can be awaited."""
    names = [*reactor.tables.sync] if isinstance(reactor, Evolving) else []
    works = [getattr(reactor, name) for name in (*names, "load") if hasattr(reactor, name)]
    return any(inspect.iscoroutinefunction(work) for work in works)
