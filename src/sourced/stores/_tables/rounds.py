"""Rounds: claims, what is pending, what waits for itself, and who works on it."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec

from sourced.codec import Record
from sourced.errors import Fenced
from sourced.store import SILENT, Claim, Group, Lease, Move, Pending, Straggler, Worker, shard_of
from sourced.stores._tables.base import Base, ShardRow

_position = attrgetter("position")
_changed: Any = msgspec.structs.replace


class Rounds(Base):
    def claim(self, name: str, owner: str, now: datetime, until: datetime, limit: int, most: int | None) -> Claim:
        group = self.groups[name]
        if group.status != "active":
            return Claim(group)
        due: dict[int, list[Straggler]] = {}
        for _, straggler in sorted(self.waiting[name].items()):
            if not straggler.parked and (straggler.retry_at is None or straggler.retry_at <= now):
                due.setdefault(shard_of(straggler.stream, len(self.shards)), []).append(straggler)
        free = [
            (row.checkpoint, shard, row)
            for shard, log in enumerate(self.shards)
            if log
            and (log[-1].position > (row := self._shard(name, shard)).checkpoint or shard in due)
            and (not row.owner or row.owner == owner or (row.until is not None and row.until <= now))
        ]
        room = limit if most is None else min(limit, most)
        if len(free) > room:
            free = heapq.nsmallest(room, free, key=lambda each: each[:2])  # whoever is furthest behind goes first
        leases, taken, share = [], [], max(1, limit // max(1, len(free)))
        for checkpoint, shard, row in free:
            careful = max(row.careful, row.open)
            self.put(self.progress[name], shard, replace(
                row, owner=owner, until=until, token=row.token + 1, open=share, careful=careful
            ))  # fmt: skip
            leases.append(Lease(shard, row.token + 1, checkpoint, row.high, careful))
            taken += due.get(shard, [])[: 1 if careful else limit]
        for straggler in taken:
            self._straggle(_changed(straggler, attempts=straggler.attempts + 1, running=True, holder=""))
        due_now = (_changed(s, attempts=s.attempts + 1, holder="") for s in taken)
        return Claim(group, tuple(leases), tuple(due_now))

    def pending(self, name: str, leases: Sequence[Lease], types: Collection[str], limit: int) -> Pending:
        found: list[Record] = []
        scanned: dict[int, int] = {}
        waiting, reset_at = self.waiting[name], self.groups[name].reset_at
        share = max(1, limit // max(1, len(leases)))
        for lease in leases:
            log = self.shards[lease.shard]
            full = len(found) + (1 if lease.careful else share)
            for index in range(bisect_right(log, lease.checkpoint, key=_position), len(log)):
                if len(found) == full:
                    scanned[lease.shard] = log[index - 1].position
                    break
                record = log[index]
                if record.type not in types or record.stream in waiting:
                    continue
                if name in record.settled_by and record.position > reset_at:
                    continue
                found.append(record)
            else:
                scanned[lease.shard] = log[-1].position if log else lease.checkpoint
        return Pending(tuple(found), scanned)

    def straggling(
        self, stragglers: Sequence[Straggler], types: Collection[str], upto: Mapping[int, int], limit: int
    ) -> list[Sequence[Record]]:
        found: list[Sequence[Record]] = []
        for s in stragglers:
            last, group = upto[shard_of(s.stream, len(self.shards))], self.groups[s.group]
            wanted = (
                record
                for record in self.streams[s.stream][max(0, s.from_seq - 1) :]
                if record.type in types
                and group.start < record.position <= last
                and (s.group not in record.settled_by or record.position <= group.reset_at)
            )
            found.append([record for record, _ in zip(wanted, range(limit), strict=False)])
        return found

    def fence(self, claim: Claim) -> None:
        name = claim.group.name
        if self.groups[name].epoch != claim.group.epoch:
            raise Fenced(name, "it was reset meanwhile")
        for lease in claim.leases:
            if self._shard(name, lease.shard).token != lease.token:
                raise Fenced(name, f"the lease of shard {lease.shard} went to somebody else")

    def renew(self, claim: Claim, until: datetime) -> None:
        rows = self.progress[claim.group.name]
        for lease in claim.leases:
            row = rows.get(lease.shard)
            if row is not None and row.token == lease.token and row.owner:
                self.put(rows, lease.shard, replace(row, until=until))

    def beat(self, worker: Worker) -> None:
        for each in [each for each in self.workers.values() if each.beat_at < worker.beat_at - SILENT]:
            self.drop(self.workers, each.id)
        self.put(self.workers, worker.id, worker)

    def leave(self, worker_id: str) -> None:
        if worker_id in self.workers:
            self.drop(self.workers, worker_id)

    def list_workers(self, since: datetime) -> list[Worker]:
        alive = (each for each in self.workers.values() if each.beat_at >= since)
        return sorted(alive, key=attrgetter("started_at", "id"))

    def settle(self, name: str, moves: Sequence[Move], release: bool) -> None:
        rows = self.progress[name]
        for move in moves:
            row = self._shard(name, move.shard)
            owner, until = ("", None) if release else (row.owner, row.until)
            checkpoint, high = max(row.checkpoint, move.checkpoint), max(row.high, move.high)
            self.put(rows, move.shard, ShardRow(checkpoint, high, owner, until, row.token, 0, move.careful))

    def release(self, claim: Claim) -> None:
        rows = self.progress[claim.group.name]
        for lease in claim.leases:
            row = rows.get(lease.shard)
            if row is not None and row.token == lease.token:
                self.put(rows, lease.shard, replace(row, owner="", until=None, open=0))
        for s in claim.due:
            if self.waiting[s.group].get(s.stream) == _changed(s, running=True):  # nothing else became of it meanwhile
                self._straggle(_changed(s, attempts=s.attempts - 1))

    def straggle(self, stragglers: Sequence[Straggler]) -> None:
        for straggler in stragglers:
            self._straggle(straggler)

    def hold(self, straggler: Straggler) -> None:
        row = self.waiting[straggler.group].get(straggler.stream)
        if row is None or row.holder != straggler.holder:
            raise Fenced(straggler.group, f"stream {straggler.stream!r} went to somebody else")

    def hold_group(self, name: str, streams: Sequence[str], types: Collection[str]) -> tuple[Group, list[str]]:
        return self.groups[name], [stream for stream in streams if self._is_behind(name, stream, types)]

    def _is_behind(self, name: str, stream: str, types: Collection[str]) -> bool:
        """Each stream is handled in order, so its last message tells."""
        group = self.groups[name]
        last = next((record for record in reversed(self.streams.get(stream, ())) if record.type in types), None)
        if last is None or last.position <= group.start:
            return False
        if name in last.settled_by and last.position > group.reset_at:
            return False
        waiting = self.waiting[name].get(stream)
        if waiting is not None and waiting.from_seq <= last.seq:
            return True
        return last.position > self._shard(name, shard_of(stream, len(self.shards))).checkpoint

    def catch_up(self, name: str, streams: Sequence[str]) -> None:
        for stream in streams:
            if stream in self.waiting[name]:
                self.drop(self.waiting[name], stream)

    def unpark(self, seen: Sequence[Straggler], skip: bool) -> list[Straggler]:
        found: list[Straggler] = []
        for each in sorted(seen, key=attrgetter("group", "stream")):
            row = self.waiting[each.group].get(each.stream)
            if row and row.parked and (row.from_seq, row.attempts) == (each.from_seq, each.attempts):
                found.append(row)
                anew = Straggler(row.group, row.stream, row.from_seq + skip, row.live_after)
                self._straggle(anew if skip else _changed(anew, message_id=row.message_id, since=row.since))
        return found
