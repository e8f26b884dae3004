"""Groups as they stood elsewhere, in a log whose positions are others, and whose shards may be.

A stream lives in one shard here and there. Where a shard of this store takes in messages of one shard only, a
checkpoint is the position of the same message. Where it takes in those of several, which may have come to different
places, it stands where the one that was furthest did; streams of the others that have something left before that
become stragglers, and go on by themselves from where they were.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import gcd
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from sourced.archive.lines import GroupLine, Place, StragglerLine
from sourced.codec import Record
from sourced.errors import Invalid
from sourced.ops import Op
from sourced.store import Group, Move, Range, Store, Straggler, shard_of

PAGE = 1_000

Positions: TypeAlias = Mapping[Place, int]


class Reached(NamedTuple):
    """How far a group came in a shard, as positions of this log."""

    checkpoint: int = 0
    high: int = 0
    careful: int = 0


def groups_as_they_stood(
    store: Store, shards: int, groups: Sequence[GroupLine], stragglers: Sequence[StragglerLine]
) -> Op[None]:  # fmt: skip
    """The groups of a store with so many shards, and the streams that waited there."""
    positions = yield from _positions(store, _places(groups, stragglers))
    within = Within(store.shards) if shards == store.shards else (yield from _looked_through(store))
    rows = [replace(each.straggler, live_after=positions[each.live_after]) for each in stragglers]
    waiting = {(row.group, row.stream) for row in rows}
    for line in groups:
        there = {
            each.shard: Reached(positions[each.checkpoint], positions[each.high], each.careful) for each in line.shards
        }
        here = _furthest(there, shards, store.shards)
        group = Group(
            line.name, line.status, positions[line.start], line.epoch, positions[line.reset_at], line.reason,
            line.error, line.stopped_by, line.stopped_at,
        )  # fmt: skip
        moves = [
            Move(shard, within.upto(shard, come.checkpoint), within.upto(shard, come.high), come.careful)
            for shard, come in here.items()
        ]
        yield from store.reinstate(group, moves)
        behind = yield from _behind(store, shards, group, there, here)
        rows += [row for row in behind if (row.group, row.stream) not in waiting]
    rows = [replace(row, live_after=within.upto(shard_of(row.stream, store.shards), row.live_after)) for row in rows]
    for at in range(0, len(rows), PAGE):
        yield from store.straggle(rows[at : at + PAGE])


def _places(groups: Iterable[GroupLine], stragglers: Iterable[StragglerLine]) -> set[Place]:
    places = {each.live_after for each in stragglers}
    for line in groups:
        places |= {line.start, line.reset_at}
        places |= {place for each in line.shards for place in (each.checkpoint, each.high)}
    return places


def _positions(store: Store, places: Iterable[Place]) -> Op[Positions]:
    """Where the messages are here."""
    named = sorted(place for place in places if place)
    found: dict[Place, int] = {None: 0}
    for at in range(0, len(named), PAGE):
        part = named[at : at + PAGE]
        pieces = yield from store.histories([Range(stream, seq - 1, seq) for stream, seq in part])
        for place, records in zip(part, pieces, strict=True):
            if not records:
                raise Invalid("archive", {"groups": f"expected a message seq {place[1]} of {place[0]!r}, found none"})
            found[place] = records[0].position
    return found


class Within:
    """What has been handled is told by a message of the shard itself; rounds wait until they have seen that one."""

    def __init__(self, shards: int) -> None:
        self._found: list[array[int]] | None = None
        self._shards = shards

    def saw(self, record: Record) -> None:
        self._found = self._found or [array("q") for _ in range(self._shards)]
        self._found[shard_of(record.stream, self._shards)].append(record.position)

    def upto(self, shard: int, position: int) -> int:
        """The last message in a shard that is not after a position."""
        if self._found is None:
            return position  # it is one
        found = self._found[shard]
        at = bisect_right(found, position)
        return found[at - 1] if at else 0


def _looked_through(store: Store) -> Op[Within]:
    within, after = Within(store.shards), 0
    while page := (yield from store.read_all(after=after, limit=PAGE)):
        for record in page:
            within.saw(record)
        after = page[-1].position
    return within


def _furthest(there: Mapping[int, Reached], shards: int, here: int) -> dict[int, Reached]:
    """For each shard here, how far the furthest came of those there whose messages it takes in."""
    common = gcd(shards, here)
    furthest: dict[int, Reached] = {}
    for shard in range(here):
        feeding = [reached for other, reached in there.items() if other % common == shard % common]
        if feeding:
            furthest[shard] = Reached(
                max(r.checkpoint for r in feeding), max(r.high for r in feeding), sum(r.careful for r in feeding)
            )  # fmt: skip
    return furthest


def _behind(
    store: Store, shards: int, group: Group, there: Mapping[int, Reached], here: Mapping[int, Reached]
) -> Op[list[Straggler]]:  # fmt: skip
    """Streams with messages that the group is not through with, or never handled, where its shard here says it is."""
    common = gcd(shards, store.shards)
    apart = [
        (was, now)
        for shard, was in there.items()
        for other, now in here.items()
        if other % common == shard % common and was[:2] != now[:2]
    ]
    low = min((was.checkpoint for was, _ in apart), default=0)
    most = max((max(now[:2]) for _, now in apart), default=0)
    first: dict[str, int] = {}
    behind: dict[str, int] = {}
    while low < most and (page := (yield from store.read_all(after=low, limit=PAGE))):
        for record in page:
            if group.name in record.settled_by and record.position > group.reset_at:
                continue  # which nobody hands out
            was, now = there[shard_of(record.stream, shards)], here[shard_of(record.stream, store.shards)]
            if was[:2] != now[:2] and record.position > was.checkpoint:
                seq = first.setdefault(record.stream, record.seq)
                if record.position <= now.checkpoint or was.high < record.position <= now.high:
                    behind[record.stream] = seq
        low = page[-1].position
    return [
        Straggler(group.name, stream, seq, live_after=there[shard_of(stream, shards)].high)
        for stream, seq in behind.items()
    ]
