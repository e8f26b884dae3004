"""The append as PostgreSQL gets it: every column of every record as one array, in one call of one function.

What comes most often comes quicker: a message alone, as it is, and the messages of one stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate
from sourced.ops import Op, Statement
from sourced.store import Entry, Outcome
from sourced.stores._postgres.arrays import Integers, Texts, Times
from sourced.stores._sql import SqlStore
from sourced.stores._sql.dialect import Query, own_values

APPEND = """
select a.codes, a.heads, a.seqs, a.positions from {append}(
  cast(:e_stream as text[]), cast(:e_shard as integer[]), cast(:e_expected as integer[]), cast(:e_heeds as text[]),
  cast(:e_before as integer[]), cast(:e_count as integer[]), cast(:r_entry as integer[]), cast(:r_place as integer[]),
  cast(:r_stream as text[]), cast(:r_shard as integer[]), cast(:r_id as text[]), cast(:r_type as text[]),
  cast(:r_version as integer[]), cast(:r_payload as text[]), cast(:r_metadata as text[]),
  cast(:r_causation as text[]), cast(:r_correlation as text[]), cast(:r_created as timestamptz[]),
  cast(:r_settled as text[])) a
"""
_COLUMNS = (
    "r_stream", "r_id", "r_type", "r_version", "r_payload", "r_metadata", "r_causation", "r_correlation", "r_created",
    "r_settled",
)  # fmt: skip
_KINDS = (Texts, Texts, Texts, Integers, Texts, Texts, Texts, Texts, Times, Texts)

# The append of one message, if nothing speaks against it: the seq the stream was at and the position; or no row, and
# then {append} has to say why. As a statement of its own it takes two thirds of the time it takes inside a function. It
# does see what was there before it waited for its place, not after, but that is enough to be right: the seq that is to
# come before must be there, what has come meanwhile is in the way of the unique index, and the position is taken once
# the place is.
_APPEND_ONE = """
insert into {{messages}} as m (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
  correlation_id, created_at, settled_by)
select nextval('{{positions}}'), cast(:shard as integer), cast(:stream as text), {seq} + 1, cast(:id as text),
  cast(:type as text), cast(:version as integer), cast(:payload as text), cast(:metadata as text),
  cast(:causation as text), cast(:correlation as text), cast(:created as timestamptz), cast(:settled as text)
from (select pg_advisory_xact_lock(hashtext('{{messages}}'), cast(:shard as integer)) offset 0) place
{where} on conflict do nothing returning m.seq - 1, m.position
"""
APPEND_NEXT = _APPEND_ONE.format(
    seq="(select coalesce(max(t.seq), 0) from {messages} t where t.stream = :stream)", where=""
)
APPEND_AT = _APPEND_ONE.format(
    seq="cast(:expected as integer)",
    where="where :expected = 0 or exists (select from {messages} t where t.stream = :stream and t.seq = :expected)",
)
APPEND_STREAM = """
select {append_stream}(
  cast(:stream as text), cast(:shard as integer), cast(:expected as integer), cast(:r_id as text[]),
  cast(:r_type as text[]), cast(:r_version as integer[]), cast(:r_payload as text[]), cast(:r_metadata as text[]),
  cast(:r_causation as text[]), cast(:r_correlation as text[]), cast(:r_created as timestamptz[]),
  cast(:r_settled as text[]))
"""

STORED, CONFLICT, DUPLICATE = range(3)


class Appends(SqlStore):
    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        if len(entries) == 1 and entries[0].records:
            (entry,) = entries
            values = of_one_stream(entry, self.shard(entry.stream))
            (((head, *positions),),) = yield self.say("append", APPEND_STREAM, **values)
            if head is not None:
                return [stored(entry, head, positions)]
        return (yield from self._append_each(entries))

    def _append_alone(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        """The same as a transaction by itself, where one message takes but one statement and no function."""
        if not len(entries) == 1 == len(entries[0].records):
            return (yield from self.append(entries))
        (entry,) = entries
        query = self._append_next if entry.expected_seq is None else self._append_at
        found = yield Statement("append", query, (one(entry, self.shard(entry.stream)),))
        if found:
            return [stored(entry, found[0][0], found[0][1:])]
        return (yield from self._append_each(entries))

    def _append_each(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        """Whatever speaks against some of them."""
        if not entries:
            return []
        (answer,) = yield self.say("append", APPEND, **arguments(entries, self.shard))
        doubtful = [entry for entry, code in zip(entries, answer[0], strict=True) if code == DUPLICATE]
        known = (yield from self.known([r.id for entry in doubtful for r in entry.records])) if doubtful else {}
        return outcomes(entries, answer, known)

    @functools.cached_property
    def _append_next(self) -> Query:
        return Query(self.query(APPEND_NEXT).text, _as_they_are)

    @functools.cached_property
    def _append_at(self) -> Query:
        return Query(self.query(APPEND_AT).text, _as_they_are)


def _as_they_are(arguments: Any) -> Any:
    """In the order in which the statement numbers them."""
    return arguments


def one(entry: Entry, shard: int) -> list[Any]:
    """The arguments of `APPEND_NEXT`, or `APPEND_AT`, in the order in which these mention them."""
    stream, *rest = own_values(entry.records[0])
    if entry.expected_seq is None:
        return [shard, stream, *rest]
    return [shard, stream, entry.expected_seq, *rest]


def of_one_stream(entry: Entry, shard: int) -> dict[str, Any]:
    """The arguments of `APPEND_STREAM`."""
    columns = _columns([own_values(record) for record in entry.records])
    del columns["r_stream"]
    return {"stream": entry.stream, "shard": shard, "expected": entry.expected_seq, **columns}


def _columns(values: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    columns = [*zip(*values, strict=True)] or [()] * len(_KINDS)
    return {name: kind(column) for name, kind, column in zip(_COLUMNS, _KINDS, columns, strict=True)}


def stored(entry: Entry, head: int, positions: Sequence[int]) -> Outcome:
    places = enumerate(zip(entry.records, positions, strict=True), head + 1)
    return tuple([_placed(record, seq, position) for seq, (record, position) in places])


def arguments(entries: Sequence[Entry], shard: Callable[[str], int]) -> dict[str, Any]:
    before: dict[str, int] = {}
    e_before: list[int] = []
    r_entry: list[int] = []
    r_place: list[int] = []
    values: list[tuple[Any, ...]] = []
    for number, entry in enumerate(entries, 1):
        count = len(entry.records)
        e_before.append(before.get(entry.stream, 0))
        before[entry.stream] = e_before[-1] + count
        r_entry += [number] * count
        r_place += range(1, count + 1)
        values += [own_values(record) for record in entry.records]
    shards = {stream: shard(stream) for stream in before}
    return {
        "e_stream": Texts(entry.stream for entry in entries),
        "e_shard": Integers(shards[entry.stream] for entry in entries),
        "e_expected": Integers(entry.expected_seq for entry in entries),
        "e_heeds": Texts(None if entry.heeds is None else "\x1f".join(entry.heeds) for entry in entries),
        "e_before": Integers(e_before),
        "e_count": Integers(len(entry.records) for entry in entries),
        "r_entry": Integers(r_entry),
        "r_place": Integers(r_place),
        "r_shard": Integers(shards[stream] for stream, *_ in values),
        **_columns(values),
    }


def outcomes(entries: Sequence[Entry], answer: Sequence[Any], known: Mapping[str, Record]) -> list[Outcome]:
    codes, heads, seqs, positions = answer
    places = zip(seqs or (), positions or (), strict=True)
    found: list[Outcome] = []
    coming = _stored(entries, codes) if known else set()  # by later entries of this very batch: not there yet
    for entry, code, head in zip(entries, codes, heads, strict=True):
        if code == STORED:
            found.append(tuple(_placed(record, *next(places)) for record in entry.records))
            if coming:
                coming -= {record.id for record in entry.records}
        elif code == CONFLICT:
            found.append(Conflict(entry.stream, expected=entry.expected_seq or 0, actual=head))
        elif there := [known[r.id] for r in entry.records if r.id in known and r.id not in coming]:
            found.append(Duplicate([record.id for record in there], there))
        else:  # its place was taken by what this transaction cannot see: the caller's own, of a stricter isolation
            found.append(Conflict(entry.stream, expected=head, actual=head + 1))
    return found


def _stored(entries: Sequence[Entry], codes: Sequence[int]) -> set[str]:
    stored = (entry for entry, code in zip(entries, codes, strict=True) if code == STORED)
    return {record.id for entry in stored for record in entry.records}


def _placed(r: Record, seq: int, position: int) -> Record:
    return Record(
        r.id, r.stream, seq, position, r.type, r.version, r.payload, r.metadata, r.causation_id, r.correlation_id,
        r.created_at, r.settled_by,
    )  # fmt: skip
