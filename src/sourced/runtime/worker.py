"""A worker: rounds of every group, side by side, until it is told to stop. Nothing else ends it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sourced.evolving import Evolving
from sourced.ids import new_id
from sourced.ops import Op
from sourced.reactor import Reactor
from sourced.runtime.engine import Engine
from sourced.runtime.programs import perform, perform_async, transacting, transacting_async
from sourced.runtime.rounds import Round
from sourced.runtime.threads import driving_on
from sourced.store import Worker as SignOfLife

T = TypeVar("T")

log = logging.getLogger("sourced.worker")

LOOK = 1.0  # seconds: what a lost wake-up costs at most
TICK = 0.25  # seconds between looks at the schedule
BREATH = 0.002  # seconds: wake-ups that come closer together than this count as one
LONGEST_PAUSE = 5.0  # seconds after the store has failed again and again


class Worker:
    """Runs on one event loop: `await worker.run()`; `worker.stop()` lets the rounds in hand end first."""

    def __init__(self, engine: Engine, *, rounds: int = 2) -> None:
        self.engine = engine
        self.rounds = rounds  # of one group, at a time
        self.host = socket.gethostname()
        self.id = f"{self.host}:{os.getpid()}:{new_id()[-12:]}"  # unique for each start, whatever the process id
        self._reactors = list(engine.router)
        self._share = max(1, math.ceil(engine.store.shards / rounds))
        self._in_hand: set[Round] = set()
        self._stopping = asyncio.Event()
        self._calls = {reactor.group: asyncio.Event() for reactor in self._reactors}
        self._started_at = engine.clock.now()

    async def run(self) -> None:
        """Until it is stopped; then what it holds is settled and given back."""
        threads = max(4, 2 * self.rounds, min(32, self.rounds * len(self._reactors))) + 1
        with ThreadPoolExecutor(threads, thread_name_prefix="sourced") as self._threads:
            await self._guarded(self._tell_that_i_live)
            async with asyncio.TaskGroup() as tasks:
                for reactor in self._reactors:
                    tasks.create_task(_Attendance(self, reactor).run(), name=f"sourced {reactor.group}")
                tasks.create_task(self._listen(), name="sourced wake-ups")
                tasks.create_task(self._keep_house(), name="sourced housekeeping")
            await self._guarded(lambda: self._transact(self.engine.store.leave(self.id)))

    def stop(self) -> None:
        self._stopping.set()

    def call(self) -> None:
        """There may be something to do, for anybody."""
        for call in self._calls.values():
            call.set()

    # -- wake-ups and housekeeping -----------------------------------------------------------------------------------

    async def _listen(self) -> None:
        with self.engine.notifier.listen() as listener:
            self.call()
            while not self._stopping.is_set():
                heard = asyncio.ensure_future(listener.wait_async(LOOK))
                await self._unless_stopped(heard)
                self.call()
                await self._pause(BREATH)

    async def _keep_house(self) -> None:
        """What is due moves into the log; leases of long rounds are prolonged; the others learn that we live."""
        ticks = 0
        beats = max(1, int(self.engine.lease.total_seconds() / 3 / TICK))
        while not self._stopping.is_set():
            await self._guarded(self._promote)
            ticks += 1
            if ticks % beats == 0:
                await self._guarded(self._prolong)
                await self._guarded(self._tell_that_i_live)
            await self._pause(TICK)

    async def _promote(self) -> None:
        engine = self.engine
        while await self._transact(engine.store.promote(engine.clock.now())):
            engine.notifier.notify()

    async def _prolong(self) -> None:
        until = self.engine.clock.now() + self.engine.lease
        for claim in [each.claimed for each in self._in_hand if each.claimed is not None]:
            await self._transact(self.engine.store.renew(claim, until))

    async def _tell_that_i_live(self) -> None:
        """And take our share of the shards: all rounds of all workers together could have every one of them in hand."""
        store, now = self.engine.store, self.engine.clock.now()
        await self._transact(
            store.beat(SignOfLife(self.id, self.host, os.getpid(), self.rounds, self._started_at, now))
        )
        alive = await self._transact(store.workers(now - self.engine.lease))
        self._share = max(1, math.ceil(store.shards / max(1, sum(each.rounds for each in alive))))

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        """One error of the store never ends it: it is tried again at the next tick."""
        try:
            await work()
        except Exception as error:
            log.warning("housekeeping goes on after: %s", error, exc_info=error)

    async def _transact(self, op: Op[T]) -> T:
        return await self._in_thread(partial(self.engine.store.transact, op))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # -- rounds ------------------------------------------------------------------------------------------------------

    async def round(self, reactor: Reactor, slot: int) -> int | None:
        """One round: in a thread, or on the loop when its sync blocks are `async` and need a connection of the loop."""
        one = Round(self.engine, reactor, f"{self.id}/{slot}", most=self._share)
        store = self.engine.store
        self._in_hand.add(one)
        try:
            if awaits_transactions(reactor):
                return await perform_async(one.program(), transacting_async(store))
            drive = driving_on(asyncio.get_running_loop())
            return await self._in_thread(lambda: perform(one.program(), transacting(store), drive=drive))
        finally:
            self._in_hand.discard(one)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _unless_stopped(self, work: asyncio.Future[Any]) -> None:
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            work.cancel()


class _Attendance:
    """One group's rounds: as many at a time as are allowed while there is work, and none while there is not."""

    def __init__(self, worker: Worker, reactor: Reactor) -> None:
        self.worker = worker
        self.reactor = reactor
        self.call = worker._calls[reactor.group]
        self.wanted = 1
        self.called = False  # while rounds were under way, which may have looked before there was anything
        self.failures = 0
        self.running: dict[asyncio.Task[int | None], int] = {}  # and the slots they are in

    async def run(self) -> None:
        stopping = self.worker._stopping
        stopped = asyncio.create_task(stopping.wait())
        called: asyncio.Task[Any] = asyncio.create_task(self.call.wait())
        try:
            while not stopping.is_set() or self.running:
                if not stopping.is_set():
                    self.start()
                waiting = {*self.running, called} if stopping.is_set() else {*self.running, called, stopped}
                done, _ = await asyncio.wait(waiting, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    self.wanted = max(self.wanted, 1)  # nobody called for a while: look all the same
                if called in done:
                    self.call.clear()
                    self.called = bool(self.running)
                    self.wanted = max(self.wanted, 1)
                    called = asyncio.create_task(self.call.wait())
                for task in [each for each in done if each in self.running]:
                    await self.ended(task)
        finally:
            called.cancel()
            stopped.cancel()

    def start(self) -> None:
        free = [slot for slot in range(self.worker.rounds) if slot not in self.running.values()]
        while len(self.running) < self.wanted and free:
            slot = free.pop(0)
            self.running[asyncio.create_task(self.worker.round(self.reactor, slot))] = slot

    async def ended(self, task: asyncio.Task[int | None]) -> None:
        """One that found something is followed by as many as may be; one that found nothing by none, until called."""
        del self.running[task]
        try:
            dealt_with = task.result()
        except Exception as error:
            self.failures += 1
            pause = min(LONGEST_PAUSE, 0.05 * 2**self.failures)
            log.error("%s: the next round in %.1f s, after: %s", self.reactor.group, pause, error, exc_info=error)
            await self.worker._pause(pause)
            self.wanted = 1
        else:
            self.failures = 0
            self.wanted = self.worker.rounds if dealt_with is not None else int(self.called)
            self.called = False


def awaits_transactions(reactor: Reactor) -> bool:
    """Whether code of it that is handed the transaction is `async`, and so needs one that can be awaited."""
    names = [*reactor.tables.sync] if isinstance(reactor, Evolving) else []
    works = [getattr(reactor, name) for name in (*names, "load") if hasattr(reactor, name)]
    return any(inspect.iscoroutinefunction(work) for work in works)
