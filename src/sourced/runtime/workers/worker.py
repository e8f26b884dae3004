"""A worker: rounds of every group, side by side, until it is told to stop. Nothing else ends it."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TypeVar

from sourced.audit import Operation
from sourced.clock import as_delta
from sourced.errors import Deadlocked
from sourced.ids import new_id
from sourced.notifier import Listener, Types
from sourced.ops import Op
from sourced.runtime import seams
from sourced.runtime.background import Background
from sourced.runtime.engine import Engine
from sourced.runtime.workers.arrival import WAIT, arrived, check_wait
from sourced.runtime.workers.shift import Shift
from sourced.runtime.workers.threads import in_thread
from sourced.store import Worker as SignOfLife

T = TypeVar("T")

log = logging.getLogger("sourced.worker")

OPERATIONS = frozenset(name for each in Operation.__subclasses__() for name in each.__sourced__.names)
LOOK = 1.0  # seconds: what a lost wake-up costs at most
TICK = 0.25  # seconds between looks at the schedule
BREATH = 0.002  # seconds: wake-ups that come closer together than this count as one
BEATS = 3  # signs of life while a lease lasts


class Worker:
    """Runs on one event loop: `await worker.run()`; `worker.stop()` lets the rounds in hand end first."""

    def __init__(self, engine: Engine, *, rounds: int = 2) -> None:
        self.engine = engine
        self.rounds = rounds  # of one group, at a time
        self.host = socket.gethostname()
        self.id = f"{self.host}:{os.getpid()}:{new_id()[-12:]}"  # unique for each start, whatever the process id
        self._share = max(1, math.ceil(engine.store.shards / rounds))
        self._shifts: dict[str, Shift] = {}
        self._look_at = 0.0
        self._stopping = asyncio.Event()
        self._pauses: set[asyncio.Future[None]] = set()
        self._in_touch = True  # with the store, when it was last asked for anything
        self._started_at = engine.clock.now()

    async def arrive(self, work: Callable[[], Awaitable[object]], wait: timedelta | float = WAIT) -> bool:
        """Does what comes before everything else, for which the store is waited for; false if it was stopped first."""
        return await arrived(work, check_wait(as_delta(wait)), self._stopping)

    async def run(self) -> None:
        """Until it is stopped; then what it holds is settled and given back."""
        self._house = ThreadPoolExecutor(4, thread_name_prefix="sourced-house")  # no handler ever keeps these
        self._background = Background(self.engine, self._transact)
        alive = asyncio.create_task(self._stay_alive(), name="sourced signs of life")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._attend(tasks), name="sourced wake-ups")
                tasks.create_task(self._promote(), name="sourced schedule")
            await self._background.finish()
        finally:
            alive.cancel()
            await asyncio.wait({alive})
            self._background.close()
            if self._in_touch:  # who is not waited for by anybody need not say farewell
                await self._guarded(lambda: self._transact(self.engine.store.leave(self.id)))
            self._house.shutdown(wait=False)

    def stop(self) -> None:
        """No more rounds; those in hand settle what they have done."""
        self._stopping.set()
        for pause in self._pauses:
            _end(pause)
        for shift in self._shifts.values():
            shift.stop()
        log.info("stopping, with %d rounds in hand", sum(len(shift.rounds) for shift in self._shifts.values()))

    def call(self, types: Types = None) -> None:
        """There may be something to do, for whoever handles these.

        Everybody is called when somebody has started, reset or retried something, and now and then, whatever was told.
        """
        now = monotonic()
        if types is None or now >= self._look_at or not OPERATIONS.isdisjoint(types):
            types, self._look_at = None, now + LOOK
        for shift in self._shifts.values():
            shift.call(types)

    # -- wake-ups ----------------------------------------------------------------------------------------------------

    async def _attend(self, tasks: asyncio.TaskGroup) -> None:
        """Begins to look after every group, also those registered later, and calls them whenever there is news."""
        while not self._stopping.is_set():
            await self._guarded(lambda: self._hear(tasks))

    async def _hear(self, tasks: asyncio.TaskGroup) -> None:
        hearing = self.engine.notifier.listen()
        listener = await in_thread(self._house, hearing.__enter__)  # it may have to reach the store for that
        try:
            while not self._stopping.is_set():
                await self._guarded(lambda: self._receive(tasks))
                self.call(listener.news())
                await self._pause(BREATH)  # after the call and not before it: who comes alone waits for nothing
                await self._unless_stopped(listener)
        finally:
            await in_thread(self._house, lambda: hearing.__exit__(None, None, None))

    async def _receive(self, tasks: asyncio.TaskGroup) -> None:
        for reactor in self.engine.router:
            if reactor.group in self._shifts:
                continue
            for group, start_from in self.engine.unknown_groups():
                await self._transact(self.engine.store.register(group, start_from))
                self.engine.started.add(group)
            if not self._stopping.is_set():
                shift = Shift(self.engine, reactor, self.id, self.rounds, lambda: self._share, self._background)
                self._shifts[reactor.group] = shift
                tasks.create_task(shift.run(), name=f"sourced {reactor.group}")

    # -- housekeeping ------------------------------------------------------------------------------------------------

    async def _promote(self) -> None:
        """What is due moves into the log."""
        while not self._stopping.is_set():
            await self._guarded(self._promote_due)
            await self._pause(TICK)

    async def _promote_due(self) -> None:
        engine = self.engine
        while due := await self._transact(engine.store.promote(engine.clock.now())):
            seams.promoted(engine, len(due))
            engine.notifier.notify({record.type for record in due})

    async def _stay_alive(self) -> None:
        """The others learn that we live; leases of long rounds are prolonged, also while we wait for their end."""
        while True:
            await self._guarded(self._tell_that_i_live)
            await asyncio.sleep(self.engine.lease.total_seconds() / BEATS)
            await self._guarded(self._prolong)
            await self._guarded(self._background.prolong)

    async def _prolong(self) -> None:
        until = self.engine.clock.now() + self.engine.lease
        for shift in [*self._shifts.values()]:
            for claim in [each.claimed for each in shift.rounds if each.claimed is not None]:
                await self._transact(self.engine.store.renew(claim, until))
                seams.renewed(self.engine, claim, self.id, until)
            if shift.late:
                await self._transact(shift.prolong_the_late(until))

    async def _tell_that_i_live(self) -> None:
        """And take our share of the shards: all rounds of all workers together could have every one of them in hand."""
        store, now = self.engine.store, self.engine.clock.now()
        self.engine.memos.passivate()
        shifts = self._shifts.values()
        handled, busy = sum(each.handled for each in shifts), sum(each.busy for each in shifts)
        sign = SignOfLife(self.id, self.host, os.getpid(), self.rounds, self._started_at, now, handled, busy)
        await self._transact(store.beat(sign))
        alive = await self._transact(store.workers(now - self.engine.lease))
        self._share = max(1, math.ceil(store.shards / max(1, sum(each.rounds for each in alive))))

    async def _guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        """One error of the store never ends it: it is tried again at the next tick."""
        try:
            await seams.faltering(self.engine, "", work())
        except Deadlocked as error:
            log.info("housekeeping was taken back, and is done again: %s", error)
            await self._pause(TICK)
        except ConnectionError as error:
            if self._in_touch:  # said once, however long it lasts
                log.warning("the store cannot be reached, and is tried again and again: %s", error)
            self._in_touch = False
            await self._pause(TICK)
        except Exception:
            log.exception("housekeeping goes on after this")
            await self._pause(TICK)

    async def _transact(self, op: Op[T]) -> T:
        found = await in_thread(self._house, partial(self.engine.store.transact, op))
        if not self._in_touch:
            self._in_touch = True
            log.warning("the store is reached again")
            for shift in self._shifts.values():
                shift.attendance.hurry()
        return found

    async def _pause(self, seconds: float) -> None:
        """Or until it is stopped; for a tenth of what it costs to wait for that with a timeout."""
        if self._stopping.is_set():
            return
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _end, over)
        self._pauses.add(over)
        try:
            await over
        finally:
            timer.cancel()
            self._pauses.discard(over)

    async def _unless_stopped(self, listener: Listener) -> None:
        heard = asyncio.ensure_future(listener.wait_async(max(0.0, self._look_at - monotonic())))
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({heard, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                heard.result()
        finally:
            heard.cancel()
            stopped.cancel()


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)
