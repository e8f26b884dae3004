"""A clock that stands still until a test turns it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from sourced.clock import as_delta

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


class VirtualClock:
    """`advance(5)` makes it five seconds later; nobody has to wait."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._ticks = itertools.count()

    def now(self) -> datetime:
        return self._now

    def elapsed(self) -> float:
        """Every look at it takes a second, so that whoever waits for a time-out comes to its end."""
        return float(next(self._ticks))

    def advance(self, by: timedelta | float) -> datetime:
        self._now += as_delta(by)
        return self._now
