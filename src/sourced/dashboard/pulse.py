"""The app's pulse: how much came and how much was dealt with, looked at every few seconds and kept for a while."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import msgspec

from sourced.app import Sourced
from sourced.doctor import GroupInfo

EVERY = 2.0  # seconds between looks
KEPT = 150  # looks: five minutes


class Beat(msgspec.Struct, frozen=True):
    """One look: how long the log is, how far behind each group is."""

    at: datetime
    position: int
    lags: dict[str, int]


class Pulse:
    """Takes a look when somebody is there to see it, however many they are."""

    def __init__(self, app: Sourced) -> None:
        self._app = app
        self._beats: deque[Beat] = deque(maxlen=KEPT)
        self._looking = asyncio.Lock()

    async def feel(self, position: int, groups: Sequence[GroupInfo]) -> None:
        now = self._app._engine.clock.now()
        if not self._beats or (now - self._beats[-1].at).total_seconds() >= EVERY:
            self._beats.append(Beat(now, position, {each.name: each.lag for each in groups}))

    def arriving(self) -> list[float]:
        """Messages a second that were stored, look by look."""
        return [_rate(one, other, other.position - one.position) for one, other in pairwise(self._beats)]

    def handling(self, group: str) -> list[float]:
        """Messages a second that a group was through with."""
        return [
            _rate(one, other, other.position - one.position + one.lags.get(group, 0) - other.lags.get(group, 0))
            for one, other in pairwise(self._beats)
        ]

    def lagging(self, group: str) -> list[int]:
        return [each.lags.get(group, 0) for each in self._beats]

    def eta(self, info: GroupInfo) -> float | None:
        """Seconds until a group has caught up, at the pace of the last minute; None when it does not come nearer."""
        lags = self.lagging(info.name)[-30:]
        if not info.lag or len(lags) < 2 or lags[0] <= lags[-1]:
            return None
        seconds = (self._beats[-1].at - self._beats[-len(lags)].at).total_seconds()
        return info.lag * seconds / (lags[0] - lags[-1])


def _rate(one: Beat, other: Beat, count: int) -> float:
    return max(0.0, count / max(0.001, (other.at - one.at).total_seconds()))


def sparkline(values: Sequence[float], width: int = 160, height: int = 32) -> str:
    """Points of an SVG polyline, the latest at the right."""
    if len(values) < 2:
        return ""
    top = max(max(values), 1.0)
    step = width / (KEPT - 1)
    left = width - step * (len(values) - 1)
    return " ".join(
        f"{left + step * at:.1f},{height - 1 - (height - 2) * value / top:.1f}" for at, value in enumerate(values)
    )
