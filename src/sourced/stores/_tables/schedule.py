"""Messages that are not due yet, and snapshots."""

from __future__ import annotations

from collections.abc import Sequence
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

    def due(self, now: datetime | None, limit: int | None) -> list[Scheduled]:
        waiting = (row for row in self.schedule.values() if now is None or (row[1].at <= now and not row[1].error))
        return [each for _, _, each in sorted((each.at, order, each) for order, each in waiting)][:limit]

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
