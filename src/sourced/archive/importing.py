"""From an archive into an empty store; one that was interrupted goes on where it was.

While messages and rows come in, the groups are there and stopped, so that nobody handles anything. In the last
transaction they are put where they stood, and what waits is put beside them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from sourced.archive.exporting import Told
from sourced.archive.lines import Contents, Heading, RowLine
from sourced.archive.positions import Positions
from sourced.archive.reading import Archive, Rest, check_whole
from sourced.archive.standing import groups_as_they_stood
from sourced.audit import OPERATIONS, ArchiveImported
from sourced.codec import Codec, Record
from sourced.envelope import Message
from sourced.errors import NotEmpty
from sourced.lines import record_of, text_of
from sourced.ops import Op
from sourced.store import Entry, Group, Scheduled, Store, ViewRow
from sourced.workflow.under_way import moved

BATCH = 1_000

T = TypeVar("T")


def import_from(
    store: Store, lines: Iterable[bytes], *, told: Told = lambda done, total: None, by: str = "", reason: str = ""
) -> Contents:
    """Fills an empty store with what an archive holds, or goes on with that; how much there is of everything.

    `lines` is the archive from its beginning, an open file for instance. Nobody else may write to the store meanwhile.
    Who does it, if it is said `by` whom, is told in `sourced.operations`; otherwise the log is the same to the message.
    """
    if isinstance(lines, io.BufferedIOBase) and lines.seekable():
        check_whole(lines)
    return Import(store, Archive(lines), told, by, reason).finished()


class Import:
    """One archive on its way into a store."""

    def __init__(self, store: Store, archive: Archive, told: Told, by: str, reason: str) -> None:
        self.store = store
        self.archive = archive
        self.heading = archive.heading
        self.positions = Positions()
        self.done = 0
        self._told = told
        self.by = by
        self.reason = reason

    def finished(self) -> Contents:
        self.store.transact(self.begun())
        messages = self.archive.messages()
        self.find_again(messages)
        self.tell()
        for batch in _batches(messages):
            self.store.transact(self.stored(batch))
            self.tell(len(batch))
        for rows in _batches(self.rows_to_come()):
            self.store.transact(self.kept(rows))
            self.tell(len(rows))
        rest = self.archive.rest()
        self.store.transact(self.as_it_stood(rest))
        return rest.contents

    def tell(self, more: int = 0) -> None:
        self.done += more
        self._told(self.done, self.heading.messages + self.heading.rows)

    # -- what is there already

    def begun(self) -> Op[None]:
        """The groups are there, and stopped."""
        messages = yield from self.store.count()
        groups = yield from self.store.groups()
        if messages or groups or (yield from self.store.count_scheduled()):
            yield from self.undisturbed()
            return
        for name in self.heading.groups:
            yield from self.store.reinstate(_held_up(name, self.heading), [])

    def undisturbed(self, messages: int | None = None) -> Op[None]:
        """The store is as an import of this archive has left it, with so many messages if that is known."""
        found = yield from self.store.count()
        groups = yield from self.store.groups()
        expected = {name: _held_up(name, self.heading) for name in self.heading.groups}
        scheduled = yield from self.store.count_scheduled()
        if scheduled or {each.name: each for each in groups} != expected or messages not in (None, found):
            raise NotEmpty(repr(self.store), found, tuple(each.name for each in groups))

    def find_again(self, messages: Iterator[Record]) -> None:
        """Messages that are in the store must be the first ones of the archive."""
        after = 0
        while page := self.store.transact(self.store.read_all(after=after, limit=BATCH), reading=True):
            for here in page:
                there = next(messages, None)
                if there is None or there.id != here.id:
                    self.archive.wrong(f"message {here.id}, which the store holds here; empty it, and import anew")
                self.positions.saw(there.position, here.position)
            after = page[-1].position
            self.done += len(page)

    def rows_to_come(self) -> Iterator[RowLine]:
        """Rows come in order, a batch at a time, so as many as are there already are the first ones."""
        for group, rows in groupby(self.archive.rows(), key=attrgetter("group")):
            there = self.store.transact(self.store.count_views(group), reading=True)
            for number, row in enumerate(rows):
                if number < there:
                    self.done += 1
                else:
                    yield row

    # -- what comes in

    def stored(self, records: Sequence[Record]) -> Op[None]:
        """At the places they had in their streams, or not at all."""
        entries: list[Entry] = []
        for record in records:
            last = entries[-1] if entries else None
            if last and last.stream == record.stream:
                entries[-1] = Entry(last.stream, (*last.records, record), last.expected_seq)
            else:
                entries.append(Entry(record.stream, (record,), record.seq - 1))
        stored: list[Record] = []
        for outcome in (yield from self.store.append(entries)):
            if not isinstance(outcome, tuple):
                raise outcome
            stored += outcome
        for there, here in zip(records, stored, strict=True):
            self.positions.saw(there.position, here.position)

    def kept(self, lines: Sequence[RowLine]) -> Op[None]:
        for group, rows in groupby(lines, key=attrgetter("group")):
            yield from self.store.save_views(group, [*map(self.row, rows)])

    def row(self, line: RowLine) -> ViewRow:
        here = self.positions.here(line.position)
        return ViewRow(moved(line.key, line.position, here), text_of(line.body), 0, here, line.updated_at)

    def as_it_stood(self, rest: Rest) -> Op[None]:
        yield from self.undisturbed(rest.contents.messages)
        yield from groups_as_they_stood(self.store, self.heading.shards, rest.groups, rest.stragglers)
        for batch in _batches(iter(rest.scheduled)):
            yield from self.store.schedule([Scheduled(record_of(each.message), each.at) for each in batch])
        if self.by:
            yield from self.store.append([self.told_of(rest.contents)])

    def told_of(self, contents: Contents) -> Entry:
        """In the transaction that ends it, after all that came."""
        heading = self.heading
        event = ArchiveImported(
            by=self.by, reason=self.reason, archive=heading.id, store=heading.store, made_at=heading.made_at,
            messages=contents.messages, rows=contents.rows, groups=contents.groups,
        )  # fmt: skip
        return Entry(OPERATIONS, (Codec().encode(Message.new(event, stream=OPERATIONS)),))


def _held_up(name: str, heading: Heading) -> Group:
    return Group(name, "stopped", reason=f"archive {heading.id} is being imported: finish that, do not start it")


def _batches(items: Iterator[T]) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
