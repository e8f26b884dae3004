"""Where the messages of one log are in another that holds the same ones in the same order."""

from __future__ import annotations

from array import array
from bisect import bisect_right


class Positions:
    """Kept as runs in which both logs count on one by one: a log without gaps is a single one, however long."""

    def __init__(self) -> None:
        self._there = array("q")
        self._here = array("q")
        self._count = array("q")

    def saw(self, there: int, here: int) -> None:
        """The next message."""
        if self._count:
            count = self._count[-1]
            if (there, here) == (self._there[-1] + count, self._here[-1] + count):
                self._count[-1] += 1
                return
        self._there.append(there)
        self._here.append(here)
        self._count.append(1)

    def here(self, there: int) -> int:
        """Of the last message at or before a position there; 0 when there is none."""
        at = bisect_right(self._there, there) - 1
        return 0 if at < 0 else self._here[at] + min(there - self._there[at], self._count[at] - 1)
