"""The log: appending to it and reading it."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from operator import attrgetter

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate
from sourced.store import Entry, Names, Outcome, Range, StreamState, shard_of
from sourced.stores._tables.base import Base

_position = attrgetter("position")


class Log(Base):
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
