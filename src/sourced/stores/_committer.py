"""Group commit: whoever comes while a commit is under way shares the next one. Nobody waits for company."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import monotonic
from typing import TypeAlias

from sourced.errors import Unavailable
from sourced.store import Entry, Outcome

Flush: TypeAlias = Callable[[Sequence[Entry]], list[Outcome]]
FlushAsync: TypeAlias = Callable[[Sequence[Entry]], Awaitable[list[Outcome]]]

MOST = 1_000  # entries in one commit
_INTERRUPTED = "whoever made this commit for several was interrupted"
KINDNESS = 0.002  # seconds that one goes on committing for others, before he passes that on


class _Caller:
    """One who waits for his entries to be stored."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.outcomes: list[Outcome] | None = None
        self.error: BaseException | None = None
        self._asleep = threading.Lock()  # an event, at a fraction of the price
        self._asleep.acquire()
        self.roused = False
        self.others: Sequence[_Caller] = ()  # whom he is to rouse when he has been roused
        self._gone = False

    def wait(self) -> None:
        """Until there is an answer, or it is his turn to carry out the next commit."""
        self._asleep.acquire()
        self._rouse_others()

    def rouse(self) -> None:
        if not self.roused:
            self.roused = True
            with contextlib.suppress(RuntimeError):  # by two at the same moment
                self._asleep.release()
            if self._gone:
                self._rouse_others()

    def leave(self) -> None:
        """He was interrupted and waits no longer; those he is to rouse are roused all the same."""
        self._gone = True
        if self.roused:
            self._rouse_others()

    def _rouse_others(self) -> None:
        for each in self.others:
            each.rouse()

    def answer(self) -> list[Outcome]:
        if self.error is not None:
            raise self.error
        assert self.outcomes is not None
        return self.outcomes

    @property
    def answered(self) -> bool:
        return self.outcomes is not None or self.error is not None


class Committer:
    """For threads: the one who finds nobody at work carries out the commit, for himself and for those who came."""

    def __init__(self, flush: Flush) -> None:
        self._flush = flush
        self._waiting: list[_Caller] = []
        self._lock = threading.Lock()
        self._busy = False

    def commit(self, entries: Sequence[Entry]) -> list[Outcome]:
        with self._lock:
            if not self._busy:
                self._busy, caller = True, None
            else:
                caller = _Caller(entries)
                self._waiting.append(caller)
        if caller is None:  # the one who comes alone is the rule, and waits for nothing
            try:
                return self._flush(entries)
            finally:
                self._commit_for_others()
        try:
            caller.wait()
        except BaseException:
            self._withdraw(caller)
            raise
        if not caller.answered:
            self._commit_for_others()
        return caller.answer()

    def _withdraw(self, caller: _Caller) -> None:
        """He was interrupted: unless somebody has it in hand already, what he brought is not stored."""
        with self._lock:
            waits = caller in self._waiting
            if waits:
                self._waiting.remove(caller)
        if not waits:
            caller.leave()
        elif caller.roused:
            self._pass_on()

    def _commit_for_others(self) -> None:
        """For a moment, as long as others wait: to wake one of them for it may take longer than a commit does."""
        until = monotonic() + KINDNESS
        while True:
            with self._lock:
                callers = [*_together(self._waiting)]
                del self._waiting[: len(callers)]
                self._busy = bool(callers)
            if not callers:
                return
            try:
                _distribute(callers, self._flush)
            except BaseException:  # it is for whoever is at work, and not for those he works for
                for each in callers:
                    if not each.answered:
                        each.error = Unavailable("the store", _INTERRUPTED, unsure=True)
                self._pass_on()
                raise
            finally:
                _rouse(callers)
            if monotonic() > until:
                return self._pass_on()

    def _pass_on(self) -> None:
        """The first of those who came meanwhile is the next at work."""
        with self._lock:
            self._busy = bool(self._waiting)
            if self._waiting:
                self._waiting[0].rouse()


def _rouse(callers: Sequence[_Caller]) -> None:
    """Two by each of those who were roused before: all at once they would wake only to wait for one another."""
    asleep = [each for each in callers if not each.roused]
    for number, each in enumerate(asleep):
        each.others = asleep[2 * number + 1 : 2 * number + 3]
    for each in asleep[:1]:
        each.rouse()


def _distribute(callers: Sequence[_Caller], flush: Flush) -> None:
    """One commit for all of them; when it fails, one for each, so that nobody suffers for somebody else's entries."""
    try:
        outcomes = iter(flush([entry for each in callers for entry in each.entries]))
        for each in callers:
            each.outcomes = [next(outcomes) for _ in each.entries]
    except Exception as error:
        if len(callers) == 1 or _hopeless(error):
            for each in callers:
                each.error = error
            return
        for each in callers:
            _distribute([each], flush)


class AsyncCommitter:
    """For tasks: one of their own carries commits out as long as anybody waits; a cancelled caller stops none."""

    def __init__(self, flush: FlushAsync) -> None:
        self._flush = flush
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = weakref.WeakKeyDictionary()

    async def commit(self, entries: Sequence[Entry]) -> list[Outcome]:
        loop = asyncio.get_running_loop()
        queue = self._loops.get(loop)
        if queue is None:
            queue = self._loops[loop] = _Queue()
        future: asyncio.Future[list[Outcome]] = loop.create_future()
        queue.waiting.append((entries, future))
        if queue.task is None:
            queue.task = loop.create_task(self._work_off(queue))
        return await future

    async def _work_off(self, queue: _Queue) -> None:
        try:
            while queue.waiting:
                callers = queue.waiting[:MOST]
                del queue.waiting[:MOST]
                await self._distribute(callers)
        finally:
            queue.task = None
            for _, future in queue.waiting:  # the loop is going down
                future.cancel()

    async def _distribute(self, callers: list[_Waiting]) -> None:
        try:
            outcomes = iter(await self._flush([entry for entries, _ in callers for entry in entries]))
            for entries, future in callers:
                answer = [next(outcomes) for _ in entries]
                if not future.done():
                    future.set_result(answer)
        except Exception as error:
            if len(callers) > 1 and not _hopeless(error):
                for caller in callers:
                    await self._distribute([caller])
                return
            for _, future in callers:
                if not future.done():
                    future.set_exception(error)
        except BaseException:
            for _, future in callers:
                future.cancel()
            raise


_Waiting: TypeAlias = tuple[Sequence[Entry], "asyncio.Future[list[Outcome]]"]


class _Queue:
    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []
        self.task: asyncio.Task[None] | None = None


def _together(waiting: Sequence[_Caller]) -> Iterator[_Caller]:
    """The first of them, and as many after it as make up one commit of bearable size."""
    size = 0
    for caller in waiting:
        if size and size + len(caller.entries) > MOST:
            return
        size += len(caller.entries)
        yield caller


def _hopeless(error: BaseException) -> bool:
    """The store cannot be reached, for nobody."""
    return isinstance(error, ConnectionError)
