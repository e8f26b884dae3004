"""What an archive is made of, line by line, in this order: heading, messages, rows, groups, stragglers, scheduled, end.

Positions differ from store to store, so an archive never says one where it matters: a checkpoint is told as the
`Place` of the last message that it covers.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import Raw

from sourced.lines import MessageLine
from sourced.store import Status, Straggler

FORMAT = 1

Place: TypeAlias = "tuple[str, int] | None"
"""A message by its stream and seq; None: before the first of all."""


class Contents(msgspec.Struct, frozen=True):
    """How much there is of everything."""

    messages: int = 0
    rows: int = 0
    groups: int = 0
    stragglers: int = 0
    scheduled: int = 0


class Heading(msgspec.Struct, frozen=True):
    """The first line: which archive this is, and what will come."""

    format: int
    id: str
    store: str
    shards: int
    made_at: datetime
    messages: int
    rows: int
    groups: tuple[str, ...]


class RowLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row that a projector keeps beside the log; `position` is the one that its last message has there."""

    group: str
    key: str
    body: Raw
    position: int
    updated_at: datetime | None = None


class ScheduledLine(msgspec.Struct, frozen=True):
    at: datetime
    message: MessageLine


class ShardLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of the messages in one shard: what the group is through with, and what it ever handled."""

    shard: int
    checkpoint: Place
    high: Place
    careful: int = 0  # a round died there


class GroupLine(msgspec.Struct, frozen=True):
    name: str
    status: Status
    epoch: int
    reason: str
    error: str
    stopped_by: str
    stopped_at: datetime | None
    start: Place
    reset_at: Place
    shards: tuple[ShardLine, ...]


class StragglerLine(msgspec.Struct, frozen=True):
    straggler: Straggler
    live_after: Place


class Ending(msgspec.Struct, frozen=True):
    """The last line: what must have come before it, to the byte."""

    contents: Contents
    crc32: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of these."""

    archive: Heading | None = None
    message: MessageLine | None = None
    row: RowLine | None = None
    group: GroupLine | None = None
    straggler: StragglerLine | None = None
    scheduled: ScheduledLine | None = None
    end: Ending | None = None
