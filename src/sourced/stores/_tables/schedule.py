"""Messages that are not due yet, and snapshots."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from operator import attrgetter

from sourced.store import Scheduled, Snapshot
from sourced.stores._tables.base import Base


class Schedule(Base):
    def add_scheduled(self, scheduled: Sequence[Scheduled]) -> None:
        for each in scheduled:
            if each.record.id not in self.schedule:
                self.put(self.schedule, each.record.id, (next(self.scheduled_so_far), each))

    def set_aside(self, scheduled: Scheduled) -> None:
        order, _ = self.schedule[scheduled.record.id]
        self.put(self.schedule, scheduled.record.id, (order, scheduled))

    def due(self, now: datetime, limit: int | None) -> list[Scheduled]:
        waiting = (row for row in self.schedule.values() if row[1].at <= now and not row[1].error)
        return [each for _, _, each in sorted((each.at, order, each) for order, each in waiting)][:limit]

    def list_scheduled(
        self, ids: Collection[str] | None, after: tuple[datetime, str] | None, limit: int | None
    ) -> list[Scheduled]:
        place = self._place(*after) if after else None
        found = sorted((each.at, order, each) for order, each in self.schedule.values())
        return [
            each for at, order, each in found
            if (place is None or (at, order) > place) and (ids is None or each.record.id in ids)
        ][:limit]  # fmt: skip

    def _place(self, at: datetime, message_id: str) -> tuple[datetime, int]:
        order, last = self.schedule.get(message_id, (-1, None))
        return at, order if last and last.at == at else -1

    def count_scheduled(self, until: datetime | None, aside: bool) -> int:
        waiting = (each for _, each in self.schedule.values() if each.error or not aside)
        return sum(until is None or each.at <= until for each in waiting)

    def cancel(self, message_ids: Sequence[str]) -> list[str]:
        there = [each for each in dict.fromkeys(message_ids) if each in self.schedule]
        for each in there:
            self.drop(self.schedule, each)
        return there

    def save_snapshot(self, snapshot: Snapshot, keep: int) -> None:
        key = (snapshot.group, snapshot.stream)
        others = (s for s in self.snapshots.get(key, ()) if s.seq != snapshot.seq)
        newest = sorted((*others, snapshot), key=attrgetter("seq"), reverse=True)
        self.put(self.snapshots, key, tuple(newest[:keep]))

    def latest_snapshots(self, group: str, streams: Sequence[str]) -> dict[str, Snapshot]:
        return {s: self.snapshots[group, s][0] for s in streams if (group, s) in self.snapshots}
