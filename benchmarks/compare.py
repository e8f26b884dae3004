"""Prints Sourced and `eventsourcing` side by side: the same work, on both memory stores, in one run."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from benchmarks import ours, theirs
from benchmarks.asking import asked
from benchmarks.measure import Row, head, line, measure


@dataclass(frozen=True)
class Sizes:
    """How much of everything; each is an argument of the command."""

    runs: int = 5
    commands: int = 3_000
    loads: int = 400  # commands that each load their stream: one stream, read over and over, grows by every one
    streams: int = 200
    replay: int = 10_000
    events: int = 100_000
    event_streams: int = 1_000
    flows: int = 5_000


QUICK = Sizes(runs=1, commands=100, loads=50, streams=10, replay=500, events=2_000, event_streams=50, flows=100)

REPLAYS = 5  # in a run: one alone is over too soon to be timed

NOTES = """\
Where the work differs:
* Commands and flows: Sourced also stores the command, with its causation, correlation and metadata, and reads what it
  is about to store back to prove that it can be read. eventsourcing stores the event alone.
* Each event's time: eventsourcing writes it into the JSON; Sourced's memory store keeps it beside.
* From the cache: a cached cart of eventsourcing is brought up to date and copied before each use, unless it is told
  not to ("trusted"); Sourced trusts its own and looks only when the store reports a conflict.
* Replay: Sourced's stream holds the commands too, twice as many records; they are passed over undecoded.
* Projection: both count each event once, rows and position stored together; Sourced by batches of a stream in the
  caller's thread, eventsourcing event by event in a thread of its runner, whose start is part of the time.
* Flows: Sourced stores the first command, decides it in the background, stores the second, decides that in the
  background: four messages, in rounds of 500. eventsourcing calls a method and runs the policy within its save: two
  events, one flow at a time. "Handed over" is their NewSingleThreadedRunner: a saved event reaches the policy as it
  is, instead of being read back. "Decided at once": ours executes the first command, as theirs does."""


def rows(sizes: Sizes) -> list[Row]:
    return [*commands(sizes, 1), *commands(sizes, sizes.streams), replay(sizes), projection(sizes), *flows(sizes)]


def commands(sizes: Sizes, streams: int) -> list[Row]:
    where = f"{streams} streams" if streams > 1 else "1 stream"
    pairs = (
        ("loaded for each", sizes.loads, ours.loading, theirs.loading),
        ("from the cache", sizes.commands, ours.routed, theirs.cached),
        ("from the cache, trusted", sizes.commands, ours.routed, theirs.trusted),
        ("on the object at hand", sizes.commands, ours.at_hand, theirs.at_hand),
    )
    return [
        Row(f"commands, {where}: {how}", count, partial(mine, count, streams), partial(other, count, streams))
        for how, count, mine, other in pairs
    ]


def replay(sizes: Sizes) -> Row:
    long, times = sizes.replay, REPLAYS
    label = f"replay of {long:,} events"
    return Row(label, long * times, partial(ours.replay, long, times), partial(theirs.replay, long, times))


def projection(sizes: Sizes) -> Row:
    of = sizes.events, sizes.event_streams
    label = f"projection of {sizes.events:,} events"
    return Row(label, sizes.events, partial(ours.projection, *of), partial(theirs.projection, *of))


def flows(sizes: Sizes) -> list[Row]:
    n = sizes.flows
    pairs = (
        ("", ours.flows, theirs.flows),
        (", handed over", ours.flows, theirs.flows_handed_over),
        (", first command decided at once", ours.flows_decided_first, theirs.flows),
    )
    return [Row(f"{n:,} flows{how}", n, partial(mine, n), partial(other, n)) for how, mine, other in pairs]


def main(arguments: list[str] | None = None) -> None:
    sizes, only = asked("benchmarks.compare", __doc__, Sizes(), QUICK, arguments)
    ours_is, theirs_is = f"sourced-py {version('sourced-py')}", f"eventsourcing {version('eventsourcing')}"
    print(f"{ours_is}, {theirs_is}, Python {platform.python_version()}; medians of {sizes.runs} runs in turn\n")
    print(head("eventsourcing"))
    for row, warm_up in zip(rows(sizes), rows(QUICK), strict=True):
        if only in row.label:
            measure(warm_up, runs=1)
            print(line(row, measure(row, sizes.runs)), flush=True)
    print(f"\n{NOTES}")


if __name__ == "__main__":
    main()
