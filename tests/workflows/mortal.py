"""A run with everything in it, and processes that carry it out until they are killed, one after the other."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from sourced import Message, Sourced, Workflow, step
from sourced.errors import Duplicate
from sourced.ops import Connection
from sourced.store import Store
from sourced.stores.sqlite import SqliteStore
from sourced.testing import CrashingStore, VirtualClock
from sourced.testing.clock import START
from tests.workflows.holiday import LineDown, TripApproved

Report = Callable[[str], object]
RESULT = "[1, 2] 3 4 Ann"
LEASE = timedelta(seconds=30)


class Inner(Workflow):
    def __init__(self, report: Report) -> None:
        self.report = report

    async def run(self) -> int:
        return await self.four()

    @step
    async def four(self) -> int:
        self.report(self.step_id)
        return 4


class Everything(Workflow):
    """Steps side by side, one that fails at first, a sleep, another run, a message."""

    def __init__(self, report: Report) -> None:
        self.report = report

    async def run(self) -> str:
        pair = await self.gather(self.number(1), self.number(2))
        three = await self.flaky(3)
        await self.sleep(60)
        four = await self.call(Inner)
        approved = await self.wait_for(TripApproved, timeout=timedelta(days=365))
        return f"{[*pair]} {three} {four} {approved.by}"

    @step
    def number(self, number: int) -> int:
        self.report(self.step_id)
        return number

    @step(retries=3)
    async def flaky(self, number: int) -> int:
        self.report(self.step_id)
        if self.attempt == 1:
            raise LineDown
        return number


def everything(store: Any, report: Report, clock: VirtualClock) -> Sourced:
    app = Sourced(store, clock=clock, lease=LEASE)
    app.register(Everything(report), Inner(report))
    return app


def carry_out(app: Sourced, id: str, patience: int = 3) -> str:
    """All there is to do for one run, whatever of it was done before."""
    run = app.start(Everything.named(id))
    for _ in range(patience):
        app.drain()
        app._engine.clock.advance(LEASE * 2)  # type: ignore[attr-defined]
    with contextlib.suppress(Duplicate):
        app.signal(run, Message.new(TripApproved("Ann"), stream=run.id, id=f"{id}-approved", now=START))
    for _ in range(patience):
        app.drain()
        app._engine.clock.advance(LEASE * 2)  # type: ignore[attr-defined]
    return run.id


class Mortal(CrashingStore):
    """Its process is killed as soon as the log has grown by so many messages."""

    def __init__(self, store: Store, messages: int) -> None:
        super().__init__(store, at=sys.maxsize)
        self.last = self.size() + messages

    def size(self) -> int:
        return len(self.store.transact(self.store.read_all()))

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Connection]:
        with super().transaction(reading=reading) as connection:
            yield connection
        if not reading and self.size() >= self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def live(path: Path, life: int) -> None:
    """A process: it ends when there is nothing left to do, or when it has stored something."""

    def report(step_id: str) -> None:
        with path.with_suffix(".reported").open("a") as file:
            file.write(f"{step_id}\n")

    with contextlib.closing(SqliteStore(path)) as store:
        clock = VirtualClock(START + life * timedelta(days=1))  # the leases of the one before have expired
        carry_out(everything(Mortal(store, 1), report, clock), "1")


def lives(path: Path) -> Iterator[int]:
    """What killed each of the processes; the last one is not killed any more."""
    for life in range(50):
        child = os.fork()
        if not child:
            live(path, life)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        yield os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if os.WIFEXITED(status):
            return


if __name__ == "__main__":
    sys.stdout.write(" ".join(str(code) for code in lives(Path(sys.argv[1]))))
