"""What workflows promise, carried out here and now by `drain`, and by a worker: the same, message by message."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sourced import RunFailed, Sourced, Workflow, step
from sourced.clock import SystemClock
from sourced.errors import StillRunning
from sourced.store import Store
from tests.facts import until
from tests.workflows.holiday import Agency, LineDown, Sum, TripApproved, TripDeclined, trail, working

ROOT = Path(__file__).parents[2]
SOON = 0.02  # seconds


class Failing(Workflow):
    """Its step is done at its third attempt, or never; what it keeps in the context is kept all the same."""

    async def run(self, good: int) -> str:
        await self.dial(good)
        return f"{self.context['dialled']} times"

    @step(retries=2, backoff=lambda seconds, attempt: 0)
    async def dial(self, good: int) -> None:
        self.context["dialled"] = self.context.get("dialled", 0) + 1
        if self.attempt < good:
            raise LineDown("no dial tone")


class Once(Workflow):
    async def run(self) -> int:
        return await self.double(2) + await self.double(4) + await self.double(2)

    @step(once=True)
    def double(self, number: int) -> int:
        return number * 2


class Resting(Workflow):
    async def run(self) -> str:
        await self.sleep(SOON)
        return (await self.wait_for(TripApproved)).by


class Counting(Workflow):
    async def run(self) -> int:
        await self.gather(*(self.count() for _ in range(3)))
        await self.count()
        return len(self.context)

    @step
    def count(self) -> None:
        self.context[self.step_id] = True


def everything(store: Store, clock: Any) -> Sourced:
    workflows = (Sum(Agency()), Failing(), Once(), Resting(), Counting())
    return working(store, *workflows, batch=50, **({"clock": clock} if clock else {}))


def begun(app: Sourced) -> dict[str, Any]:
    runs: dict[str, Any] = {
        "sum": app.start(Sum, 2, 3), "third": app.start(Failing, 3), "never": app.start(Failing, 9),
        "once": app.start(Once), "resting": app.start(Resting), "counting": app.start(Counting),
    }  # fmt: skip
    app.append(runs["resting"].id, TripDeclined("Bob"))  # nobody waits for that
    runs["resting"].signal(TripApproved("Ann"))
    return runs


def in_the_foreground(store: Store) -> tuple[Sourced, dict[str, Any]]:
    app = everything(store, None)
    runs = begun(app)
    with pytest.raises(StillRunning):
        runs["sum"].result(timeout=0)
    app.drain()
    assert runs["resting"].status() == "running"
    app._engine.clock.advance(SOON)  # type: ignore[attr-defined]
    app.drain()
    return app, runs


def in_the_background(store: Store) -> tuple[Sourced, dict[str, Any]]:
    app = everything(store, SystemClock())
    runs = begun(app)

    async def scenario() -> None:
        async with app.running():
            for run in runs.values():
                try:
                    await app.aio.workflows.run(run.id).result()
                except RunFailed:
                    assert run is runs["never"]

    asyncio.run(scenario())
    return app, runs


@pytest.mark.parametrize("carry_out", [in_the_foreground, in_the_background])
def test_runs_come_to_the_same_in_the_foreground_and_in_the_background(store: Store, carry_out: Callable[..., Any]):
    """L196. L197. L201. L202. L204. L205. L206. L208. L209."""
    app, runs = carry_out(store)
    results = {name: run.result(timeout=0) for name, run in runs.items() if name != "never"}
    assert results == {"sum": 10, "third": "3 times", "once": 16, "resting": "Ann", "counting": 4}
    with pytest.raises(LineDown, match="no dial tone") as failed:
        runs["never"].result(timeout=0)
    assert isinstance(failed.value, RunFailed)

    assert trail(app, runs["sum"].id) == [
        "started",
        *("step_started double#1", "step_completed double#1", "step_started double#2", "step_completed double#2"),
        "completed",
    ]
    attempt = ["step_started dial#1", "context_changed", "step_failed dial#1"]
    assert trail(app, runs["third"].id) == ["started", *attempt * 2, *attempt[:2], "step_completed dial#1", "completed"]
    assert trail(app, runs["never"].id) == ["started", *attempt * 3, "failed"]
    assert [each for each in trail(app, runs["once"].id) if "started" in each] == [
        "started",
        *["step_started double"] * 2,
    ]
    told = trail(app, runs["resting"].id)
    assert sorted(told[:4]) == ["started", "timer_set sleep#1", "trip_approved", "trip_declined"]
    assert told[-2:] == ["timer_fired sleep#1", "completed"]
    assert app.parked.list() == app.scheduled.list() == []


class Approving(Workflow):
    def __init__(self, agency: Agency) -> None:
        self.agency = agency

    async def run(self) -> str:
        asked = await self.ask("before")
        approved = await self.wait_for(TripApproved)
        return f"{asked}, {await self.ask(approved.by)}"

    @step
    async def ask(self, what: str) -> str:
        return self.agency.ask(what)


def test_a_worker_goes_on_where_another_one_was(store: Store):
    """L198. L199. L207. A run that is sent what its workflow does not know waits for a person, others do not."""

    async def scenario() -> None:
        app = working(store, Approving(first), Sum(first), clock=SystemClock())
        async with app.running():
            run, wrong = await app.aio.start(Approving), await app.aio.start(Approving)
            await until(lambda: all("waiting wait_for#1" in trail(app, each.id) for each in (run, wrong)))
        app = working(store, Approving(second), Sum(second), clock=SystemClock())
        async with app.running():
            await app.aio.append(wrong.id, Sum.StepCompleted("double#1", 4))  # by force
            for each in (wrong, run):
                await app.aio.signal(each.id, TripApproved("Ann"))
            assert (await app.aio.workflows.run(run.id).result()).endswith(", Ann 1")
            await until(lambda: "sum.step_completed" in app.workflows.get(wrong.id).parked)

    first, second = Agency(), Agency()
    asyncio.run(scenario())
    assert (first.asked, second.asked) == (["before", "before"], ["Ann"])


SCRIPT = """
import sys
from sourced import Sourced, Workflow, step
from sourced.testing import VirtualClock

class Packing(Workflow):
    async def run(self, things: set[str]) -> list[str]:
        packed = await self.pack(things, {thing: 1 for thing in things})
        await self.sleep(60)
        return packed

    @step
    def pack(self, things: set[str], weights: dict[str, int]) -> list[str]:
        print("packing", self.step_id.rpartition("/")[2])
        return sorted(things)

clock = VirtualClock()
with Sourced(sys.argv[1], clock=clock) as app:
    app.register(Packing)
    run = app.start(Packing.named("1"), {"tent", "stove", "map", "rope", "knife"})
    app.drain()
    if sys.argv[2] == "later":
        clock.advance(60)
        app.drain()
        print("packed", run.result(timeout=0), run.info().parked)
"""


def test_another_process_with_other_hashes_recognises_every_step(tmp_path: Path):
    """L199. A step's key is made of its name, which call it is, and its arguments; of nothing of a process."""

    def process(seed: int, until: str) -> str:
        command = [sys.executable, "-c", SCRIPT, f"sqlite:///{tmp_path / 'runs.db'}", until]
        environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    first = process(1, "now")
    assert first.startswith("packing pack#1:")
    assert process(2, "later") == "packed ['knife', 'map', 'rope', 'stove', 'tent'] \n"
