"""Workers: steps side by side, quick ones within a round, slow ones beside it, and what becomes of them."""

import asyncio
import threading
from datetime import timedelta

import pytest

from sourced import RunFailed, Sourced, StepFailed, Workflow, step
from sourced.clock import SystemClock
from sourced.runtime.workers import worker
from sourced.store import Store
from tests.facts import PATIENCE, until
from tests.workers.crew import TurnedByHand
from tests.workflows.holiday import Agency, Sum, TripApproved, trail, working


class Gate:
    """Holds up whoever comes through, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.came: list[str] = []
        self._waiting: list[asyncio.Event] = []

    def open(self) -> None:
        """From the event loop that they wait on."""
        self.opened.set()
        for each in self._waiting:
            each.set()

    async def through(self, who: str) -> str:
        self.came.append(who)
        self.reached.set()
        self._waiting.append(asyncio.Event())
        if not self.opened.is_set():
            await self._waiting[-1].wait()
        return who

    def wait(self, who: str) -> str:
        self.came.append(who)
        self.reached.set()
        assert self.opened.wait(PATIENCE)
        return who


class Slow(Workflow):
    """One quick step, one that waits at a gate, and a signal."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    async def run(self, name: str) -> str:
        slow, quick = await self.gather(self.through(name), self.quick(name))
        return f"{slow}, {quick}"

    @step
    async def through(self, name: str) -> str:
        return await self.gate.through(name)

    @step
    def quick(self, name: str) -> str:
        return name.upper()


class Plain(Slow):
    @step
    def through(self, name: str) -> str:
        return self.gate.wait(name)


LEASE = timedelta(seconds=30)


def in_real_time(store: Store | str, *workflows: Workflow) -> Sourced:
    return working(store, *workflows, clock=SystemClock())


@pytest.mark.parametrize("kind", [Slow, Plain])
def test_a_slow_step_holds_up_neither_its_own_run_nor_others(store: Store, kind: type[Slow]):
    """What is quick is stored while the slow one goes on; other runs, whatever their shard, come through."""

    async def scenario() -> None:
        gate = Gate()
        app = in_real_time(store, kind(gate), Sum(Agency()))
        async with app.running():
            run = await app.aio.start(kind, "a")
            await until(lambda: "step_completed quick#1" in trail(app, run.id))
            others = [await app.aio.start(Sum, 1, 2) for _ in range(70)]
            assert [await other.result() for other in others] == [6] * 70
            more = [await app.aio.start(kind, f"b{n}") for n in range(5)]
            await until(lambda: len(gate.came) == 6)
            await until(lambda: len(app.scheduled.list()) == 6)  # their watchdogs
            assert await run.status() == "running"
            gate.open()
            assert await run.result() == "a, A"
            assert [await each.result() for each in more] == [f"b{n}, B{n}" for n in range(5)]
        assert app.scheduled.list() == []
        assert sorted(gate.came) == ["a", "b0", "b1", "b2", "b3", "b4"]
        assert trail(app, run.id).count("step_completed through#1") == 1

    asyncio.run(scenario())


def test_a_worker_that_is_told_to_stop_finishes_the_steps_it_has_begun(store: Store):
    async def scenario() -> None:
        gate = Gate()
        app = in_real_time(store, Slow(gate))
        told = app._worker(2)
        at_work = asyncio.create_task(told.run())
        run = await app.aio.start(Slow, "a")
        await until(lambda: "step_completed quick#1" in trail(app, run.id))
        told.stop()
        gate.open()
        await at_work
        assert "step_completed through#1" in trail(app, run.id)
        app.drain()
        assert await run.result() == "a, A"
        assert gate.came == ["a"]

    asyncio.run(scenario())


def test_a_slow_step_whose_worker_dies_is_begun_anew_by_another_and_the_dead_man_s_result_counts_no_more(store: Store):
    async def scenario() -> None:
        first, second, clock = Gate(), Gate(), TurnedByHand()
        app = working(store, Slow(first), clock=clock, lease=LEASE)
        dying = asyncio.create_task(app._worker(2).run())
        run = await app.aio.start(Slow, "a")
        await until(lambda: "step_completed quick#1" in trail(app, run.id))
        dying.cancel()
        await asyncio.wait({dying})
        first.open()
        second.open()
        clock.advance(LEASE)
        app = working(store, Slow(second), clock=clock, lease=LEASE)
        async with app.running():
            assert await app.aio.workflows.run(run.id).result() == "a, A"
        told = trail(app, run.id)
        assert "step_interrupted through#1" in told
        assert told.count("step_completed through#1") == 1
        assert (first.came, second.came) == (["a"], ["a"])

    asyncio.run(scenario())


def test_a_step_that_is_still_running_is_never_begun_anew(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Its watchdog is put off, lease after lease."""
    monkeypatch.setattr(worker, "BEATS", 600)

    async def scenario() -> None:
        gate, clock = Gate(), TurnedByHand()
        app = working(store, Slow(gate), clock=clock, lease=LEASE)
        async with app.running():
            run = await app.aio.start(Slow, "a")
            await until(lambda: bool(app.scheduled.list()))
            for _ in range(9):
                now = clock.advance(LEASE / 3)
                await until(lambda now=now: any(each.at >= now + LEASE for each in app.scheduled.list()))  # type: ignore[misc]
            gate.open()
            assert await run.result() == "a, A"
        assert gate.came == ["a"]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_an_attempt_that_takes_too_long_has_failed(kind: str):
    class Late(Workflow):
        async def run(self) -> str:
            try:
                return await (self.awaited() if kind == "async" else self.plain())
            except TimeoutError as late:
                return f"{type(late.__cause__).__name__}: {late}" if late.__cause__ else str(late)

        @step(timeout=0.05)
        async def awaited(self) -> str:
            return await asyncio.Event().wait() and "never"

        @step(timeout=0.05)
        def plain(self) -> str:
            done.wait(PATIENCE)
            return "never"

    async def scenario() -> None:
        app = in_real_time("memory://", Late())
        async with app.running():
            run = await app.aio.start(Late)
            assert (await run.result()).endswith("took longer than 0:00:00.050000")
        done.set()

    done = threading.Event()
    asyncio.run(scenario())


def test_a_cancelled_run_stops_its_slow_step():
    class Patient(Workflow):
        async def run(self) -> None:
            await self.forever()

        @step
        async def forever(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stopped.set()
                raise

    begun, stopped = threading.Event(), threading.Event()

    async def scenario() -> None:
        app = in_real_time("memory://", Patient())
        async with app.running():
            run = await app.aio.start(Patient)
            await until(begun.is_set)
            await until(lambda: bool(app.scheduled.list()))
            await run.cancel("enough")
            await until(lambda: run_is_over(app, run.id))
            await until(stopped.is_set)
            assert app.scheduled.list() == []

    def run_is_over(app: Sourced, run: str) -> bool:
        return app.workflows.get(run).status == "cancelled"

    asyncio.run(scenario())


def test_steps_that_fail_beside_the_rounds_are_tried_again_and_give_up():
    class Fails(Workflow):
        async def run(self) -> str:
            try:
                await self.fail()
            except StepFailed as failed:
                return str(failed)
            return "never"

        @step(retries=1, backoff=lambda seconds, attempt: 0)
        async def fail(self) -> None:
            await until(lambda: self.attempt in watched())  # the round has gone on without it
            raise RuntimeError(f"attempt {self.attempt}")

    async def scenario() -> None:
        async with app.running():
            run = await app.aio.start(Fails)
            assert await run.result() == "attempt 2"
        assert [name for name in trail(app, run.id) if "failed" in name] == ["step_failed fail#1"] * 2
        assert app.scheduled.list() == []

    def watched() -> list[int]:
        """The attempts that have a watchdog."""
        return [app._engine.codec.decode(each.record).payload.attempt for each in app.scheduled.list()]

    app = in_real_time("memory://", Fails())
    asyncio.run(scenario())


def test_results_and_errors_are_awaited_too():
    class Wrong(Workflow):
        async def run(self) -> None:
            raise KeyError("nothing of that name")

    class Waits(Workflow):
        async def run(self) -> str:
            return (await self.wait_for(TripApproved)).by

    async def scenario() -> None:
        app = in_real_time("memory://", Wrong(), Waits())
        async with app.running():
            wrong, waits = await app.aio.start(Wrong), await app.aio.start(Waits)
            with pytest.raises(KeyError) as failed:
                await wrong.result()
            assert isinstance(failed.value, RunFailed)
            await app.aio.signal(waits, TripApproved("Ann"))
            assert await waits.result() == "Ann"
            assert [info.id for info in await app.aio.workflows.list(Waits)] == [waits.id]

    asyncio.run(scenario())
