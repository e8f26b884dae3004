"""The append as SQLite gets it: places are given out here, as nobody else writes meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate
from sourced.ops import Op, Statement
from sourced.store import Entry, Outcome
from sourced.stores._sql import SqlStore
from sourced.stores._sql.dialect import own_values
from sourced.stores._sqlite.dialect import iso

Raw: TypeAlias = sqlite3.Connection

_json = msgspec.json.Encoder().encode

_INSERT = """
insert into {messages} (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
  correlation_id, created_at, settled_by) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# Refused as a whole when the id is stored already, or when there is no seq for it because another one was expected.
# As `insert … select` it would take twice as long.
_APPEND_ONE = """
insert or ignore into {messages} (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
  correlation_id, created_at, settled_by)
values ((select coalesce(max(p.position), 0) + 1 from {messages} p), ?, ?, (
    select case when ? is null or ? = coalesce(max(t.seq), 0) then coalesce(max(t.seq), 0) + 1 end
    from {messages} t where t.stream = ?),
  ?, ?, ?, ?, ?, ?, ?, ?, ?)
returning seq, position
"""


class Appends(SqlStore):
    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        return (yield Statement("append", self._append, (entries,)))

    def _append(self, raw: Raw, entries: Sequence[Entry]) -> list[Outcome]:
        """Hardly ever does anything speak against it, so ids are looked up only when something did."""
        ((last,),) = raw.execute(self.query("select coalesce(max(m.position), 0) from {messages} m").text)
        outcomes, rows = self._places(raw, last, entries, {})
        if len(rows) < sum(len(entry.records) for entry in entries) or not self._inserted(raw, last, rows):
            known = self._known(raw, [record.id for entry in entries for record in entry.records])
            outcomes, rows = self._places(raw, last, entries, known)
            raw.executemany(self.query(_INSERT).text, rows)
        return outcomes

    def _inserted(self, raw: Raw, last: int, rows: Sequence[tuple[Any, ...]]) -> bool:
        """All of them, or none because an id is there already."""
        try:
            raw.executemany(self.query(_INSERT).text, rows)
        except sqlite3.IntegrityError:
            raw.execute(self.query("delete from {messages} where position > ?").text, (last,))  # nobody else's
            return False
        return True

    def _places(
        self, raw: Raw, position: int, entries: Sequence[Entry], known: dict[str, Record]
    ) -> tuple[list[Outcome], list[tuple[Any, ...]]]:
        """What becomes of each entry, and the rows to store; nobody else writes meanwhile."""
        heads = {stream: seq or 0 for stream, seq in self._heads(raw, {entry.stream for entry in entries})}
        rows: list[tuple[Any, ...]] = []
        outcomes: list[Outcome] = []
        for entry in entries:
            head = heads[entry.stream]
            there = [known[record.id] for record in entry.records if record.id in known]
            if there:
                outcomes.append(Duplicate([record.id for record in there], there))
            elif entry.expected_seq not in (None, head) and self._in_the_way(raw, entry, head, rows):
                outcomes.append(Conflict(entry.stream, expected=entry.expected_seq or 0, actual=head))
            else:
                shard, stored = self.shard(entry.stream), []
                for record in entry.records:
                    head, position = head + 1, position + 1
                    placed = stored_at(record, head, position)
                    known[record.id] = placed
                    stored.append(placed)
                    rows.append(_row(placed, shard))
                heads[entry.stream] = head
                outcomes.append(tuple(stored))
        return outcomes, rows

    def _heads(self, raw: Raw, streams: Collection[str]) -> Iterator[tuple[str, int | None]]:
        text = self.query("select max(m.seq) from {messages} m where m.stream = ?").text
        for stream in streams:
            yield stream, raw.execute(text, (stream,)).fetchone()[0]

    def _known(self, raw: Raw, ids: Sequence[str]) -> dict[str, Record]:
        text = self.query("select {record} from {messages} m where m.id in (select value from json_each(?))").text
        rows = raw.execute(text, (_json(ids).decode(),)).fetchall()
        return {record.id: record for record in self.records(rows)}

    def _in_the_way(self, raw: Raw, entry: Entry, head: int, rows: Sequence[tuple[Any, ...]]) -> bool:
        """Whether anything of what came after the expected seq matters, in the log or just now in this batch."""
        expected = entry.expected_seq or 0
        if entry.heeds is None or head < expected:
            return True
        text = self.query("select m.type from {messages} m where m.stream = ? and m.seq > ?").text
        between = {type for (type,) in raw.execute(text, (entry.stream, expected))}
        between |= {row[5] for row in rows if row[2] == entry.stream and row[3] > expected}
        return not between.isdisjoint(entry.heeds)

    def _alone(self, entry: Entry) -> tuple[str, tuple[Any, ...]]:
        """One message is one statement, and a transaction by itself; no row when anything speaks against it."""
        stream, *values, created_at, settled_by = own_values(entry.records[0])
        seq = (entry.expected_seq, entry.expected_seq, stream)  # said twice: numbered places are names to Python 3.12.1
        return self.query(_APPEND_ONE).text, (self.shard(stream), stream, *seq, *values, iso(created_at), settled_by)


def stored_at(record: Record, seq: int, position: int) -> Record:
    return Record(
        record.id, record.stream, seq, position, record.type, record.version, record.payload, record.metadata,
        record.causation_id, record.correlation_id, record.created_at, record.settled_by,
    )  # fmt: skip


def _row(record: Record, shard: int) -> tuple[Any, ...]:
    stream, *values, created_at, settled_by = own_values(record)
    return (record.position, shard, stream, record.seq, *values, iso(created_at), settled_by)
