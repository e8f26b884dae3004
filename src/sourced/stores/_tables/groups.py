"""Groups: where they start, how far they have come, their stop, start and reset."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any, Literal

import msgspec

from sourced.codec import Record
from sourced.store import COUNTED, RARE, Group, Move, Progress, Straggler
from sourced.stores._tables.base import Base, ShardRow

_position = attrgetter("position")
_changed: Any = msgspec.structs.replace

PART = COUNTED // 2


class Groups(Base):
    def register(self, name: str, start_from: Literal["beginning", "now"] | datetime) -> Group:
        if name not in self.groups:
            self.put(self.groups, name, Group(name, start=self._position_of(start_from)))
            self.put(self.progress, name, {})
            self.put(self.waiting, name, {})
        return self.groups[name]

    def reinstate(self, group: Group, moves: Sequence[Move]) -> None:
        self.put(self.groups, group.name, group)
        self.put(self.waiting, group.name, self.waiting.get(group.name, {}))
        known = self.progress.get(group.name, {})
        self.put(self.progress, group.name, {})
        for shard, row in known.items():
            self.put(self.progress[group.name], shard, ShardRow(group.start, token=row.token + 1))
        for move in moves:
            token = known[move.shard].token + 1 if move.shard in known else 0
            self.put(self.progress[group.name], move.shard, ShardRow(
                move.checkpoint, move.high, token=token, careful=move.careful
            ))  # fmt: skip

    def _position_of(self, start_from: Literal["beginning", "now"] | datetime) -> int:
        if start_from == "beginning":
            return 0
        if isinstance(start_from, datetime):
            return next((r.position - 1 for r in self.log if r.created_at > start_from), len(self.log))
        return len(self.log)

    def stop_group(self, name: str, reason: str, error: str, by: str, at: datetime | None) -> Group:
        group = self.groups[name]
        if group.status == "active":
            stop = {"reason": reason, "error": error, "stopped_by": by, "stopped_at": at}
            self.put(self.groups, name, _changed(group, status="stopped", **stop))
        return group

    def start_group(self, name: str) -> Group:
        group = self.groups[name]
        nothing = {"reason": "", "error": "", "stopped_by": "", "stopped_at": None}
        self.put(self.groups, name, _changed(group, status="active", **nothing))
        return group

    def progress_of(self, name: str, types: Collection[str] | None) -> list[Progress]:
        found: list[Progress] = []
        rare = self._rare(name, types)
        for shard, log in enumerate(self.shards):
            if log:
                row = self._shard(name, shard)
                come = bisect_right(log, row.checkpoint, key=_position)
                left = len(log) - come
                whole = rare or left <= COUNTED
                seen = log[come:] if whole else [*log[come : come + PART], *log[-PART:]]
                wanted = [record for record in seen if self._wants(name, record, types)]
                pending = len(wanted) if whole else round(len(wanted) * left / COUNTED)
                oldest = wanted[0].created_at if wanted else None
                found.append(Progress(
                    shard, row.checkpoint, row.high, pending, oldest, row.owner, row.until, not whole, row.careful
                ))  # fmt: skip
        return found

    def _rare(self, name: str, types: Collection[str] | None) -> bool:
        """Whether there are so few of these types after the checkpoints that each is counted."""
        if types is None:
            return False
        come = [(self._shard(name, shard).checkpoint, log[-1].position) for shard, log in enumerate(self.shards) if log]
        after = min((checkpoint for checkpoint, last in come if last > checkpoint), default=len(self.log))
        return len([*islice((each for each in self.log[after:] if each.type in types), RARE + 1)]) <= RARE

    def _wants(self, name: str, record: Record, types: Collection[str] | None) -> bool:
        settled = name in record.settled_by and record.position > self.groups[name].reset_at
        return (types is None or record.type in types) and not settled

    def retry_all(self, name: str) -> None:
        for straggler in self.list_stragglers(name):
            if not straggler.parked and not straggler.holder:
                self._straggle(_changed(straggler, attempts=0, retry_at=None, running=False, error="", traceback=""))

    def reset_group(self, name: str) -> Group:
        group = self.groups[name]
        self.put(self.groups, name, _changed(group, epoch=group.epoch + 1, reset_at=len(self.log)))
        return group

    def reset_checkpoints(self, name: str) -> None:
        """The tokens grow as well, which fences the rounds in flight and takes their leases."""
        start = self.groups[name].start
        for shard, row in list(self.progress[name].items()):
            self.put(self.progress[name], shard, ShardRow(start, row.high, token=row.token + 1))

    def reset_stragglers(self, name: str) -> None:
        for s in self.list_stragglers(name):
            rows = self.streams[s.stream]
            live_after = rows[s.from_seq - 1].position - 1 if s.from_seq <= len(rows) else rows[-1].position
            self._straggle(Straggler(s.group, s.stream, 1, live_after=max(s.live_after, live_after)))
