"""What the port of a store speaks of: entries and what became of them, groups, leases, streams that wait, schedules."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.audit import Status as Status
from sourced.codec import Record
from sourced.errors import Conflict, Duplicate, Invalid

SHARDS = 64


def shard_of(stream: str, shards: int = SHARDS) -> int:
    """The shard of a stream: the same in every process and every store."""
    return zlib.crc32(stream.encode()) % shards


class Capabilities(msgspec.Struct, frozen=True):
    """What a store can do beyond the port, so that tests and tools know what to expect."""

    durable: bool = False  # what was committed survives the process
    shared: bool = False  # several processes may work on it at once
    concurrent: bool = False  # several transactions may write at once; one that appends holds its shards until its end


class Symptom(msgspec.Struct, frozen=True):
    """Something about the database itself that a person should see to."""

    about: str
    why: str
    advice: str
    trouble: bool = False


# -- the log -------------------------------------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True):
    """Records for one stream, to be stored together or not at all; `expected_seq` says what they must follow."""

    stream: str
    records: tuple[Record, ...]
    expected_seq: int | None = None
    heeds: frozenset[str] | None = None  # only messages of these types after `expected_seq` are a conflict; None: any

    def __post_init__(self) -> None:
        for record in self.records:
            if record.stream != self.stream:
                found = f"expected messages of {self.stream!r}, found one of {record.stream!r}"
                raise Invalid("Entry", {"stream": found})
        if len(self.records) > 1 and len({record.id for record in self.records}) < len(self.records):
            raise Invalid("Entry", {"records": "expected messages with different ids, found one twice"})


Outcome: TypeAlias = "tuple[Record, ...] | Conflict | Duplicate"
"""What became of an entry: its records with their seqs and positions, or why nothing of it was stored."""


class Range(msgspec.Struct, frozen=True):
    """A piece of a stream: what comes after one seq, up to and including another."""

    stream: str
    after: int = 0
    upto: int | None = None

    def __post_init__(self) -> None:
        if self.after < 0 or (self.upto is not None and self.upto < 0):
            raise Invalid("Range", {"after, upto": f"expected 0 or more, found {self.after}, {self.upto}"})


class StreamState(msgspec.Struct, frozen=True):
    stream: str
    seq: int
    updated_at: datetime


class Names(msgspec.Struct, frozen=True):
    """Names of streams, and the last one that was looked at when there may be more of them."""

    found: tuple[str, ...]
    last: str = ""


# -- groups --------------------------------------------------------------------------------------------------------

RARE = 1_000  # messages of a group's types are counted, wherever they are
COUNTED = 256  # else, messages of a shard are looked at to say how much is pending; of more, the first and the last


class Group(msgspec.Struct, frozen=True):
    """One reactor's standing: whether it runs, from where it started, and how often it was reset."""

    name: str
    status: Status = "active"
    start: int = 0  # it never sees what is at or before this position
    epoch: int = 0  # raised by a reset, so that a round in flight cannot undo it
    reset_at: int = 0  # the log's last position at the last reset
    reason: str = ""
    error: str = ""
    stopped_by: str = ""  # nobody: the error policy did
    stopped_at: datetime | None = None
    view: str = ""  # the name its rows are kept under; its own, to begin with

    def __post_init__(self) -> None:
        if not self.view:
            msgspec.structs.force_setattr(self, "view", self.name)


class Progress(msgspec.Struct, frozen=True):
    """How far a group has come in one shard: everything up to `checkpoint` is dealt with, `high` was ever handled."""

    shard: int
    checkpoint: int
    high: int
    pending: int  # messages after the checkpoint that it has yet to handle
    oldest: datetime | None = None  # when the first of them was made
    owner: str = ""  # who has it in hand
    until: datetime | None = None  # and for how long, if nothing more is heard of them
    estimated: bool = False  # some were not looked at, and are taken to be like the others
    careful: int = 0  # a round died here: so many messages are handled one at a time


class Place(msgspec.Struct, frozen=True):
    """The same without anything that has to be counted."""

    checkpoint: int
    high: int

    @property
    def handled(self) -> int:
        """Whatever is at or before this position was handled, now or before a reset; streams that wait aside."""
        return max(self.checkpoint, self.high)


class Lease(msgspec.Struct, frozen=True):
    """The right to move one shard's checkpoint, until it expires or a greater token is given out."""

    shard: int
    token: int
    checkpoint: int
    high: int
    careful: int = 0  # a round died here: so many messages are handled one at a time


class Straggler(msgspec.Struct, frozen=True):
    """A stream that waits for itself: its messages from `from_seq` on queue behind a failure, nobody else does."""

    group: str
    stream: str
    from_seq: int
    live_after: int = 0  # what is at or before this position had been handled before: a replay
    attempts: int = 0
    retry_at: datetime | None = None
    parked: bool = False
    running: bool = False  # an attempt was begun; in a claim: the one before was never concluded, its process died
    error: str = ""  # class and message of the last exception
    traceback: str = ""
    reason: str = ""
    message_id: str = ""
    since: datetime | None = None
    holder: str = ""  # who goes on with it outside of any round, until `retry_at` if nothing more is heard of him

    @property
    def suspected(self) -> bool:
        """Something in it failed, so its messages are handled one at a time, and the right one is blamed."""
        return self.attempts > 1 or bool(self.error)


class Claim(msgspec.Struct, frozen=True):
    """What one round may work on."""

    group: Group
    leases: tuple[Lease, ...] = ()
    due: tuple[Straggler, ...] = ()  # attempts already raised


class Pending(msgspec.Struct, frozen=True):
    """The next messages of the leased shards, and how far each shard has been looked through to find them."""

    records: tuple[Record, ...]
    scanned: dict[int, int]


class Move(msgspec.Struct, frozen=True):
    """Where a round leaves a shard."""

    shard: int
    checkpoint: int
    high: int
    careful: int = 0


SILENT = timedelta(days=1)  # a worker who was not heard of for so long is forgotten


class Worker(msgspec.Struct, frozen=True):
    """A process that works on rounds, and when it last said so."""

    id: str
    host: str
    pid: int
    rounds: int  # how many it has in hand at a time
    started_at: datetime
    beat_at: datetime
    handled: int = 0  # messages, since it started
    busy: float = 0.0  # seconds its rounds took, those that found anything


# -- the schedule --------------------------------------------------------------------------------------------------


class Scheduled(msgspec.Struct, frozen=True):
    """A record waiting for its time; `error` is set when it could not be promoted and was set aside."""

    record: Record
    at: datetime
    error: str = ""

    def promoted(self, now: datetime) -> Record:
        """As it enters the log: made now, remembering what it was scheduled for."""
        metadata = msgspec.json.decode(self.record.metadata, type=dict[str, Any])
        metadata["scheduled_at"] = self.at.isoformat()
        return replace(self.record, created_at=now, metadata=msgspec.json.encode(metadata).decode())
