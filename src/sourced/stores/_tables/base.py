"""The data of the memory store, and how every change to it is undone."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sourced.codec import Record
from sourced.store import Group, Scheduled, Snapshot, Straggler, ViewRow, Worker, shard_of

_MISSING: Any = object()


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


class Base:
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

    def _unappend(self, record: Record) -> None:
        shard = self.shards[shard_of(record.stream, len(self.shards))]
        for table in (self.streams[record.stream], self.log, shard, self.stories[record.correlation_id]):
            table.pop()
        del self.ids[record.id]

    # -- what several kinds of statements need

    def _shard(self, name: str, shard: int) -> ShardRow:
        return self.progress[name].get(shard) or ShardRow(self.groups[name].start)

    def _straggle(self, straggler: Straggler) -> None:
        self.put(self.waiting[straggler.group], straggler.stream, straggler)

    def list_stragglers(self, name: str | None) -> list[Straggler]:
        return [row for group, rows in self.waiting.items() if name in (None, group) for row in rows.values()]

    def view(self, group: str) -> dict[str, ViewRow]:
        return self.views.setdefault(self.groups[group].view, {}) if group in self.groups else {}


class Table(MutableMapping[Any, Any]):
    """A dictionary whose changes belong to the transaction they are made in."""

    def __init__(self, tables: Base, name: str) -> None:
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
