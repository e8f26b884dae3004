"""Prints Sourced on SQLite and on PostgreSQL, beside the raw driver and beside `eventsourcing` on the same database."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from operator import methodcaller
from typing import Any

from benchmarks.asking import asked
from benchmarks.measure import Row, Trial, head, line, measure
from benchmarks.places import Database, Place, postgres_place, sqlite_place
from benchmarks.sides import Batches, Decides, Ours, Reads, Theirs, Writes, WritesAsync


@dataclass(frozen=True)
class Sizes:
    """How much of everything; each is an argument of the command."""

    runs: int = 3
    appends: int = 2_000
    writers: int = 32
    each: int = 150  # appends, or commands, of each of the writers
    commands: int = 2_000
    rounds: int = 20
    round: int = 500  # messages in one of them, each for a stream of its own
    replay: int = 10_000
    loads: int = 200
    events: int = 100  # of each stream that is loaded
    messages: int = 50_000
    durable: int = 400  # appends that each wait for a disk; several writers make a tenth of it each


QUICK = Sizes(
    runs=1,
    appends=20,
    writers=4,
    each=5,
    commands=20,
    rounds=2,
    round=20,
    replay=100,
    loads=5,
    events=10,
    messages=200,
    durable=20,
)

WARM = 6  # appends before the clock starts, for each writer: then a connection is open and its statement prepared
REPLAYS = 5  # in a run: one alone is over too soon to be timed
OF_A_STREAM = 100  # messages of each stream, where all are read

NOTES = """\
Where the work differs:
* The driver writes one row with one statement that checks nothing but its table's unique (stream, seq); it keeps two
  indexes. Sourced checks the expected seq and the id, takes its place in the shard, and keeps five; it also makes the
  row out of an object, and reads it back to prove that it can be read.
* By 32 writers: the driver has a connection for each on PostgreSQL, and one they queue for on SQLite. Sourced stores
  what comes at the same time together.
* Rounds: one event for each of 500 streams in one transaction; by the driver as COPY, or executemany.
* Commands: Sourced finds the cart in its cache and stores command and event; eventsourcing holds the cart and stores
  the event.
* Commits that wait for the disk: both sides wait for it, and Sourced brings several to it at once.
* All messages: Sourced and eventsourcing make objects of them, the driver leaves the rows as they come."""


# -- the work, whoever does it -----------------------------------------------------------------------------------------


def appends(side: Writes, count: int) -> Trial:
    _warm(side, 1)
    before = side.count()

    def work() -> None:
        for seq in range(WARM + 1, WARM + 1 + count):
            side.append(0, seq)

    return Trial(work, lambda: side.count() - before, side.close)


def appends_by_threads(side: Writes, writers: int, each: int) -> Trial:
    _warm(side, writers)
    before = side.count()

    def write(writer: int) -> None:
        for seq in range(WARM + 1, WARM + 1 + each):
            side.append(writer, seq)

    return Trial(lambda: _by_threads(writers, write), lambda: side.count() - before, side.close)


def appends_by_tasks(side: WritesAsync, writers: int, each: int) -> Trial:
    runner = asyncio.Runner()
    runner.run(_warm_async(side, writers))
    before = side.count()

    async def write(writer: int) -> None:
        for seq in range(WARM + 1, WARM + 1 + each):
            await side.append_async(writer, seq)

    def tidy() -> None:
        runner.close()
        side.close()

    return Trial(lambda: runner.run(_by_tasks(writers, write)), lambda: side.count() - before, tidy)


def rounds(side: Batches, count: int, size: int) -> Trial:
    side.append_to_each(size, 1)
    before = side.count()

    def work() -> None:
        for number in range(count):
            side.append_to_each(size, number + 2)

    return Trial(work, lambda: side.count() - before, side.close)


def commands(side: Decides, count: int) -> Trial:
    for _ in range(WARM):
        side.execute(0)
    before = side.count()

    def work() -> None:
        for _ in range(count):
            side.execute(0)

    return Trial(work, lambda: side.count() - before, side.close)


def commands_by_threads(side: Decides, writers: int, each: int) -> Trial:
    for _ in range(WARM):
        for writer in range(writers):
            side.execute(writer)
    before = side.count()

    def write(writer: int) -> None:
        for _ in range(each):
            side.execute(writer)

    return Trial(lambda: _by_threads(writers, write), lambda: side.count() - before, side.close)


def replay(side: Reads, events: int) -> Trial:
    side.fill(1, events)
    side.load(0)
    found: list[int] = []
    return Trial(lambda: found.extend(side.load(0) for _ in range(REPLAYS)), lambda: sum(found), side.close)


def loads(side: Reads, carts: int, events: int) -> Trial:
    side.fill(carts, events)
    side.load(0)
    found: list[int] = []

    def work() -> None:
        found.extend(side.load(cart) == events for cart in range(carts))

    return Trial(work, lambda: sum(found), side.close)


def all_messages(side: Reads, messages: int) -> Trial:
    side.fill(messages // OF_A_STREAM, OF_A_STREAM)
    return _reading(side)


def all_rows(side: Batches, messages: int) -> Trial:
    for seq in range(1, OF_A_STREAM + 1):
        side.append_to_each(messages // OF_A_STREAM, seq)
    return _reading(side)


def _reading(side: Reads | Batches) -> Trial:
    found: list[int] = []
    return Trial(lambda: found.append(side.read_all()), lambda: sum(found), side.close)


def _warm(side: Writes, writers: int) -> None:
    side.open(writers)
    for seq in range(1, WARM + 1):
        for writer in range(writers):
            side.append(writer, seq)


async def _warm_async(side: WritesAsync, writers: int) -> None:
    await side.open_async(writers)
    for seq in range(1, WARM + 1):
        for writer in range(writers):
            await side.append_async(writer, seq)


def _by_threads(writers: int, write: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(writers) as pool:
        for _ in pool.map(write, range(writers)):
            """One that failed says so here."""


async def _by_tasks(writers: int, write: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*map(write, range(writers)))


# -- the tables --------------------------------------------------------------------------------------------------------


def pairing(place: Place, where: str, theirs: Callable[[Database], Any]) -> Callable[..., Row]:
    """Makes the rows of a table: the same work on our store and on theirs, each in a database of its own."""

    def pair(label: str, amount: int, work: Callable[..., Trial], *arguments: int) -> Row:
        return Row(
            f"{where}: {label}",
            amount,
            lambda: work(Ours(place.database()), *arguments),
            lambda: work(theirs(place.database()), *arguments),
        )

    return pair


def beside_the_driver(place: Place, sizes: Sizes) -> list[Row]:
    s = sizes
    several, pair = s.writers * s.each, pairing(place, place.name, methodcaller("driver"))
    return [
        pair("single appends", s.appends, appends, s.appends),
        pair(f"single appends, {s.writers} threads", several, appends_by_threads, s.writers, s.each),
        pair(f"single appends, {s.writers} tasks", several, appends_by_tasks, s.writers, s.each),
        pair(f"rounds of {s.round:,}", s.rounds * s.round, rounds, s.rounds, s.round),
        pair(f"all of {s.messages:,} messages", s.messages, all_rows, s.messages),
    ]


def beside_eventsourcing(place: Place, sizes: Sizes) -> list[Row]:
    s = sizes
    several, pair = s.writers * s.each, pairing(place, place.name, Theirs)
    return [
        pair("single appends", s.appends, appends, s.appends),
        pair(f"single appends, {s.writers} threads", several, appends_by_threads, s.writers, s.each),
        pair("commands", s.commands, commands, s.commands),
        pair(f"commands, {s.writers} threads", several, commands_by_threads, s.writers, s.each),
        pair(f"replay of {s.replay:,} events", s.replay * REPLAYS, replay, s.replay),
        pair(f"loads of {s.events:,} events", s.loads, loads, s.loads, s.events),
        pair(f"all of {s.messages:,} messages", s.messages, all_messages, s.messages),
    ]


def on_a_disk(place: Place, sizes: Sizes, neighbour: str) -> list[Row]:
    """Single appends alone: what is read, and what comes in rounds, hardly waits for it."""
    s, each = sizes, max(1, sizes.durable // 10)
    theirs = {"driver": methodcaller("driver"), "eventsourcing": Theirs}[neighbour]
    pair = pairing(place, f"{place.name}, on a disk", theirs)
    return [
        pair("single appends", s.durable, appends, s.durable),
        pair(f"single appends, {s.writers} threads", s.writers * each, appends_by_threads, s.writers, each),
    ]


def main(arguments: list[str] | None = None) -> None:
    sizes, only = asked("benchmarks.stored", __doc__, Sizes(), QUICK, arguments)
    versions = ", ".join(f"{name} {version(name)}" for name in ("sourced-py", "eventsourcing", "psycopg"))
    print(f"{versions}, Python {platform.python_version()}; medians of {sizes.runs} runs in turn")
    with _places(durable=False) as places:
        _tell(places)
        for neighbour, rows in (("driver", beside_the_driver), ("eventsourcing", beside_eventsourcing)):
            print(f"\n{head(neighbour)}")
            for place in places:
                _measure(rows(place, sizes), rows(place, QUICK), sizes.runs, only)
    print("\nWith commits that wait for a disk:\n")
    with _places(durable=True) as places:
        _tell(places)
        for neighbour in ("driver", "eventsourcing"):
            print(f"\n{head(neighbour)}")
            for place in places:
                _measure(on_a_disk(place, sizes, neighbour), on_a_disk(place, QUICK, neighbour), sizes.runs, only)
    print(f"\n{NOTES}")


def _tell(places: list[Place]) -> None:
    for place in places:
        print(f"* {place.terms}")


def _measure(rows: list[Row], quick: list[Row], runs: int, only: str) -> None:
    for row, warm_up in zip(rows, quick, strict=True):
        if only in row.label:
            measure(warm_up, runs=1)
            print(line(row, measure(row, runs)), flush=True)


@contextlib.contextmanager
def _places(*, durable: bool) -> Iterator[list[Place]]:
    with sqlite_place(durable=durable) as sqlite, postgres_place(durable=durable) as postgres:
        yield [sqlite, postgres]


if __name__ == "__main__":
    main()
