"""Prints how fast a projection is rebuilt on PostgreSQL, beside a catch-up on the same log, and what readers notice."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event as Signal
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.ours import ItemAdded
from benchmarks.places import postgres_place
from benchmarks.running import _fill
from sourced import Projector, Sourced, View, evolve
from sourced.stores.postgres import PostgresStore

REST = 0.005  # seconds between two looks of a reader
TICKS = os.sysconf("SC_CLK_TCK")

NOTES = """\
What is measured:
* One log, one projector of a View, a row for each stream. First it catches up as workers do it, in rounds; then its
  rows are rebuilt beside the live ones, until they have taken their place.
* With two processes, both call at the same time, and share the shards.
* Processor: of these processes, and of the database server, for each message.
* Reads: another process gets one row after the other by its key, 200 a second at most, before and during each rebuild.
  Every row it sees is checked: it is whole."""


class Row(View):
    items: int = 0
    total: int = 0


class Carts(Projector[Row], group="carts"):
    @evolve
    def added(self, row: Row, event: ItemAdded) -> None:
        row.items += event.quantity
        row.total += event.price * event.quantity


class Did(NamedTuple):
    seconds: float
    processor: float
    server: float


# -- what is done, in processes of its own


def working(url: str, what: str, start: Signal, told: Any) -> None:
    with opened(url) as app:
        told.send(None)
        start.wait()
        before = time.process_time()
        app.drain() if what == "catch up" else app.rebuild(Carts)
        told.send(time.process_time() - before)


def reading(url: str, streams: int, each: int, stop: Signal, told: Any) -> None:
    """How long looks at a row took, in milliseconds."""
    took: list[float] = []
    with opened(url) as app:
        rows, wrong = app.views(Carts), 0
        rows.get("nobody")
        told.send(None)
        while not stop.wait(REST):
            key = f"cart-{random.randrange(streams):06}"
            begun = time.perf_counter()
            row = rows.get(key)
            took.append((time.perf_counter() - begun) * 1000)
            wrong += row is None or row.items != each
    told.send((sorted(took), wrong))


@contextmanager
def opened(url: str) -> Iterator[Sourced]:
    with Sourced(PostgresStore(url)) as app:
        app.register(Carts)
        yield app


@contextmanager
def readers(url: str, streams: int, each: int, found: list[float]) -> Iterator[None]:
    stop = SPAWN.Event()
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=reading, args=(url, streams, each, stop, there))
    process.start()
    here.recv()
    try:
        yield
    finally:
        stop.set()
        took, wrong = here.recv()
        process.join()
        found += took
        if wrong:
            raise RuntimeError(f"{wrong} of {len(took)} rows were not whole")


SPAWN: Any = multiprocessing.get_context("spawn")


def done(url: str, what: str, processes: int, server: int) -> Did:
    start, pipes, crew = SPAWN.Event(), [], []
    for _ in range(processes):
        here, there = SPAWN.Pipe()
        crew.append(SPAWN.Process(target=working, args=(url, what, start, there)))
        crew[-1].start()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()
    before, begun = processor_of(server), time.perf_counter()
    start.set()
    processor = sum(pipe.recv() for pipe in pipes)
    seconds = time.perf_counter() - begun
    for each in crew:
        each.join()
    return Did(seconds, processor, processor_of(server) - before)


def processor_of(server: int) -> float:
    """Seconds of a PostgreSQL server: its processes, and those of them that have ended."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[1]) == server:
            ticks += int(fields[11]) + int(fields[12])
        elif stat.parent.name == str(server):
            ticks += sum(map(int, fields[11:15]))
    return ticks / TICKS


# -- the tables


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebuild", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N", help="default 1,000,000")
    parser.add_argument("--streams", type=int, default=10_000, metavar="N", help="default 10,000")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], metavar="N", help="default 1 2")
    parser.add_argument("--idle", type=float, default=10.0, metavar="SECONDS", help="of reads before; default 10")
    asked = parser.parse_args(arguments)
    messages = asked.messages - asked.messages % asked.streams  # each stream has as many
    with postgres_place() as place:
        database = place.database()
        store = database.store()
        with Sourced(store) as app:
            print(f"* {place.terms}\n* {messages:,} messages in {asked.streams:,} streams, rows of one view\n")
            measured(app, store.url, messages, asked.streams, asked.processes, asked.idle)
        database.close()
    print(f"\n{NOTES}")


def measured(app: Sourced, url: str, messages: int, streams: int, processes: list[int], idle: float) -> None:
    each = messages // streams * 2
    _fill(app, ((f"cart-{number % streams:06}", ItemAdded("p1", 1000, 2)) for number in range(messages)))
    with app.store.transaction() as connection:
        connection.call(lambda tx: tx.execute("analyze"))
        backend = connection.call(lambda tx: tx.execute("select pg_backend_pid()").fetchone()[0])
    server = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    print("| the same messages | /s | beside | µs of ours | µs of the server |\n|:--|--:|--:|--:|--:|")
    caught = done(url, "catch up", 1, server)
    show("catch-up, 1 process", caught, messages, caught)
    reads: dict[str, list[float]] = {"before": []}
    with readers(url, streams, each, reads["before"]):
        time.sleep(idle)
    for count in processes:
        label = f"rebuild, {count} process{'es' * (count > 1)}"
        with readers(url, streams, each, reads.setdefault(f"during the {label}", [])):
            did = done(url, "rebuild", count, server)
        show(label, did, messages, caught)
    print("\n| a row by its key | reads | p50 ms | p95 ms | p99 ms |\n|:--|--:|--:|--:|--:|")
    for label, took in reads.items():
        took.sort()
        p50, p95, p99 = (took[len(took) * part // 100] if took else 0.0 for part in (50, 95, 99))
        print(f"| {label} | {len(took):,} | {p50:.2f} | {p95:.2f} | {p99:.2f} |", flush=True)


def show(label: str, did: Did, messages: int, caught: Did) -> None:
    ours, server = did.processor / messages * 1e6, did.server / messages * 1e6
    beside = caught.seconds / did.seconds
    print(f"| {label} | {messages / did.seconds:,.0f} | {beside:.1f} | {ours:.1f} | {server:.1f} |", flush=True)


if __name__ == "__main__":
    main()
