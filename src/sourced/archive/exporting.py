"""From a store to an archive: everything as of one moment, while others go on working."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import IO, Any, TypeAlias

from msgspec.structs import replace

from sourced.archive.lines import (
    FORMAT,
    Contents,
    Ending,
    GroupLine,
    Heading,
    Line,
    Place,
    RowLine,
    ScheduledLine,
    ShardLine,
    StragglerLine,
)
from sourced.clock import SystemClock
from sourced.codec import Record
from sourced.ids import new_id
from sourced.lines import embedded, encode, message_line
from sourced.ops import Connection, Op, run
from sourced.runtime.rebuild import BESIDE
from sourced.store import Group, Progress, Store, Straggler, ViewRow, shard_of
from sourced.view import NOTHING

PAGE = 2_000

Told: TypeAlias = Callable[[int, int], Any]
"""Hears how many messages and rows are through, and how many there are."""


def export_to(
    store: Store, file: IO[bytes], *, made_at: datetime | None = None, told: Told = lambda done, total: None
) -> Contents:
    """Writes everything a store holds, as of one moment, but what can be made anew from that. Others work on meanwhile,
    or wait, where a store has one transaction at a time."""
    with store.moment() as connection:
        return Export(store, connection, file, told).written(made_at or SystemClock().now())


class Export:
    """One archive, as it is written."""

    def __init__(self, store: Store, connection: Connection, file: IO[bytes], told: Told) -> None:
        self.store = store
        self.connection = connection
        self.file = file
        self.told = told
        self.crc = 0

    def written(self, made_at: datetime) -> Contents:
        store = self.store
        standings, scheduled, messages, rows = run(beside_the_log(store), self.connection)
        places = Places(store.shards, (mark for each in standings for mark in each.marks(store.shards)))
        names = tuple(each.group.name for each in standings)
        self.write([Line(archive=Heading(FORMAT, new_id(), repr(store), store.shards, made_at, messages, rows, names))])
        self.told(0, messages + rows)
        self.log(places, messages + rows)
        self.rows(names, messages, messages + rows)
        self.write(Line(group=each.line(places)) for each in standings)
        waiting = [row for each in standings for row in each.stragglers]
        self.write(Line(straggler=_straggler_line(row, places, store.shards)) for row in waiting)
        self.schedule()
        contents = Contents(messages, rows, len(names), len(waiting), scheduled)
        self.write([Line(end=Ending(contents, f"{self.crc:08x}"))])
        return contents

    def log(self, places: Places, total: int) -> None:
        done = after = 0
        while page := run(self.store.read_all(after=after, limit=PAGE), self.connection):
            self.put(b"".join(b'{"message":%b}\n' % encode(message_line(places.passed(each))) for each in page))
            done, after = done + len(page), page[-1].position
            self.told(done, total)
        places.end()

    def rows(self, groups: Sequence[str], done: int, total: int) -> None:
        for group in groups:
            after = ""
            while page := run(self.store.page_views(group, after=after, limit=PAGE), self.connection):
                self.write(Line(row=_row_line(group, row)) for row in page)
                done, after = done + len(page), page[-1].key
                self.told(done, total)

    def schedule(self) -> None:
        after = None
        while page := run(self.store.scheduled(after=after, limit=PAGE), self.connection):
            self.write(Line(scheduled=ScheduledLine(each.at, message_line(each.record))) for each in page)
            after = page[-1].at, page[-1].record.id

    def write(self, lines: Iterable[Line]) -> None:
        self.put(b"".join(encode(each) + b"\n" for each in lines))

    def put(self, data: bytes) -> None:
        self.crc = zlib.crc32(data, self.crc)
        self.file.write(data)


def beside_the_log(store: Store) -> Op[tuple[list[Standing], int, int, int]]:
    """How groups stand, how much is scheduled, how many messages and rows there are. Rows that are being built, or are
    kept from before a rebuild, are not among them."""
    standings: list[Standing] = []
    rows = 0
    for group in (yield from store.groups()):
        if not group.name.endswith(BESIDE):
            progress = yield from store.progress(group.name)
            standings.append(Standing(group, progress, (yield from store.stragglers(group.name))))
            rows += yield from store.count_views(group.name)
    return standings, (yield from store.count_scheduled()), (yield from store.count()), rows


class Standing:
    """How a group stands."""

    def __init__(self, group: Group, progress: Sequence[Progress], stragglers: Sequence[Straggler]) -> None:
        self.group = group
        self.progress = progress
        self.stragglers = stragglers

    def marks(self, shards: int) -> Iterator[Mark]:
        """All the positions that have to be told as places."""
        yield from ((self.group.start, None), (self.group.reset_at, None))
        for each in self.progress:
            yield from ((each.checkpoint, each.shard), (each.high, each.shard))
        yield from ((row.live_after, shard_of(row.stream, shards)) for row in self.stragglers)

    def line(self, places: Places) -> GroupLine:
        group = self.group
        shards = (
            ShardLine(
                each.shard, places.at(each.checkpoint, each.shard), places.at(each.high, each.shard), each.careful
            )
            for each in self.progress
        )
        return GroupLine(
            group.name, group.status, group.epoch, group.reason, group.error, group.stopped_by, group.stopped_at,
            places.at(group.start), places.at(group.reset_at), tuple(shards),
        )  # fmt: skip


def _straggler_line(row: Straggler, places: Places, shards: int) -> StragglerLine:
    return StragglerLine(replace(row, live_after=0), places.at(row.live_after, shard_of(row.stream, shards)))


def _row_line(group: str, row: ViewRow) -> RowLine:
    return RowLine(group, row.key, embedded(row.body or NOTHING), row.position, row.updated_at)


Mark: TypeAlias = "tuple[int, int | None]"
"""A position in a shard, or in the log as a whole."""


class Places:
    """Finds the last message at or before each mark, as the log goes by in order."""

    def __init__(self, shards: int, marks: Iterable[Mark]) -> None:
        self._shards = shards
        self._found: dict[Mark, Place] = {}
        self._ahead = sorted({mark for mark in marks if mark[0]}, key=lambda mark: mark[0], reverse=True)
        self._last: dict[int | None, Place] = {}

    def passed(self, record: Record) -> Record:
        while self._ahead and self._ahead[-1][0] < record.position:
            self._settle()
        self._last[None] = self._last[shard_of(record.stream, self._shards)] = (record.stream, record.seq)
        return record

    def _settle(self) -> None:
        mark = self._ahead.pop()
        self._found[mark] = self._last.get(mark[1])

    def end(self) -> None:
        while self._ahead:
            self._settle()

    def at(self, position: int, shard: int | None = None) -> Place:
        return self._found[position, shard] if position else None
