"""The app's pulse: how much came and how much was dealt with, looked at every few seconds and kept for a while."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import msgspec

from sourced.dashboard.glance import Building, Glance
from sourced.doctor import GroupInfo

EVERY = 2.0  # seconds between looks
KEPT = 150  # looks: five minutes
LATELY = 30  # looks: a minute


class Beat(msgspec.Struct, frozen=True):
    """One look: how long the log is, how far behind each group is, what each worker has done since it started."""

    at: datetime
    position: int
    lags: Mapping[str, int]
    came: Mapping[str, float]  # since the last look, for each group
    workers: Mapping[str, tuple[int, float]]  # messages handled, and the seconds they took
    building: Mapping[str, Building]


class Pulse:
    """Takes a look when somebody is there to see it, however many they are."""

    def __init__(self) -> None:
        self._beats: deque[Beat] = deque(maxlen=KEPT)

    def due(self, now: datetime) -> bool:
        return not self._beats or (now - self._beats[-1].at).total_seconds() >= EVERY

    def feel(self, seen: Glance) -> None:
        if self.due(seen.at):
            lags = {each.name: each.lag for each in seen.groups}
            came = _came(seen, self._beats[-1].position) if self._beats else {}
            workers = {each.id: (each.handled, each.busy) for each in seen.workers}
            self._beats.append(Beat(seen.at, seen.position, lags, came, workers, seen.building))

    def arriving(self) -> list[float]:
        """Messages a second that were stored, look by look."""
        return [_rate(one, other, other.position - one.position) for one, other in pairwise(self._beats)]

    def taking(self) -> list[float]:
        """Milliseconds of a worker that a message took; while nothing is heard of, as long as the last ones."""
        found, latest = list[float](), 0.0
        for one, other in pairwise(self._beats):
            new = [_since(one, other, worker) for worker in other.workers]
            messages, seconds = sum(each[0] for each in new), sum(each[1] for each in new)
            latest = 1_000 * seconds / messages if messages else latest
            found.append(latest)
        return found

    def handling(self, group: str) -> list[float]:
        """Messages a second that a group was through with."""
        return [
            _rate(one, other, other.came.get(group, 0) + one.lags.get(group, 0) - other.lags.get(group, 0))
            for one, other in pairwise(self._beats)
        ]

    def lagging(self, group: str) -> list[int]:
        return [each.lags.get(group, 0) for each in self._beats]

    def trend(self, group: str) -> float:
        """By how many messages a second it falls behind, over the last minute; below zero it catches up."""
        lags = self.lagging(group)[-LATELY:]
        return (lags[-1] - lags[0]) / self._lately() if len(lags) > 1 else 0.0

    def eta(self, info: GroupInfo) -> float | None:
        """Seconds until a group has caught up, at the pace of the last minute; None when it does not come nearer."""
        trend = self.trend(info.name)
        return -info.lag / trend if info.lag and trend < 0 else None

    def building(self, group: str) -> tuple[float, float | None]:
        """Messages a second that a rebuild goes through, and the seconds it has left; None as long as nobody knows."""
        known = [each.building[group] for each in [*self._beats][-LATELY:] if group in each.building]
        if len(known) < 2 or known[-1].done <= known[0].done:
            return 0.0, None
        seconds = (self._beats[-1].at - self._beats[-len(known)].at).total_seconds()
        rate = (known[-1].done - known[0].done) / max(0.001, seconds)
        return rate, known[-1].left / rate

    def _lately(self) -> float:
        """How many seconds the last looks cover."""
        return max(0.001, (self._beats[-1].at - self._beats[-min(LATELY, len(self._beats))].at).total_seconds())


def _came(seen: Glance, before: int) -> dict[str, float]:
    """How many messages came that each group handles: of more than are looked at, as many as there are among those."""
    types = Counter(type for position, type in seen.newest if position > before)
    many = (seen.position - before) / types.total() if types.total() == len(seen.newest) > 0 else 1
    return {each.name: many * sum(types[type] for type in seen.handles.get(each.name, types)) for each in seen.groups}


def _rate(one: Beat, other: Beat, count: float) -> float:
    return max(0.0, count / max(0.001, (other.at - one.at).total_seconds()))


def _since(one: Beat, other: Beat, worker: str) -> tuple[int, float]:
    (before, busy_before), (after, busy) = one.workers.get(worker, (0, 0.0)), other.workers[worker]
    return after - before, busy - busy_before


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
