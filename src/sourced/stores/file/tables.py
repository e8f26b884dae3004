"""The memory store's tables, with all they hold, and all that a transaction changed, as rows that can be written."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from sourced.codec import Record
from sourced.errors import Invalid
from sourced.lines import encode, record_of, text_of
from sourced.store import Scheduled, Snapshot, Straggler, ViewRow
from sourced.stores._tables import Table, Tables
from sourced.stores.file.lines import (
    CaughtUpRow,
    DeletedRow,
    GoneRow,
    GoneViewLine,
    GroupRow,
    ProgressRow,
    Row,
    ScheduledRow,
    SnapshotsRow,
    StragglerRow,
    TableRow,
    UnscheduledRow,
    ViewLine,
    WorkerRow,
    scheduled_row,
    snapshots_row,
    view_line,
)

_decode = msgspec.json.Decoder().decode
_Home: TypeAlias = tuple[dict[Any, Any], Callable[[Any, Any], Row]]


class DurableTables(Tables):
    """Knows what is in it, and gets it back."""

    def table(self, name: str) -> DurableTable:
        return DurableTable(self, name)

    # -- what there is to write

    def appended(self) -> list[Record]:
        return [key for rows, key, _ in self.undo if rows is self.log]

    def changed(self) -> tuple[Row, ...]:
        """The rows that the transaction leaves different, each as it is now."""
        homes = {id(rows): (rows, row) for rows, row in self._homes()}
        changed = dict.fromkeys((id(rows), key) for rows, key, _ in self.undo if id(rows) in homes)
        return tuple(row(key, rows.get(key)) for (home, key) in changed for rows, row in (homes[home],))

    def everything(self) -> list[Row]:
        """All there is beside the log."""
        return [row(key, value) for rows, row in self._homes() for key, value in rows.items()]

    def _homes(self) -> Iterator[_Home]:
        """The dictionaries that are written down, groups first; what is made of a key and its value in each."""
        yield self.groups, lambda _, group: GroupRow(group)
        for group in self.groups:
            yield self.progress[group], partial(ProgressRow, group)
            yield self.waiting[group], partial(_straggler_row, group)
        yield self.schedule, lambda id, row: scheduled_row(*row) if row else UnscheduledRow(id)
        yield self.snapshots, lambda key, snapshots: snapshots_row(key[0], key[1], snapshots)
        yield self.workers, lambda id, worker: WorkerRow(worker) if worker else GoneRow(id)
        for view, lines in self.views.items():
            yield lines, partial(_view_line, view)
        for name, rows in self.users.items():
            yield rows, partial(_table_row, name)

    # -- and back

    def restore(self, row: Row) -> None:
        match row:
            case GroupRow(group):
                self.groups[group.name] = group
                self.progress.setdefault(group.name, {})
                self.waiting.setdefault(group.name, {})
            case ProgressRow(name, shard, progress):
                self.progress[name][shard] = progress
            case StragglerRow(straggler):
                self.waiting[straggler.group][straggler.stream] = straggler
            case CaughtUpRow(name, stream):
                self.waiting[name].pop(stream, None)  # it may have come and gone in one transaction
            case ScheduledRow(order, at, error, message):
                self.schedule[message.id] = order, Scheduled(record_of(message), at, error)
                self.scheduled_so_far = itertools.count(max(order + 1, next(self.scheduled_so_far)))
            case UnscheduledRow(id):
                self.schedule.pop(id, None)
            case SnapshotsRow(name, stream, newest_first):
                self.snapshots[name, stream] = tuple(
                    Snapshot(name, stream, each.seq, text_of(each.state), each.fingerprint) for each in newest_first
                )
            case WorkerRow(worker):
                self.workers[worker.id] = worker
            case GoneRow(id):
                self.workers.pop(id, None)
            case ViewLine(view, key, body, revision, position, at):
                self.views.setdefault(view, {})[key] = ViewRow(key, text_of(body), revision, position, at)
            case GoneViewLine(view, key):
                self.views.setdefault(view, {}).pop(key, None)
            case TableRow(name, key, value):
                self.users.setdefault(name, {})[key] = value
            case DeletedRow(name, key):
                self.users.setdefault(name, {}).pop(key, None)


class DurableTable(Table):
    """Its rows are kept as the JSON that will be written: what is read is a copy, to be changed and put back."""

    def __init__(self, tables: Tables, name: str) -> None:
        super().__init__(tables, name)
        self._name = name

    def __getitem__(self, key: Any) -> Any:
        return _decode(self._rows[key])

    def __setitem__(self, key: Any, row: Any) -> None:
        self._as_json("key", key)
        super().__setitem__(key, Raw(self._as_json("row", row)))

    def _as_json(self, what: str, value: Any) -> bytes:
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            data = encode(value)
            if _decode(data) == value:
                return data
        expected = "expected what comes back from JSON as it was (text, numbers, lists, dicts with text as keys)"
        raise Invalid(f"table {self._name!r}", {what: f"{expected}, found {value!r}"})

    def __repr__(self) -> str:
        return repr(dict(self))


def _straggler_row(group: str, stream: str, straggler: Straggler | None) -> Row:
    return StragglerRow(straggler) if straggler else CaughtUpRow(group, stream)


def _view_line(view: str, key: str, row: ViewRow | None) -> Row:
    return view_line(view, row) if row else GoneViewLine(view, key)


def _table_row(table: str, key: Any, value: Raw | None) -> Row:
    return DeletedRow(table, key) if value is None else TableRow(table, key, value)
