"""What the file store writes, line by line: messages, all other rows, and transactions made of both."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from sourced.codec import Record
from sourced.store import Group, Scheduled, Snapshot, Straggler, ViewRow, Worker
from sourced.stores._tables import ShardRow

encode = msgspec.json.Encoder().encode

# -- text that is JSON -------------------------------------------------------------------------------------------------

_AS_TEXT = b'{"as text":'


def embedded(text: str) -> Raw:
    """Payloads stand in a line as the JSON they are; what is none, or would not fit on a line, as a quoted string."""
    data = text.encode()
    try:
        whole = bytes(msgspec.json.decode(data, type=Raw)) == data
    except msgspec.DecodeError:
        whole = False
    if whole and b"\n" not in data and b"\r" not in data and not data.startswith(_AS_TEXT):
        return Raw(data)
    return Raw(encode({"as text": text}))


def text_of(raw: Raw) -> str:
    """The text that was embedded, to the last blank."""
    data = bytes(raw)
    return msgspec.json.decode(data, type=dict[str, str])["as text"] if data.startswith(_AS_TEXT) else data.decode()


# -- messages ----------------------------------------------------------------------------------------------------------


class MessageLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A record, with what people look for first."""

    seq: int
    position: int
    type: str
    version: int
    payload: Raw
    metadata: Raw
    stream: str
    created_at: datetime
    id: str
    causation_id: str
    correlation_id: str
    settled_by: tuple[str, ...] = ()


def message_line(r: Record) -> MessageLine:
    return MessageLine(
        r.seq, r.position, r.type, r.version, embedded(r.payload), embedded(r.metadata),
        r.stream, r.created_at, r.id, r.causation_id, r.correlation_id, r.settled_by,
    )  # fmt: skip


def record_of(m: MessageLine) -> Record:
    return Record(
        m.id, m.stream, m.seq, m.position, m.type, m.version, text_of(m.payload), text_of(m.metadata),
        m.causation_id, m.correlation_id, m.created_at, m.settled_by,
    )  # fmt: skip


# -- all other rows ----------------------------------------------------------------------------------------------------


class _Row(msgspec.Struct, frozen=True, tag_field="row"): ...


class GroupRow(_Row, frozen=True, tag="group"):
    group: Group


class ProgressRow(_Row, frozen=True, tag="progress"):
    group: str
    shard: int
    progress: ShardRow


class StragglerRow(_Row, frozen=True, tag="straggler"):
    straggler: Straggler


class CaughtUpRow(_Row, frozen=True, tag="caught up"):
    group: str
    stream: str


class WorkerRow(_Row, frozen=True, tag="worker"):
    worker: Worker


class GoneRow(_Row, frozen=True, tag="gone"):
    worker_id: str


class ScheduledRow(_Row, frozen=True, tag="scheduled"):
    order: int
    at: datetime
    error: str
    message: MessageLine


class UnscheduledRow(_Row, frozen=True, tag="unscheduled"):
    id: str


class SnapshotLine(msgspec.Struct, frozen=True):
    seq: int
    state: Raw
    fingerprint: str


class SnapshotsRow(_Row, frozen=True, tag="snapshots"):
    group: str
    stream: str
    newest_first: tuple[SnapshotLine, ...]


class ViewLine(_Row, frozen=True, tag="view"):
    view: str
    key: str
    body: Raw
    revision: int
    position: int
    updated_at: datetime | None


class GoneViewLine(_Row, frozen=True, tag="gone from view"):
    view: str
    key: str


class TableRow(_Row, frozen=True, tag="table"):
    table: str
    key: Any
    value: Raw


class DeletedRow(_Row, frozen=True, tag="deleted"):
    table: str
    key: Any


Row: TypeAlias = (
    GroupRow | ProgressRow | StragglerRow | CaughtUpRow | ScheduledRow | UnscheduledRow | SnapshotsRow | TableRow
    | DeletedRow | WorkerRow | GoneRow | ViewLine | GoneViewLine
)  # fmt: skip


def scheduled_row(order: int, each: Scheduled) -> ScheduledRow:
    return ScheduledRow(order, each.at, each.error, message_line(each.record))


def snapshots_row(group: str, stream: str, snapshots: tuple[Snapshot, ...]) -> SnapshotsRow:
    lines = (SnapshotLine(each.seq, embedded(each.state), each.fingerprint) for each in snapshots)
    return SnapshotsRow(group, stream, tuple(lines))


def view_line(view: str, row: ViewRow) -> ViewLine:
    return ViewLine(view, row.key, embedded(row.body or "null"), row.revision, row.position, row.updated_at)


# -- what the files are made of ----------------------------------------------------------------------------------------


class Heading(msgspec.Struct, frozen=True, tag_field="row", tag="store", forbid_unknown_fields=True):
    """The first line of the state: as of which transaction it is, and how much must follow."""

    format: int
    shards: int
    transaction: int
    streams: int
    rows: int


class StreamRow(msgspec.Struct, frozen=True, tag_field="row", tag="stream"):
    """How many lines of a stream's file the state vouches for."""

    stream: str
    seq: int


class Transaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the journal; what was done in it, whole."""

    transaction: int
    messages: tuple[Raw, ...] = ()  # each as it stands in the file of its stream
    rows: tuple[Row, ...] = ()
