"""What the memory store holds, and every statement it understands, as a method; all of it can be undone."""

from __future__ import annotations

import contextlib
import heapq
import itertools
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

import msgspec

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate, Fenced
from sourced.store import (
    SILENT,
    Claim,
    Entry,
    Equal,
    Group,
    Lease,
    Move,
    Names,
    Outcome,
    Pending,
    Place,
    Progress,
    Range,
    Scheduled,
    Snapshot,
    Straggler,
    StreamState,
    ViewRow,
    Worker,
    shard_of,
)
from sourced.view import NOTHING, first_revision

_MISSING: Any = object()
_position = attrgetter("position")
_key = attrgetter("key")
_changed: Any = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class ShardRow:
    """A group's row for one shard."""

    checkpoint: int
    high: int = 0
    owner: str = ""
    until: datetime | None = None
    token: int = 0
    open: int = 0  # claimed, and neither settled nor released: how many messages the round may have taken
    careful: int = 0


class Tables:
    """The data, and what may be done to it; every change goes through `put`, `drop` or `append`, to be undone."""

    def __init__(self, shards: int) -> None:
        self.log: list[Record] = []
        self.streams: dict[str, list[Record]] = {}
        self.stories: dict[str, list[Record]] = {}
        self.ids: dict[str, Record] = {}
        self.shards: list[list[Record]] = [[] for _ in range(shards)]
        self.groups: dict[str, Group] = {}
        self.progress: dict[str, dict[int, ShardRow]] = {}
        self.waiting: dict[str, dict[str, Straggler]] = {}
        self.schedule: dict[str, tuple[int, Scheduled]] = {}  # with the order they were scheduled in
        self.scheduled_so_far = itertools.count()
        self.snapshots: dict[tuple[str, str], tuple[Snapshot, ...]] = {}
        self.views: dict[str, dict[str, ViewRow]] = {}
        self.workers: dict[str, Worker] = {}
        self.users: dict[str, dict[Any, Any]] = {}
        self.undo: list[tuple[Any, Any, Any]] = []

    # -- changing and undoing

    @contextlib.contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.roll_back(0)
            raise
        finally:
            self.undo.clear()

    def put(self, rows: dict[Any, Any], key: Any, row: Any) -> None:
        self.undo.append((rows, key, rows.get(key, _MISSING)))
        rows[key] = row

    def drop(self, rows: dict[Any, Any], key: Any) -> None:
        self.undo.append((rows, key, rows.pop(key)))

    def roll_back(self, mark: int) -> None:
        while len(self.undo) > mark:
            rows, key, before = self.undo.pop()
            if rows is self.log:
                self._unappend(key)
            elif before is _MISSING:
                del rows[key]
            else:
                rows[key] = before

    def table(self, name: str) -> Table:
        """A table of the user's own."""
        return Table(self, name)

    # -- the log

    def append(self, entries: Sequence[Entry]) -> list[Outcome]:
        return [self._append(entry) for entry in entries]

    def _append(self, entry: Entry) -> Outcome:
        stream, ids = entry.stream, self.ids
        known = [record.id for record in entry.records if record.id in ids]
        if known:
            return Duplicate(known, [ids[each] for each in known])
        rows = self.streams.get(stream)
        actual = len(rows) if rows else 0
        if entry.expected_seq is not None and entry.expected_seq != actual:
            between = rows[entry.expected_seq :] if rows else ()
            if not between or entry.heeds is None or any(record.type in entry.heeds for record in between):
                return Conflict(stream, expected=entry.expected_seq, actual=actual)
        if not entry.records:
            return ()
        if rows is None:
            rows = []
            self.put(self.streams, stream, rows)
        shard = self.shards[shard_of(stream, len(self.shards))]
        stored: list[Record] = []
        for r in entry.records:
            record = Record(
                r.id, stream, len(rows) + 1, len(self.log) + 1, r.type, r.version, r.payload, r.metadata,
                r.causation_id, r.correlation_id, r.created_at, r.settled_by,
            )  # fmt: skip
            story = self.stories.get(r.correlation_id)
            if story is None:
                story = []
                self.put(self.stories, r.correlation_id, story)
            for table in (rows, self.log, shard, story, stored):
                table.append(record)
            ids[r.id] = record
            self.undo.append((self.log, record, None))
        return tuple(stored)

    def _unappend(self, record: Record) -> None:
        shard = self.shards[shard_of(record.stream, len(self.shards))]
        for table in (self.streams[record.stream], self.log, shard, self.stories[record.correlation_id]):
            table.pop()
        del self.ids[record.id]

    def histories(self, ranges: Sequence[Range]) -> list[Sequence[Record]]:
        return [self.streams.get(r.stream, [])[r.after : r.upto] for r in ranges]

    def read_all(
        self, after: int, limit: int | None, types: Collection[str] | None, since: datetime | None,
        until: datetime | None, backwards: bool,
    ) -> list[Record]:  # fmt: skip
        if backwards:
            found: Iterator[Record] = reversed(self.log[: after - 1] if after else self.log)
        else:
            found = iter(self.log[after:])
        wanted = (
            record
            for record in found
            if (types is None or record.type in types)
            and (since is None or record.created_at >= since)
            and (until is None or record.created_at < until)
        )
        return [record for record, _ in zip(wanted, range(limit), strict=False)] if limit is not None else list(wanted)

    def trace(self, message_id: str) -> list[Record]:
        record = self.ids.get(message_id)
        return list(self.stories[record.correlation_id]) if record else []

    def latest_streams(self, limit: int | None) -> list[StreamState]:
        ends = (rows[-1] for rows in self.streams.values())
        newest = heapq.nlargest(len(self.streams) if limit is None else limit, ends, key=_position)
        return [StreamState(record.stream, record.seq, record.created_at) for record in newest]

    def heads(self, streams: Collection[str]) -> dict[str, StreamState]:
        ends = (self.streams[name][-1] for name in streams if name in self.streams)
        return {end.stream: StreamState(end.stream, end.seq, end.created_at) for end in ends}

    def names(self, after: str, prefix: str, part: str, limit: int, most: int) -> Names:
        ordered = sorted(name for name in self.streams if name > after and name.startswith(prefix))
        looked = ordered[: most if part else limit]
        found = tuple(name for name in looked if part in name)[:limit]
        if not part or len(found) == limit:
            return Names(found, found[-1] if found and len(found) == limit else "")
        return Names(found, looked[-1] if looked and len(looked) < len(ordered) else "")

    def extent(self) -> tuple[int, int]:
        return len(self.streams), len(self.log)

    def count(self, after: int, upto: int | None, types: Collection[str] | None) -> int:
        found = self.log[after:upto]
        return len(found) if types is None else sum(record.type in types for record in found)

    # -- groups

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
            self.put(self.progress[group.name], move.shard, ShardRow(move.checkpoint, move.high, token=token))

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

    def progress_of(self, name: str) -> list[Progress]:
        found: list[Progress] = []
        for shard, log in enumerate(self.shards):
            if log:
                row = self._shard(name, shard)
                come = bisect_right(log, row.checkpoint, key=_position)
                oldest = log[come].created_at if come < len(log) else None
                found.append(Progress(
                    shard, row.checkpoint, row.high, len(log) - come, oldest, row.owner, row.until
                ))  # fmt: skip
        return found

    def _shard(self, name: str, shard: int) -> ShardRow:
        return self.progress[name].get(shard) or ShardRow(self.groups[name].start)

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

    # -- rounds

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

    def _straggle(self, straggler: Straggler) -> None:
        self.put(self.waiting[straggler.group], straggler.stream, straggler)

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

    def list_stragglers(self, name: str | None) -> list[Straggler]:
        return [row for group, rows in self.waiting.items() if name in (None, group) for row in rows.values()]

    def unpark(self, seen: Sequence[Straggler], skip: bool) -> list[Straggler]:
        found: list[Straggler] = []
        for each in sorted(seen, key=attrgetter("group", "stream")):
            row = self.waiting[each.group].get(each.stream)
            if row and row.parked and (row.from_seq, row.attempts) == (each.from_seq, each.attempts):
                found.append(row)
                anew = Straggler(row.group, row.stream, row.from_seq + skip, row.live_after)
                self._straggle(anew if skip else _changed(anew, message_id=row.message_id, since=row.since))
        return found

    # -- the schedule and snapshots

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

    # -- views

    def view(self, group: str) -> dict[str, ViewRow]:
        return self.views.setdefault(self.groups[group].view, {}) if group in self.groups else {}

    def some_of_view(self, group: str, keys: Collection[str]) -> dict[str, ViewRow]:
        rows = self.view(group)
        return {key: rows[key] for key in keys if key in rows}

    def hold_view(self, group: str, revisions: Mapping[str, int]) -> list[str]:
        """There is one transaction at a time, so nobody has to be kept from anything."""
        there = self.view(group)
        return [key for key, revision in revisions.items() if revision != (there[key].revision if key in there else 0)]

    def save_view(self, group: str, rows: Sequence[ViewRow]) -> None:
        there = self.view(group)
        for row in rows:
            known = there.get(row.key)
            if row.body is not None:
                revision = known.revision + 1 if known else first_revision()
                self.put(there, row.key, _changed(row, revision=revision))
            elif known:
                self.drop(there, row.key)

    def page_of_view(self, group: str, after: str, limit: int | None, equal: Sequence[Equal]) -> list[ViewRow]:
        rows = self.view(group)
        wanted = (row for key, row in rows.items() if key > after and row.body != NOTHING and _holds(row, equal))
        return sorted(wanted, key=_key) if limit is None else heapq.nsmallest(limit, wanted, key=_key)

    def count_view(self, group: str, equal: Sequence[Equal]) -> int:
        return sum(1 for row in self.view(group).values() if row.body != NOTHING and _holds(row, equal))

    # -- rows that are built beside those of a group

    def build_beside(self, group: str, beside: str, view: str, afresh: bool) -> Group:
        known = self.groups.get(beside)
        if known is not None and known.status == "active" and not afresh:
            return known
        start = self.groups[group].start
        for shard in list(self.progress.get(beside, ())):
            self.put(self.progress[beside], shard, ShardRow(start))
        for stream in list(self.waiting.get(beside, ())):
            self.drop(self.waiting[beside], stream)
        for rows in (self.progress, self.waiting):
            if beside not in rows:
                self.put(rows, beside, {})
        self.put(self.groups, beside, Group(beside, start=start, epoch=first_revision(), view=view))
        return self.groups[beside]

    def places(self, name: str) -> dict[int, Place]:
        rows = ((shard, self._shard(name, shard)) for shard in range(len(self.shards)))
        return {shard: Place(row.checkpoint, row.high) for shard, row in rows}

    def seize(self, name: str) -> Group:
        for shard, row in list(self.progress[name].items()):
            seized = replace(row, owner="", until=None, token=row.token + 1, open=0)
            self.put(self.progress[name], shard, seized)
        return self.groups[name]

    def swap(self, one: str, other: str) -> None:
        end = len(self.log)
        come = {name: self.places(name) for name in (one, other)}
        for name, there in ((one, self.groups[other]), (other, self.groups[one])):
            group = self.groups[name]
            self.put(self.groups, name, _changed(group, view=there.view, epoch=group.epoch + 1, reset_at=end))
            for shard, mine in come[name].items():
                theirs, token = come[there.name][shard], self._shard(name, shard).token + 1
                self.put(self.progress[name], shard, ShardRow(
                    theirs.checkpoint, max(mine.high, theirs.high), token=token
                ))  # fmt: skip

    def sweep_views(self, limit: int) -> int:
        kept, swept = {group.view for group in self.groups.values()}, 0
        for view in self.views.keys() - kept:
            for key in list(itertools.islice(self.views[view], limit - swept)):
                self.drop(self.views[view], key)
                swept += 1
        return swept

    def drop_view(self, group: str, limit: int | None) -> int:
        rows = self.view(group)
        keys = list(itertools.islice(rows, limit))
        for key in keys:
            self.drop(rows, key)
        return len(keys)


def _holds(row: ViewRow, equal: Sequence[Equal]) -> bool:
    data = msgspec.json.decode(row.body or NOTHING) if equal else {}
    return all(_same(data[each.field], each.value) if each.field in data else each.or_missing for each in equal)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


class Table(MutableMapping[Any, Any]):
    """A dictionary whose changes belong to the transaction they are made in."""

    def __init__(self, tables: Tables, name: str) -> None:
        self._tables = tables
        self._rows: dict[Any, Any] = tables.users.setdefault(name, {})

    def __getitem__(self, key: Any) -> Any:
        return self._rows[key]

    def __setitem__(self, key: Any, row: Any) -> None:
        self._tables.put(self._rows, key, row)

    def __delitem__(self, key: Any) -> None:
        self._tables.drop(self._rows, key)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        for key in list(self._rows):
            self._tables.drop(self._rows, key)

    def __repr__(self) -> str:
        return repr(self._rows)
