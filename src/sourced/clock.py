"""The one place that asks what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sourced.errors import Invalid


class Clock(Protocol):
    """Anything that tells the time: aware, in UTC, to the microsecond."""

    def now(self) -> datetime: ...

    def elapsed(self) -> float:
        """Seconds since some moment in the past, never going back: for measuring how long something takes."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed(self) -> float:
        return time.monotonic()


def as_delta(duration: timedelta | float) -> timedelta:
    """Durations are given as a timedelta or as seconds; everything inside uses timedelta."""
    if isinstance(duration, timedelta):
        return duration
    try:
        return timedelta(seconds=duration)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(
            "duration", {"seconds": f"expected a number of seconds or a timedelta, found {duration!r}"}
        ) from None
