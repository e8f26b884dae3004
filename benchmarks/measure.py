"""Two ways to do the same work, timed in turn, so that a machine that drifts drifts under both."""

from __future__ import annotations

import gc
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple


def _nothing() -> None:
    """Nothing to tidy up."""


class Trial(NamedTuple):
    """Work that is set up and ready to be timed, and a count of what it has done, taken afterwards."""

    work: Callable[[], object]
    done: Callable[[], int]
    tidy: Callable[[], object] = _nothing


class Row(NamedTuple):
    """One line of the table: the same `amount` of work, set up anew by either side for each run."""

    label: str
    amount: int
    ours: Callable[[], Trial]
    theirs: Callable[[], Trial]


class Measured(NamedTuple):
    """Rates per second, run by run; a run of ours is always followed by one of theirs."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]


def measure(row: Row, runs: int) -> Measured:
    pairs = [(rate(row.ours(), row), rate(row.theirs(), row)) for _ in range(runs)]
    return Measured([ours for ours, _ in pairs], [theirs for _, theirs in pairs])


def rate(trial: Trial, row: Row) -> float:
    """How much per second; work that was not done whole is no result."""
    gc.collect()  # what earlier trials left behind is not this one's to clean up
    try:
        begun = perf_counter()
        trial.work()
        seconds = perf_counter() - begun
        done = trial.done()
    finally:
        trial.tidy()
    if done != row.amount:
        raise RuntimeError(f"{row.label}: expected {row.amount} done, found {done}")
    return row.amount / seconds


def head(neighbour: str) -> str:
    """The head of a table that has ours beside a neighbour's."""
    return (
        f"| the same work | Sourced /s | {neighbour} /s | ratio | from, to |\n"
        f"|:--------------|-----------:|{'-' * (len(neighbour) + 3)}:|------:|---------:|"
    )


def line(row: Row, found: Measured) -> str:
    """A line of the table: medians, and how far the ratio strayed."""
    ours, theirs, ratios = median(found.ours), median(found.theirs), found.ratios
    ratio, spread = f"{median(ratios):.1f}", f"{min(ratios):.1f}, {max(ratios):.1f}"
    return f"| {row.label} | {ours:,.0f} | {theirs:,.0f} | {ratio} | {spread} |"
