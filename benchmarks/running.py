"""Prints how fast Sourced's workers are, in processes of their own, and `eventsourcing` at the same work."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any, NamedTuple

from benchmarks import crew, their_runners
from benchmarks.asking import asked
from benchmarks.crew import Crew
from benchmarks.measure import Measured, Row, Trial, head, line, rate
from benchmarks.ours import AddItem, ItemAdded, PlaceOrder, Reserved
from benchmarks.places import Database, Place, postgres_place, sqlite_place
from sourced import Sourced
from sourced.envelope import Message
from sourced.messages import Payload
from sourced.store import Entry


@dataclass(frozen=True)
class Sizes:
    """How much of everything; each is an argument of the command."""

    runs: int = 3
    events: int = 100_000
    streams: int = 1_000
    many: int = 100_000  # streams, where there are very many
    flows: int = 5_000
    their_events: int = 2_000
    their_flows: int = 300
    messages: int = 300  # one after the other, each on its own
    idle: int = 5  # seconds
    variants: int = 1  # 0: the plain ones only


QUICK = Sizes(1, 200, 10, 50, 20, 20, 10, 5, 0, 0)

CHUNK = 1_000  # messages in one append
FLOW = 4  # messages in one flow
REST = 0.02  # seconds between messages that come alone

NOTES = """\
What is measured:
* Catching up: a count for each stream, stored with the offset, so each event is counted once. Sourced in worker
  processes of their own, from the moment the group is started until every shard has been looked through; rows are kept
  by Sourced, or in a table of one's own, one `select` and one `insert` for each stream of a round. A stream that fails
  waits for its retry, and all others are counted. eventsourcing in one process: a Projection with its
  ProjectionRunner; on SQLite, where its recorder offers no subscription, a loop that asks for what comes next. Theirs
  is given fewer events, as it would take minutes; rates are compared.
* Flows: a command, its event, a reaction, a command in another stream, its event. Sourced from stored commands, both
  groups in each process, until the last event is stored. eventsourcing: a System on the quickest of its runners.
* Alone: from before `dispatch` in one process until the handler's result is durable and its @after_commit runs in
  another one; every message finds the worker idle.
* Idle: a worker's processor time when there is nothing to do."""


# -- the work ----------------------------------------------------------------------------------------------------------


def catching_up(database: Database, events: int, streams: int, *, processes: int = 1, troubled: bool = False) -> Trial:
    """Rows that are kept beside the log."""
    store = database.store()
    work = partial(crew.counts, troubled=troubled)
    app = _stopped(store, work)
    names = _carts(app, events, streams)
    expected = sum(not (troubled and name.endswith("00")) for name in names)

    def done() -> int:
        """Of the events, those of untroubled streams."""
        counted = sum(row.items for row in app.views(crew.Counts).all().values())
        return events if counted == expected else counted

    return _by_workers(app, Crew(app, crew.again(store), work, processes), done, database)


def catching_up_by_hand(database: Database, events: int, streams: int) -> Trial:
    """A table of one's own, as theirs is: read and written row by row."""
    store = database.store()
    work = partial(crew.tallies, mark="%s" if hasattr(store, "url") else "?")
    app = _stopped(store, work)
    with store.transaction() as connection:
        connection.call(lambda tx: tx.execute("create table tallies (cart text primary key, items integer not null)"))
    _carts(app, events, streams)

    def done() -> int:
        with store.transaction(reading=True) as connection:
            query: Any = "select sum(items) from tallies"
            return int(connection.call(lambda tx: tx.execute(query).fetchone()[0]))

    return _by_workers(app, Crew(app, crew.again(store), work), done, database)


def _carts(app: Sourced, events: int, streams: int) -> list[str]:
    names = [f"cart-{number % streams:06}" for number in range(events)]
    _fill(app, ((name, ItemAdded("p1", 1000, 2)) for name in names))
    return names


def flows(database: Database, count: int, *, processes: int = 1) -> Trial:
    store = database.store()
    app = _stopped(store, crew.orders)
    _fill(app, ((f"order-{number}", PlaceOrder("p1", 2)) for number in range(count)))
    workers = Crew(app, crew.again(store), crew.orders, processes)
    done = partial(crew.stored, app, Reserved, count, FLOW * count)
    return _by_workers(app, workers, lambda: len(app.read_all(types=[Reserved])), database, done)


def _stopped(store: Any, work: crew.Work) -> Sourced:
    """An app whose groups stand still until they are told to start."""
    app = Sourced(store)
    app.register(*work(None))  # type: ignore[arg-type]
    for group in app.groups.list():
        app.groups.stop(group.name, "not yet")
    return app


def _fill(app: Sourced, messages: Iterator[tuple[str, Payload]]) -> None:
    engine, seqs, entries = app._engine, dict[str, int](), list[Entry]()

    def store() -> None:
        app.store.transact(app.store.append(entries))
        entries.clear()

    for stream, payload in messages:
        message = Message.new(payload, stream=stream, now=engine.clock.now())
        entries.append(Entry(stream, (engine.codec.encode(message),), seqs.get(stream, 0)))
        seqs[stream] = seqs.get(stream, 0) + 1
        if len(entries) == CHUNK:
            store()
    store()


def _by_workers(
    app: Sourced, workers: Crew, done: Callable[[], int], database: Database, over: Callable[[], bool] | None = None
) -> Trial:
    """Until that is so; by default, until all groups have caught up."""
    workers.__enter__()

    def work() -> None:
        for group in app.groups.list():
            app.groups.start(group.name)
        workers.through(over or partial(crew.caught_up, app))

    def tidy() -> None:
        workers.__exit__()
        app.close()
        database.close()

    return Trial(work, done, tidy)


class Alone(NamedTuple):
    """Milliseconds from one process through another into the log, and the share of a processor that idling takes."""

    p50: float
    p99: float
    idle: float


def alone(database: Database, messages: int, seconds: int) -> Alone:
    store = database.store()
    app = Sourced(store)
    took = []
    with Crew(app, crew.again(store), crew.carts) as workers:
        (told,) = workers.lines
        for number in range(messages):
            time.sleep(REST)
            begun = time.monotonic()
            app.dispatch(AddItem("p1", 1000, 2), to=f"cart-{number}")
            took.append((told.recv() - begun) * 1000)
        before = workers.processor_seconds()
        time.sleep(seconds)
        idle = (workers.processor_seconds() - before) / seconds if seconds else 0.0
    app.close()
    database.close()
    took.sort()
    return Alone(took[len(took) // 2], took[len(took) * 99 // 100], idle)


# -- the tables --------------------------------------------------------------------------------------------------------


class Several(NamedTuple):
    """Ways to do the same work, all of them beside one of theirs."""

    ours: Sequence[tuple[str, int, Callable[[], Trial]]]
    theirs: tuple[int, Callable[[], Trial]]


def works(place: Place, s: Sizes) -> list[Several]:
    def ours(label: str, amount: int, work: Callable[..., Trial], *args: Any, **options: Any) -> Any:
        return f"{place.name}: {label}", amount, lambda: work(place.database(), *args, **options)

    catch_up, flow = f"{s.events:,} events", f"{s.flows:,} flows"
    caught = [
        ours(f"{catch_up}, {s.streams:,} streams", s.events, catching_up, s.events, s.streams),
        ours(f"{catch_up}, {s.streams:,} streams, own table", s.events, catching_up_by_hand, s.events, s.streams),
    ]
    flowed = [ours(flow, s.flows, flows, s.flows)]
    if s.variants:
        of = (s.events, catching_up, s.events)
        caught += [
            ours(f"{catch_up}, {s.streams:,} streams, 2 processes", *of, s.streams, processes=2),
            ours(f"{catch_up}, {s.many:,} streams", *of, s.many),
            ours(f"{catch_up}, {s.many:,} streams, 1 % failing", *of, s.many, troubled=True),
        ]
        flowed += [ours(f"{flow}, 2 processes", s.flows, flows, s.flows, processes=2)]
    their_streams = max(1, s.streams * s.their_events // s.events)
    return [
        Several(
            caught,
            (s.their_events, lambda: their_runners.catching_up(place.database(), s.their_events, their_streams)),
        ),
        Several(flowed, (s.their_flows, lambda: their_runners.flows(place.database(), s.their_flows))),
    ]


def measured(several: Several, runs: int, only: str) -> Iterator[tuple[Row, Measured]]:
    """Each run does all of ours and then theirs."""
    wanted = [each for each in several.ours if only in each[0]]
    if not wanted:
        return
    found: dict[str, Measured] = {label: Measured([], []) for label, _, _ in wanted}
    for _ in range(runs):
        rates = {label: rate(make(), Row(label, amount, make, make)) for label, amount, make in wanted}
        amount, make = several.theirs
        theirs = rate(make(), Row("eventsourcing", amount, make, make))
        for label, ours in rates.items():
            found[label].ours.append(ours)
            found[label].theirs.append(theirs)
    for label, amount, make in wanted:
        yield Row(label, amount, make, make), found[label]


def main(arguments: list[str] | None = None) -> None:
    sizes, only = asked("benchmarks.running", __doc__, Sizes(), QUICK, arguments)
    versions = ", ".join(f"{name} {version(name)}" for name in ("sourced-py", "eventsourcing", "psycopg"))
    print(f"{versions}, Python {platform.python_version()}; medians of {sizes.runs} runs in turn")
    with sqlite_place() as sqlite, postgres_place() as postgres:
        places: list[Place] = [postgres, sqlite]
        for place in places:
            print(f"* {place.terms}")
        print(f"\n{head('eventsourcing')}")
        for place in places:
            for several in works(place, sizes):
                for row, found in measured(several, sizes.runs, only):
                    print(line(row, found), flush=True)
        print("\n| one message at a time | p50 ms | p99 ms | idle |\n|:--|--:|--:|--:|")
        for place in places:
            label = f"{place.name}: {sizes.messages} messages, each alone"
            if only in label:
                found_alone = [alone(place.database(), sizes.messages, sizes.idle) for _ in range(sizes.runs)]
                p50, p99, idle = (median(values) for values in zip(*found_alone, strict=True))
                print(f"| {label} | {p50:.1f} | {p99:.1f} | {idle:.2%} |", flush=True)
    print(f"\n{NOTES}")


if __name__ == "__main__":
    main()
