"""Workers in these tests: on the test's own loop or in processes of their own; facts are waited for, never time."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from sourced import Sourced
from sourced.runtime.workers.worker import Worker
from sourced.testing import VirtualClock
from tests.facts import PATIENCE, until

T = TypeVar("T")

ROOT = Path(__file__).parents[2]


class TurnedByHand(VirtualClock):
    """What time it is is up to the test, and how long something takes is not."""

    def elapsed(self) -> float:
        return monotonic()


def on_a_loop(main: Coroutine[Any, Any, T]) -> T:
    async def patiently() -> T:
        async with asyncio.timeout(PATIENCE):
            return await main

    return asyncio.run(patiently())


@contextlib.asynccontextmanager
async def at_work(app: Sourced, *, rounds: int = 2) -> Any:
    """A worker on this loop, and the task it runs in."""
    await app.aio.status()  # the groups are known
    worker = Worker(app._engine, rounds=rounds)
    task = asyncio.create_task(worker.run())
    try:
        yield worker, task
        worker.stop()
    finally:
        if not worker._stopping.is_set():  # a test that failed must not wait for its handlers
            task.cancel()
        await asyncio.wait({task})


async def until_only_handlers_are_waited_for() -> None:
    """A worker that was told to stop has ended all that it can end by itself."""
    loop, own = asyncio.get_running_loop(), {"sourced wake-ups", "sourced schedule"}
    await until(lambda: own.isdisjoint({each.get_name() for each in asyncio.all_tasks(loop)}))


def held(app: Sourced) -> list[tuple[str, int]]:
    """The shards that somebody has in hand."""
    return [(info.name, each.shard) for info in app.groups.list() for each in info.progress if each.owner]


def owners(app: Sourced, group: str) -> Counter[str]:
    """How many shards each worker has in hand."""
    progress = app.groups.get(group).progress
    return Counter(each.owner.rpartition("/")[0] for each in progress if each.owner)


def threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name.startswith("sourced-")}


# -- processes


class Process:
    """`python -m tests.workers.works URL WHAT`: a worker in a process of its own, and what it says."""

    def __init__(self, url: str, what: str = "shop", **options: float | str) -> None:
        command = [sys.executable, "-m", "tests.workers.works", url, what, *(f"{k}={v}" for k, v in options.items())]
        self.popen = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            with self._news:
                self._lines.append(line.strip())
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def said(self, wanted: str) -> None:
        """Waits until it has said something that begins like this."""

        def heard() -> bool:
            return any(line.startswith(wanted) for line in self._lines)

        with self._news:
            self._news.wait_for(lambda: heard() or self._over, PATIENCE)
            assert heard(), f"expected {wanted!r}, found {self._lines[-20:]}"

    @property
    def lines(self) -> list[str]:
        with self._news:
            return list(self._lines)

    def tell(self, number: int) -> None:
        self.popen.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Waits for its end: the exit code, and what it complained about."""
        assert self.popen.stderr
        try:
            code = self.popen.wait(PATIENCE)
        finally:
            self.kill()
        complaints = self.popen.stderr.read()
        self._close()
        return code, complaints

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()

    def _close(self) -> None:
        self._reader.join(PATIENCE)
        for pipe in (self.popen.stdout, self.popen.stderr):
            if pipe:
                pipe.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._close()


@contextlib.contextmanager
def processes(url: str, count: int, **options: Any) -> Iterator[list[Process]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Process(url, **options)) for _ in range(count)]
