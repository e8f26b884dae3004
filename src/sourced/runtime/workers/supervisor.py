"""Several worker processes, kept running: one that dies is started again, and all of them end with who started them.

A pipe is all that ties a process to its supervisor. It is closed when they shall end, and closes by itself when the
supervisor is gone, whatever it died of; either way they finish what they have in hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeAlias

from sourced.runtime.workers.signals import POLITE

log = logging.getLogger("sourced.supervisor")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds until a process that died is started again
SETTLED = 10.0  # seconds: who lived for so long did not die of how he was started
ABANDONED = 1  # exit code of a process that did not come to its end in time after its supervisor was gone
PIPE = 0  # what a process hears its supervisor by: its standard input


class _Told:
    """A signal came."""


News: TypeAlias = "Child | type[_Told]"


class Child:
    """One process, in a session of its own, so that Ctrl-C and its like reach the supervisor alone."""

    def __init__(
        self, slot: int, deaths: int, command: Sequence[str], environment: Mapping[str, str] | None,
        news: SimpleQueue[News],
    ) -> None:  # fmt: skip
        self.slot = slot
        self.deaths = deaths  # of those before it, in a row
        self.began = monotonic()
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, **apart)
        threading.Thread(target=self._wait, args=(news,), name=f"sourced-child-{slot}", daemon=True).start()

    def _wait(self, news: SimpleQueue[News]) -> None:
        self.popen.wait()
        news.put(self)

    def let_go(self) -> None:
        assert self.popen.stdin
        with contextlib.suppress(OSError):
            self.popen.stdin.close()


class Supervisor:
    """`run()` starts them, and comes back with an exit code when it was told to stop and all of them have ended."""

    def __init__(
        self, command: Sequence[str], processes: int, *, grace: float = 30.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._command = command
        self._environment = environment  # of theirs; as a rule it is ours
        self._processes = processes
        self._grace = grace
        self._news: SimpleQueue[News] = SimpleQueue()
        self._children: dict[int, Child] = {}
        self._due = [(0.0, slot, 0) for slot in range(processes)]  # when which is to be started, and how many died

    def run(self) -> int:
        """0 when all ended well and in time, 1 when one did not: what it had in hand is done anew by others."""
        with self._listening():
            try:
                while (news := self._next()) is not _Told:
                    if isinstance(news, Child):
                        self._died(news)
                    self._start_who_is_due()
                return self._end()
            finally:
                for child in self._children.values():
                    child.popen.kill()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        def told(*_: object) -> None:
            self._news.put(_Told)  # which may be done in the middle of anything

        before = {each: signal.signal(each, told) for each in POLITE}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler or signal.SIG_DFL)

    def _next(self) -> News | None:
        try:
            return self._news.get(timeout=max(0.0, self._due[0][0] - monotonic()) if self._due else None)
        except Empty:
            return None

    def _start_who_is_due(self) -> None:
        while self._due and self._due[0][0] <= monotonic():
            _, slot, deaths = heapq.heappop(self._due)
            child = self._children[slot] = Child(slot, deaths, self._command, self._environment, self._news)
            log.info("worker process %d is started", child.popen.pid)

    def _died(self, child: Child) -> None:
        del self._children[child.slot]
        child.let_go()
        child.deaths = 1 if monotonic() - child.began > SETTLED else child.deaths + 1
        wait = pause(child.deaths)
        log.error("worker process %d %s; another one is started in %.1f s", child.popen.pid, _how(child), wait)
        heapq.heappush(self._due, (monotonic() + wait, child.slot, child.deaths))

    def _end(self) -> int:
        """Politely; whoever takes longer than the grace lasts, or until we are told once more, is killed."""
        for child in self._children.values():
            child.let_go()
        until, failed = monotonic() + self._grace, 0
        while self._children:
            try:
                news = self._news.get(timeout=max(0.0, until - monotonic()))
            except Empty:
                news = _Told
            if isinstance(news, Child):
                del self._children[news.slot]
                failed += news.popen.returncode != 0
                continue
            until = monotonic() + self._grace
            for child in self._children.values():
                log.error("worker process %d is killed, it has not come to its end", child.popen.pid)
                child.popen.kill()
        return min(1, failed)


def pause(deaths: int) -> float:
    """Seconds until one who died is started again; it is the nth in a row."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (deaths - 1))


def _how(child: Child) -> str:
    code = child.popen.returncode
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


@contextlib.contextmanager
def until_let_go(stop: Callable[[], None], grace: float) -> Iterator[None]:
    """Calls `stop` on the running loop as soon as the supervisor lets go, or is gone; or at a signal.

    Signals that come on top change nothing: a service manager may tell everybody, and the supervisor tells again. Who
    has not come to its end when twice the grace is over has nobody left who would kill him, and ends there and then.
    """
    loop = asyncio.get_running_loop()

    def told(*_: object) -> None:
        loop.call_soon_threadsafe(stop)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while os.read(PIPE, 1):  # not through `sys.stdin`, which nobody may hold when the interpreter ends
                pass
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            told()
        watch = threading.Timer(2 * grace, os._exit, (ABANDONED,))
        watch.daemon = True
        watch.start()

    for each in POLITE:
        signal.signal(each, told)
    threading.Thread(target=listen, name="sourced-supervisor", daemon=True).start()
    yield
