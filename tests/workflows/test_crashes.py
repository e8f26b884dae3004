"""A process that dies at any place of a run: another one goes on, and every step is recorded once."""

import contextlib
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sourced import Sourced, Workflow, step
from sourced.store import Store
from sourced.stores.sqlite import SqliteStore
from sourced.testing import Crash, CrashingStore, VirtualClock
from tests.workflows.holiday import TripApproved, trail, working
from tests.workflows.mortal import LEASE, RESULT, carry_out, everything

ROOT = Path(__file__).parents[2]
TRAIL = [
    "started",
    *["step_started number#1", "step_started number#2", "step_completed number#1", "step_completed number#2"],
    *["step_started flaky#1", "step_failed flaky#1", "step_started flaky#1", "step_completed flaky#1"],
    *["timer_set sleep#1", "timer_fired sleep#1"],
    *["child_started inner#1", "child_completed inner#1"],
    *["waiting wait_for#1", "trip_approved", "completed"],
]


def is_whole(app: Sourced, run: str) -> None:
    assert app.workflows.run(run).result() == RESULT
    assert trail(app, run) == TRAIL
    assert app.parked.list() == []


def is_found(app: Sourced) -> None:
    """Those under way are listed, and nobody else."""
    under_way = [run.id for run in app.workflows.list(limit=2) if run.status == "running"]
    assert [run.id for run in app.workflows.list(status="running")] == under_way


def test_a_run_survives_the_death_of_its_process_at_every_statement(store: Store):
    """L199. L200. Steps may be carried out again, under the same id; their results are recorded once."""
    clock = VirtualClock()
    stride = {"MemoryStore": 1, "SqliteStore": 7}.get(type(store).__name__, 23)
    deaths, at = 0, 1
    while True:
        asked: list[str] = []
        try:
            carry_out(everything(CrashingStore(store, at), asked.append, clock), f"{at}")
        except Crash:
            deaths += 1
        else:
            break
        clock.advance(LEASE * 2)
        app = everything(store, asked.append, clock)
        is_found(app)
        is_whole(app, carry_out(app, f"{at}"))
        assert max(Counter(asked).values()) <= 3  # the flaky one, twice; and once more for the death
        at += stride
    assert at > 100
    assert deaths >= 100 // stride


def test_a_run_survives_sigkill_after_every_one_of_its_events(tmp_path: Path):
    """Every process lives for one event more, or as many as are stored at once; the last one for none."""
    path = tmp_path / "flows.db"
    command = [sys.executable, "-m", "tests.workflows.mortal", str(path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    *deaths, last = map(int, told.split())
    assert (set(deaths), last) == ({signal.SIGKILL}, 0)
    assert len(deaths) > 10
    with contextlib.closing(SqliteStore(path)) as store:
        is_whole(everything(store, print, VirtualClock()), "everything-1")
    times = Counter(path.with_suffix(".reported").read_text().split())
    assert len(times) == 4
    assert max(times.values()) <= 3  # the flaky one, twice; and once more for a death between its end and its record


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_step_whose_process_dies_is_carried_out_again_under_the_same_id(dies: str, store: Store):
    """L200. Before or after its effect: nobody can know."""
    asked: list[str] = []

    def report(step_id: str) -> None:
        asked.extend([step_id] if dies == "after" or first_is_dead else [])
        if "flaky" in step_id and not first_is_dead:
            first_is_dead.append(True)
            raise Crash

    first_is_dead: list[bool] = []
    clock = VirtualClock()
    with pytest.raises(Crash):
        carry_out(everything(store, report, clock), "1")
    clock.advance(LEASE * 2)
    app = everything(store, report, clock)
    run = carry_out(app, "1")
    is_whole(app, run)
    flaky = [each for each in asked if "flaky" in each]
    assert len(flaky) == (3 if dies == "after" else 2)
    assert len(set(flaky)) == 1


def test_a_step_is_not_repeated_because_its_result_came_too_late_to_be_next(store: Store):
    """Somebody sends the run a message while its step is carried out: the place is taken, the result is kept."""

    class Meanwhile(Workflow):
        async def run(self) -> str:
            done = await self.look()
            return f"{done} {(await self.wait_for(TripApproved)).by}"

        @step
        def look(self) -> int:
            asked.append(self.step_id)
            other.signal(self.id, TripApproved("Ann"))
            return len(asked)

    asked: list[str] = []
    app, other = (working(store, Meanwhile()) for _ in range(2))
    run = app.start(Meanwhile)
    app.drain()
    assert (run.result(), len(asked)) == ("1 Ann", 1)
    assert trail(app, run.id)[1:4] == ["step_started look#1", "trip_approved", "step_completed look#1"]
