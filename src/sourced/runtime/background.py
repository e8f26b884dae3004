"""Steps of workflows that take longer than a round: they go on beside it, and are stored when they are through.

Whoever runs one puts a watchdog on the schedule, and puts it off for as long as it lives. When it is not heard of any
more the watchdog comes to the run's stream instead, and the step is begun anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

from sourced.codec import Record
from sourced.ops import Op
from sourced.runtime.engine import Engine
from sourced.store import Entry, Range, Scheduled
from sourced.workflow import events as e
from sourced.workflow.attempts import Attempt, Ref, Result

T = TypeVar("T")

log = logging.getLogger("sourced.worker")

PATIENCE = 0.1  # seconds: how long a round waits for steps before it goes on without them
MOST = 1_000  # steps that go on beside the rounds of one worker; beyond that rounds wait
THREADS = 32  # for steps that are plain methods
AGAIN = 0.5  # seconds until what could not be stored is tried again

Transacting = Callable[[Op[Any]], Awaitable[Any]]


class UnderWay:
    """An attempt that was begun here."""

    __slots__ = ("adopted", "attempt", "stale", "task", "told")

    def __init__(self, attempt: Attempt, task: asyncio.Task[Result]) -> None:
        self.attempt = attempt
        self.task = task
        self.told = False  # a round has its result
        self.adopted = False  # it goes on beside the rounds, with a watchdog
        self.stale = False  # its round could not store it, and nobody has asked for it again


class Background:
    """Belongs to a worker and its event loop."""

    def __init__(self, engine: Engine, transact: Transacting) -> None:
        self.engine = engine
        self.lease = engine.lease
        self._transact = transact
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sourced-steps")
        self._under_way: dict[Ref, UnderWay] = {}
        self._ended: list[UnderWay] = []
        self._recording: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        return self.engine.clock.now()

    # -- for rounds --------------------------------------------------------------------------------------------------

    async def make(self, attempts: Sequence[Attempt]) -> list[Result | None]:
        """What they came to; nothing for those that take longer. One that was begun already is not begun again."""
        under_way = [self._begun(each) for each in attempts]
        crowded = sum(each.adopted for each in self._under_way.values()) >= MOST
        await asyncio.wait([each.task for each in under_way], timeout=None if crowded else PATIENCE)
        for each in under_way:
            each.told, each.stale = each.task.done() and not each.task.cancelled(), False
        return [each.task.result() if each.told else None for each in under_way]

    def settled(self, attempts: Sequence[Attempt]) -> None:
        """What the round had to say of them is stored. Called from its thread."""
        self._loop.call_soon_threadsafe(self._settled, attempts)

    def stop(self, refs: Iterable[Ref]) -> None:
        """Nobody wants their results any more. Called from a round's thread."""
        for ref in refs:
            each = self._under_way.get(ref)
            if each is not None:  # or it is in another worker, which learns from its watchdog that it is off
                self._loop.call_soon_threadsafe(each.task.cancel)

    def _settled(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            each = self._under_way.get(attempt.ref)
            if each is None or each.adopted:
                continue
            if each.told:
                del self._under_way[attempt.ref]
            else:
                each.adopted = True
                each.task.add_done_callback(lambda _, each=each: self._through(each))  # type: ignore[misc]

    def _begun(self, attempt: Attempt) -> UnderWay:
        each = self._under_way.get(attempt.ref)
        if each is None:
            task = self._loop.create_task(self._made(attempt), name=f"sourced {attempt.id}")
            each = self._under_way[attempt.ref] = UnderWay(attempt, task)
        return each

    async def _made(self, attempt: Attempt) -> Result:
        begun = attempt.begun() if attempt.step.is_async else await self._in_a_thread(attempt)
        return begun if isinstance(begun, Result) else await attempt.awaited(begun)

    async def _in_a_thread(self, attempt: Attempt) -> Result | Awaitable[Any]:
        limit = attempt.step.terms.timeout
        if limit is None:
            return await self._loop.run_in_executor(self._threads, attempt.begun)
        begun = self._loop.create_future()

        def work() -> Result | Awaitable[Any]:
            self._loop.call_soon_threadsafe(begun.set_result, None)
            return attempt.begun()

        working = self._loop.run_in_executor(self._threads, work)
        await begun  # it may have waited for a thread
        done, _ = await asyncio.wait({working}, timeout=limit.total_seconds())
        return working.result() if done else Result(error=attempt.late())  # nobody can stop a thread

    # -- beside the rounds -------------------------------------------------------------------------------------------

    def _through(self, each: UnderWay) -> None:
        self._under_way.pop(each.attempt.ref, None)
        if each.task.cancelled():
            return
        self._ended.append(each)
        if self._recording is None or self._recording.done():
            self._recording = self._loop.create_task(self._record(), name="sourced steps")

    async def _record(self) -> None:
        """All that have ended meanwhile, together."""
        while self._ended:
            batch, self._ended = self._ended, []
            try:
                await self._transact(self._recorded(batch))
            except Exception as error:
                log.warning("%d steps are through, and could not be stored yet: %s", len(batch), error)
                self._ended = batch + self._ended
                await asyncio.sleep(AGAIN)
            else:
                self.engine.notifier.notify()

    def _recorded(self, batch: Sequence[UnderWay]) -> Op[None]:
        """Each at the end of its run's stream, unless the run has gone on without it."""
        store, now = self.engine.store, self.now()
        yield from store.reserve({each.attempt.run for each in batch})
        since = yield from store.histories([Range(each.attempt.run, each.attempt.started.seq) for each in batch])
        entries: list[Entry] = []
        later: list[Scheduled] = []
        for each, records in zip(batch, since, strict=True):
            attempt = each.attempt
            if self._is_over(attempt, each.task.result(), records):
                continue
            events = [*attempt.events(each.task.result(), now)]
            messages = [attempt.started.follow(event, now=now) for event in events]
            entries.append(Entry(attempt.run, self.engine.encode(messages)))
            for event in events:
                for action in attempt.following(event):
                    later += [Scheduled(record, action.at) for record in self.engine.encode(action.messages)]
        if entries:
            yield from store.append(entries)
        if later:
            yield from store.schedule(later)
        yield from store.cancel([each.attempt.watchdog(now).id for each in batch])

    def _is_over(self, attempt: Attempt, result: Result, records: Iterable[Record]) -> bool:
        """The run has ended, or this step has, or another attempt was begun and this one has come to nothing."""
        for record in records:
            payload = self.engine.codec.payload(record)
            if isinstance(payload, e.ENDINGS):
                return True
            of_step = isinstance(payload, e.StepCompleted | e.StepFailed | e.StepInterrupted)
            if of_step and payload.key == attempt.key and (result.error or isinstance(payload, e.StepCompleted)):
                return True
        return False

    # -- while the worker lives ----------------------------------------------------------------------------------------

    async def prolong(self) -> None:
        """Puts the watchdogs off; an attempt whose watchdog has come meanwhile is given up."""
        for ref in [ref for ref, each in self._under_way.items() if each.stale and each.task.done()]:
            del self._under_way[ref]
        for each in self._under_way.values():
            each.stale = not each.adopted
        adopted = [each for each in self._under_way.values() if each.adopted]
        if not adopted:
            return
        gone = await self._transact(self._put_off(adopted))
        for each in gone:
            each.task.cancel()

    def _put_off(self, adopted: Sequence[UnderWay]) -> Op[list[UnderWay]]:
        store, now = self.engine.store, self.now()
        watchdogs = {each.attempt.watchdog(now).id: each for each in adopted}
        still = set((yield from store.cancel([*watchdogs])))
        messages = [each.attempt.watchdog(now) for id, each in watchdogs.items() if id in still]
        if messages:
            yield from store.schedule([Scheduled(record, now + self.lease) for record in self.engine.encode(messages)])
        return [each for id, each in watchdogs.items() if id not in still]

    async def finish(self) -> None:
        """Waits for what was begun, and until it is stored."""
        while adopted := [each.task for each in self._under_way.values() if each.adopted]:
            await asyncio.wait(adopted)
            await asyncio.sleep(0)
        while self._recording is not None and not self._recording.done():
            await asyncio.wait({self._recording})

    def close(self) -> None:
        for each in self._under_way.values():
            each.task.cancel()
        self._threads.shutdown(wait=False)
