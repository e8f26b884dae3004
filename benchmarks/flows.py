"""Prints Sourced and `dbos` side by side: workflows of three steps, on PostgreSQL, in one run."""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import threading
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from dbos import DBOS

from benchmarks.measure import Row, Trial, head, line, measure
from benchmarks.places import PostgresDatabase, postgres_place
from sourced import Sourced, Workflow, step

NOTES = """\
The same on both sides: a workflow calls a step with the result of the one before, three times; the clock runs from the
first start to the last result, in one process that starts the workflows and carries them out. Both store the start,
the arguments, each step's result and the end.
Where the work differs:
* Sourced also stores that a step begins, before it does, and hands work from transaction to transaction, so that any
  process can go on with it; it takes many workflows forward in one transaction. DBOS carries a workflow out in the
  process that started it, and stores each step in a transaction of its own.
* One by one: the caller starts a workflow with a blocking call after the other, steps are plain functions. Side by
  side: all are started at once on an event loop, and steps are `async`."""


class Three(Workflow):
    async def run(self, number: int) -> int:
        return await self.add(await self.add(await self.add(number)))

    @step
    def add(self, number: int) -> int:
        return number + 1


class ThreeAsync(Workflow):
    async def run(self, number: int) -> int:
        return await self.add(await self.add(await self.add(number)))

    @step
    async def add(self, number: int) -> int:
        return number + 1


@DBOS.step()
def add(number: int) -> int:
    return number + 1


@DBOS.workflow()
def three(number: int) -> int:
    return add(add(add(number)))


@DBOS.step()
async def add_async(number: int) -> int:
    return number + 1


@DBOS.workflow()
async def three_async(number: int) -> int:
    return await add_async(await add_async(await add_async(number)))


class Ours:
    """An app, and a worker on a loop of its own."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self.app = Sourced(database.store())
        self.app.register(Three, ThreeAsync)
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        begun = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._work(begun)])
        self._thread.start()
        begun.wait()

    async def _work(self, begun: threading.Event) -> None:
        async with self.app.running():
            begun.set()
            await self._over.wait()

    def one_by_one(self, count: int) -> int:
        runs = [self.app.start(Three, number) for number in range(count)]
        return sum(run.result(timeout=300) == number + 3 for number, run in enumerate(runs))

    async def side_by_side(self, count: int) -> int:
        aio = self.app.aio
        runs = await asyncio.gather(*(aio.start(ThreeAsync, number) for number in range(count)))
        return sum([await run.result(timeout=300) == number + 3 for number, run in enumerate(runs)])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()
        self.app.close()
        self.database.close()


class Theirs:
    """DBOS as it comes, without its admin server."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        url = database.url().replace("postgresql://", "postgresql+psycopg://")
        DBOS(config={"name": "flows", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})
        DBOS.launch()

    def one_by_one(self, count: int) -> int:
        handles = [DBOS.start_workflow(three, number) for number in range(count)]
        return sum(handle.get_result() == number + 3 for number, handle in enumerate(handles))

    async def side_by_side(self, count: int) -> int:
        handles = await asyncio.gather(*(DBOS.start_workflow_async(three_async, number) for number in range(count)))
        return sum([await handle.get_result() == number + 3 for number, handle in enumerate(handles)])

    def close(self) -> None:
        DBOS.destroy()
        self.database.close()


Side = Ours | Theirs


def one_by_one(side: Callable[[], Side], count: int) -> Trial:
    made, done = side(), list[int]()
    made.one_by_one(WARM)
    return Trial(lambda: done.append(made.one_by_one(count)), done.pop, made.close)


def side_by_side(side: Callable[[], Side], count: int) -> Trial:
    made, done = side(), list[int]()
    runner = asyncio.Runner()
    runner.run(made.side_by_side(WARM))

    def tidy() -> None:
        runner.close()
        made.close()

    return Trial(lambda: done.append(runner.run(made.side_by_side(count))), done.pop, tidy)


WARM = 20  # workflows before the clock starts: then connections are open and statements prepared


def rows(place: Any, count: int) -> list[Row]:
    ours, theirs = lambda: Ours(place.database()), lambda: Theirs(place.database())
    return [
        Row(
            f"{count:,} workflows of three steps, {label}",
            count,
            partial(how, ours, count),
            partial(how, theirs, count),
        )
        for label, how in (("one by one", one_by_one), ("side by side", side_by_side))
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flows", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it runs, not how fast")
    parser.add_argument("--count", type=int, default=1_000, metavar="N", help="workflows, default 1,000")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="default 5")
    asked = parser.parse_args(arguments)
    logging.getLogger("dbos").setLevel(logging.ERROR)
    with postgres_place() as place:
        print(f"sourced-py {version('sourced-py')}, dbos {version('dbos')}, Python {platform.python_version()}")
        print(f"{place.terms}; medians of {1 if asked.quick else asked.runs} runs in turn\n")
        print(head("dbos"))
        for row in rows(place, 20 if asked.quick else asked.count):
            print(line(row, measure(row, 1 if asked.quick else asked.runs)), flush=True)
    print(f"\n{NOTES}")


if __name__ == "__main__":
    main()
