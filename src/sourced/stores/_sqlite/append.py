"""The append as SQLite gets it: places are given out here, as nobody else writes meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

import msgspec

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate
from sourced.ops import Op, Statement
from sourced.store import Entry, Outcome
from sourced.stores._sql import SqlStore
from sourced.stores._sql.dialect import unsettled
from sourced.stores._sqlite.dialect import iso

Raw: TypeAlias = sqlite3.Connection

_json = msgspec.json.Encoder().encode

# The seq that is to come before must be there, or there is no seq for this one, and it is refused. That nobody has
# taken the seq itself, or the id, is for the table to see to. As `insert … select` it would take twice as long.
_INSERT = """
insert into {messages} (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
  correlation_id, created_at, settled_by)
values (?, ?, ?,
  case when ? = 0 or exists (select 1 from {messages} t where t.stream = ? and t.seq = ?) then ? end,
  ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_ALONE = _INSERT.replace("insert into", "insert or ignore into")
_HEAD = "select coalesce(max(m.seq), 0) from {messages} m where m.stream = ?"


class Appends(SqlStore):
    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        return (yield Statement("append", self._append, (entries,)))

    def _append(self, raw: Raw, entries: Sequence[Entry]) -> list[Outcome]:
        """Hardly ever does anything speak against it, so what entries expect is believed until a row is refused."""
        ((last,),) = raw.execute(self.query("select coalesce(max(m.position), 0) from {messages} m").text)
        believed = _first_expected(entries)
        heads = {**believed, **self._heads(raw, {entry.stream for entry in entries} - believed.keys())}
        outcomes, rows = self._places(raw, last, entries, heads, {*believed}, {})
        if len(rows) < sum([len(entry.records) for entry in entries]) or not self._inserted(raw, last, rows):
            heads = self._heads(raw, {entry.stream for entry in entries})
            known = self._known(raw, [record.id for entry in entries for record in entry.records])
            outcomes, rows = self._places(raw, last, entries, heads, set(), known)
            raw.executemany(self.query(_INSERT).text, rows)
        return outcomes

    def _inserted(self, raw: Raw, last: int, rows: Sequence[tuple[Any, ...]]) -> bool:
        """All of them, or none because an id is there already, or a stream is not where it was believed to be."""
        try:
            raw.executemany(self.query(_INSERT).text, rows)
        except sqlite3.IntegrityError:
            raw.execute(self.query("delete from {messages} where position > ?").text, (last,))  # nobody else's
            return False
        return True

    def _places(
        self, raw: Raw, position: int, entries: Sequence[Entry], heads: dict[str, int], unsure: set[str],
        known: dict[str, Record],
    ) -> tuple[list[Outcome], list[tuple[Any, ...]]]:  # fmt: skip
        """What becomes of each entry, and the rows to store; nobody else writes meanwhile.

        Of streams whose head is unsure the first row makes sure of it.
        """
        rows: list[tuple[Any, ...]] = []
        outcomes: list[Outcome] = []
        for entry in entries:
            stream, records, expected = entry.stream, entry.records, entry.expected_seq
            head = heads[stream]
            there = [known[record.id] for record in records if record.id in known]
            if there:
                outcomes.append(Duplicate([record.id for record in there], there))
            elif expected is not None and expected != head and self._in_the_way(raw, entry, head, rows):
                outcomes.append(Conflict(stream, expected=expected, actual=head))
            else:
                shard, stored = self.shard(stream), []
                for record in records:
                    position += 1
                    rows.append(_row(record, position, shard, head, sure=stream not in unsure))
                    unsure.discard(stream)
                    head += 1
                    known[record.id] = placed = stored_at(record, head, position)
                    stored.append(placed)
                heads[stream] = head
                outcomes.append(tuple(stored))
        return outcomes, rows

    def _heads(self, raw: Raw, streams: Collection[str]) -> dict[str, int]:
        text = self.query(_HEAD).text
        return {stream: raw.execute(text, (stream,)).fetchone()[0] for stream in streams}

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
        between |= {row[_TYPE] for row in rows if row[_STREAM] == entry.stream and row[_SEQ] > expected}
        return not between.isdisjoint(entry.heeds)

    def _head(self, stream: str) -> tuple[str, tuple[Any, ...]]:
        return self.query(_HEAD).text, (stream,)

    def _alone(self, record: Record, head: int) -> tuple[str, tuple[Any, ...]]:
        """One message is one statement, and a transaction by itself; nothing is stored if anything speaks against it.

        The position is the one after the last, and the id of the row that was inserted.
        """
        return self.query(_INSERT_ALONE).text, _row(record, None, self.shard(record.stream), head, sure=False)


def _first_expected(entries: Sequence[Entry]) -> dict[str, int]:
    """Where streams have to be, each for the first of its entries."""
    believed: dict[str, int] = {}
    unknown: set[str] = set()
    for entry in entries:
        if entry.expected_seq is None or not entry.records:
            unknown.add(entry.stream)
        elif entry.stream not in unknown:
            believed.setdefault(entry.stream, entry.expected_seq)
    return believed


def stored_at(record: Record, seq: int, position: int) -> Record:
    return Record(
        record.id, record.stream, seq, position, record.type, record.version, record.payload, record.metadata,
        record.causation_id, record.correlation_id, record.created_at, record.settled_by,
    )  # fmt: skip


_STREAM, _SEQ, _TYPE = 2, 6, 8  # in a row


def _row(r: Record, position: int | None, shard: int, head: int, *, sure: bool) -> tuple[Any, ...]:
    """A row of `_INSERT`; unless it is sure that the stream has come so far, that is asked."""
    asked = 0 if sure else head
    return (
        position, shard, r.stream, asked, r.stream, asked, head + 1, r.id, r.type, r.version, r.payload, r.metadata,
        r.causation_id, r.correlation_id, iso(r.created_at), unsettled(r.settled_by),
    )  # fmt: skip
