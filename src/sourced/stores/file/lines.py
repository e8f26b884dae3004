"""What the file store writes, line by line: messages, all other rows, and transactions made of both."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from sourced.lines import MessageLine, embedded, message_line
from sourced.store import Group, Scheduled, Snapshot, Straggler, ViewRow, Worker
from sourced.stores._tables import ShardRow

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
