"""Looking for messages in a log of any length: a page at a time, and never through more than so many of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sourced.codec import Record
from sourced.ops import Op
from sourced.store import Range, Store

PAGE = 50
SCAN = 5_000  # messages looked through at a time
SLACK = timedelta(seconds=5)  # of messages made this close together the later one may be stored first


class Sought(Protocol):
    """What fits, and where it may be: everything that is not None narrows it down."""

    @property
    def stream(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def since(self) -> datetime | None: ...
    @property
    def until(self) -> datetime | None: ...
    @property
    def before(self) -> int | None: ...

    def fits(self, record: Record) -> bool: ...


def looked_up(store: Store, sought: Sought) -> Op[tuple[list[Record], int | None]]:
    """The newest that fit, and the place below which to go on looking; none when there is nothing left."""
    if sought.stream:
        return (yield from _in_a_stream(store, sought))
    return (yield from _in_the_log(store, sought))


def _in_a_stream(store: Store, sought: Sought) -> Op[tuple[list[Record], int | None]]:
    heads = yield from store.heads([sought.stream])
    upto = min(heads[sought.stream].seq if heads else 0, (sought.before or 2**31) - 1)
    (records,) = yield from store.histories([Range(sought.stream, max(0, upto - SCAN), upto)])
    found = _fitting(sought, records[::-1])
    if len(found) == PAGE:
        return found, found[-1].seq
    return found, upto - SCAN + 1 if upto > SCAN else None


def _in_the_log(store: Store, sought: Sought) -> Op[tuple[list[Record], int | None]]:
    """Messages are stored nearly in the order of their times, so a time has a place, and from there it is not far."""
    lowest = 0 if sought.since is None else (yield from place_of(store, sought.since - SLACK))
    before = sought.before or 0
    if sought.until is not None:
        end = 1 + (yield from place_of(store, sought.until + SLACK))
        before = min(before or end, end)
    found: list[Record] = []
    types, scanned, piece = {sought.type} if sought.type else None, 0, PAGE
    while scanned < SCAN:
        records = yield from store.read_all(types=types, after=before, limit=piece, backwards=True)
        found += _fitting(sought, [each for each in records if each.position > lowest])
        if len(found) >= PAGE:
            return found[:PAGE], found[PAGE - 1].position
        if len(records) < piece or records[-1].position <= lowest:
            return found, None
        before, scanned, piece = records[-1].position, scanned + piece, SCAN - PAGE
    return found, before


def _fitting(sought: Sought, records: Sequence[Record]) -> list[Record]:
    found: list[Record] = []
    for record in records:
        if sought.fits(record):
            found.append(record)
            if len(found) == PAGE:
                break
    return found


def place_of(store: Store, moment: datetime) -> Op[int]:
    """The position up to which messages were made before a moment, as far as they are stored in order."""
    newest = yield from store.read_all(limit=1, backwards=True)
    low, high = 0, newest[0].position if newest else 0
    while low < high:
        middle = (low + high) // 2
        (record,) = yield from store.read_all(after=middle, limit=1)
        if record.created_at < moment:
            low = record.position
        else:
            high = middle
    return low
