"""The port every store implements: one ordered log, the groups that read it, and the messages that are not due yet.

MUST: the log, groups, rounds, the schedule, snapshots, views; every operation is an `Op`, a generator of statements
that takes part in whatever transaction it is run in. The proof is `sourced.testing.conformance`, not these sentences.

MAY: more `Capabilities` than a single process in memory has.

NOT PART OF IT: decoding payloads, deciding anything, telling the time (it comes in as `now`), waking anybody up.

Positions and shards: a message belongs to the shard its stream hashes to, and **within a shard positions become visible
in order**. That is what makes one checkpoint per (group, shard) enough: a reader in order can never skip a message.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from sourced.codec import Record
from sourced.errors import Conflict, DefinitionError, Duplicate, Invalid
from sourced.notifier import Relay
from sourced.ops import AsyncConnection, Connection, Op, run, run_async
from sourced.snapshots import Snapshot as Snapshot
from sourced.view import Equal as Equal
from sourced.view import ViewRow as ViewRow

T = TypeVar("T")

SHARDS = 64


def shard_of(stream: str, shards: int = SHARDS) -> int:
    """The shard of a stream: the same in every process and every store."""
    return zlib.crc32(stream.encode()) % shards


class Capabilities(msgspec.Struct, frozen=True):
    """What a store can do beyond the port, so that tests and tools know what to expect."""

    durable: bool = False  # what was committed survives the process
    shared: bool = False  # several processes may work on it at once
    concurrent: bool = False  # several transactions may write at once; one that appends holds its shards until its end


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
        if len({record.id for record in self.records}) < len(self.records):
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

COUNTED = 1_000  # messages a shard; how many more than that are pending may be an estimate

Status: TypeAlias = Literal["active", "stopped"]


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
    pending: int  # messages after the checkpoint, wanted or not; about so many when it is more than `COUNTED`
    oldest: datetime | None = None  # when the first of them was made
    owner: str = ""  # who has it in hand
    until: datetime | None = None  # and for how long, if nothing more is heard of them


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


class Store(Protocol):
    """One log, many implementations."""

    shards: int
    capabilities: Capabilities

    def transaction(self, *, reading: bool = False) -> AbstractContextManager[Connection]:
        """Commits at the end of the block, rolls back everything when it raises; `reading` promises to only read."""
        ...

    def transaction_async(self, *, reading: bool = False) -> AbstractAsyncContextManager[AsyncConnection]: ...

    def moment(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads, and sees the whole store as of one moment, however long it takes."""
        return self.transaction(reading=True)

    def close(self) -> None: ...

    def relay(self) -> Relay | None:
        """How processes that share the store wake each other; None where there is but one."""
        return None

    def migrate(self) -> list[str]:
        """Brings the tables up to date where that is not done by opening the store; the names of the steps made."""
        return []

    async def migrate_async(self) -> list[str]:
        return []

    # -- a transaction that is not ours: a store in a database of the caller's joins what he has open there

    def joined(self, connection: object, *, reading: bool) -> Connection:
        """The caller's connection, to be used in its own transaction: never committed, never closed, left as it is."""
        raise DefinitionError(
            f"using(connection): {type(self).__name__} keeps nothing in a database; it takes SQLite or PostgreSQL"
        )

    async def joined_async(self, connection: object, *, reading: bool) -> AsyncConnection:
        raise DefinitionError(
            f"using(connection): {type(self).__name__} keeps nothing in a database; it takes SQLite or PostgreSQL"
        )

    # -- ways to carry work out; a store that knows better ones overrides these

    def transact(self, op: Op[T], *, reading: bool = False) -> T:
        """One op, in a transaction of its own."""
        with self.transaction(reading=reading) as connection:
            return run(op, connection)

    async def transact_async(self, op: Op[T], *, reading: bool = False) -> T:
        async with self.transaction_async(reading=reading) as connection:
            return await run_async(op, connection)

    def commit(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Appends, and nothing else; callers who come at the same time may share a transaction."""
        return self.transact(self.append(entries))

    async def commit_async(self, entries: Sequence[Entry]) -> list[Outcome]:
        return await self.transact_async(self.append(entries))

    def reserve(self, streams: Collection[str], group: str | None = None) -> Op[None]:
        """Takes the place for several appends at once, so that no two transactions ever wait for each other; whoever
        means to change a group as well names it: rounds of it that settle come to their end first."""
        yield from ()

    # -- the log

    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        """Each entry is stored whole or not at all, with an outcome of its own: a conflict costs nobody else."""
        ...

    def histories(self, ranges: Sequence[Range]) -> Op[list[Sequence[Record]]]:
        """Pieces of many streams at once, each in order of seq."""
        ...

    def read_all(
        self, *, after: int = 0, limit: int | None = None, types: Collection[str] | None = None,
        since: datetime | None = None, until: datetime | None = None, backwards: bool = False,
    ) -> Op[list[Record]]:  # fmt: skip
        """The log in order of position; backwards, `after` 0 means from its end, else what comes before it.

        `since` and `until` are about when messages were made: at the one or later, and before the other.
        """
        ...

    def trace(self, message_id: str) -> Op[list[Record]]:
        """The whole story a message belongs to, in order; empty when there is no such message."""
        ...

    def streams(self, limit: int | None = 10) -> Op[list[StreamState]]:
        """The streams that changed last, newest first."""
        ...

    def heads(self, streams: Collection[str]) -> Op[dict[str, StreamState]]:
        """How far these streams have come, those of them that there are."""
        ...

    def names(
        self, *, after: str = "", prefix: str = "", part: str = "", limit: int = 100, most: int = 100_000
    ) -> Op[Names]:
        """Names of streams in order, from after one on: those that begin with `prefix`, and hold `part` somewhere.

        The former are found at once. The latter are looked for among the next `most` names, however few that finds.
        """
        ...

    def extent(self) -> Op[tuple[int, int]]:
        """How many streams there are, and the log's last position."""
        ...

    def count(self, *, after: int = 0, upto: int | None = None, types: Collection[str] | None = None) -> Op[int]:
        """How many messages there are, after one position, up to and including another, of some types."""
        ...

    # -- groups

    def register(self, group: str, start_from: Literal["beginning", "now"] | datetime) -> Op[Group]:
        """Creates the group, pinning where it starts; a group that is there stays as it is."""
        ...

    def groups(self) -> Op[list[Group]]: ...

    def progress(self, group: str) -> Op[list[Progress]]:
        """Only the shards that hold messages."""
        ...

    def reinstate(self, group: Group, moves: Sequence[Move]) -> Op[None]:
        """A group as it stands elsewhere, with what was handled there, shard by shard, as positions of this log.

        Whatever was known of it is replaced, but for the streams that wait.
        """
        ...

    def stop(
        self, group: str, reason: str, error: str = "", *, by: str = "", at: datetime | None = None
    ) -> Op[Group]:  # fmt: skip
        """Nothing more is handed out; one that is stopped already stays as it is. How the group stood before."""
        ...

    def start(self, group: str, now: datetime) -> Op[Group]:
        """Active again, with all that is said of the stop cleared; streams that failed, but parked ones, are due at
        once; those in somebody's hand are left there. How the group stood before."""
        ...

    def reset(self, group: str) -> Op[Group]:
        """Everything is delivered again, what was handled before as a replay; a stopped group stays stopped. How the
        group stood before."""
        ...

    # -- rounds

    def claim(
        self, group: str, owner: str, *, now: datetime, until: datetime, limit: int, most: int | None = None
    ) -> Op[Claim]:
        """Leases shards with anything to do that nobody else holds, at most one for each of `limit` messages, and no
        more than `most`, so that others find some too.

        Due stragglers come along, one per shard that is handled with care, with the attempt counted and marked as
        running. A shard whose last round was neither settled nor released comes with `careful` set.
        """
        ...

    def pending(self, group: str, leases: Sequence[Lease], types: Collection[str], limit: int) -> Op[Pending]:
        """Messages after the checkpoints, shard by shard in order, the limit shared out, one from a careful shard.

        Left out are streams that wait for themselves, and what the group had settled when it was stored (unless a reset
        wants it again).
        """
        ...

    def straggling(
        self, stragglers: Sequence[Straggler], types: Collection[str], upto: Mapping[int, int], limit: int
    ) -> Op[list[Sequence[Record]]]:
        """For each straggler its next messages, none beyond the position that `upto` gives for its shard."""
        ...

    def fence(self, claim: Claim) -> Op[None]:
        """Raises `Fenced` unless every lease of the claim is still the newest and the group has not been reset.

        At once, or at the latest at the end of its savepoint or transaction, which then comes to nothing.
        """
        ...

    def renew(self, claim: Claim, until: datetime) -> Op[None]:
        """Prolongs the leases of a claim that were not lost meanwhile, for a round that takes its time."""
        ...

    def settle(self, group: str, moves: Sequence[Move], *, release: bool) -> Op[None]:
        """Moves checkpoints, never backwards; with `release` the shards are free for anybody at once."""
        ...

    def release(self, claim: Claim) -> Op[None]:
        """Gives the leases back with nothing done: the attempts that were counted for the claim were not made."""
        ...

    def straggle(self, stragglers: Sequence[Straggler]) -> Op[None]:
        """Writes stragglers, replacing what was known of their streams."""
        ...

    def catch_up(self, group: str, streams: Sequence[str]) -> Op[None]:
        """These streams no longer wait."""
        ...

    def stragglers(self, group: str | None = None) -> Op[list[Straggler]]: ...

    def unpark(self, seen: Sequence[Straggler], *, skip: bool = False) -> Op[list[Straggler]]:
        """Hands parked streams out again, counting anew, and with `skip` only what is behind the message they are
        parked at. Those that are no longer parked as they were seen stay as they are; answers the others,
        by group and stream."""
        ...

    def hold(self, straggler: Straggler) -> Op[None]:
        """Raises `Fenced` unless the stream is still its holder's: nobody claimed it meanwhile, no reset took it.

        Until the end of the transaction it stays so.
        """
        ...

    def hold_group(
        self, group: str, streams: Sequence[str], types: Collection[str]
    ) -> Op[tuple[Group, list[str]]]:  # fmt: skip
        """How the group stands, and which of these streams hold messages of these types that it has yet to handle.

        Until the end of the transaction it stays so: the group is not stopped, reset, seized or exchanged. Others may
        hold it at the same time, rounds go on. The places in the log are reserved before it.
        """
        ...

    # -- workers

    def beat(self, worker: Worker) -> Op[None]:
        """Writes down that a worker is alive; those who have been silent for a day are forgotten."""
        ...

    def leave(self, worker_id: str) -> Op[None]:
        """The worker has ended."""
        ...

    def workers(self, since: datetime) -> Op[list[Worker]]:
        """Those who gave a sign of life since then, the longest-serving first."""
        ...

    # -- the schedule

    def schedule(self, scheduled: Sequence[Scheduled]) -> Op[None]:
        """Messages wait here until they are due; one that waits already stays as it is."""
        ...

    def promote(self, now: datetime, limit: int = 100) -> Op[list[Record]]:
        """Moves what is due into the log, by due time, then as it was scheduled; sets aside what cannot be read.

        As many as `limit` at a time; an empty answer means that nothing is due any more.
        """
        ...

    def scheduled(self) -> Op[list[Scheduled]]:
        """What waits, in the order it will be promoted."""
        ...

    def cancel(self, message_ids: Sequence[str]) -> Op[list[str]]:
        """Takes messages off the schedule; the ids that were still there."""
        ...

    # -- snapshots

    def save_snapshot(self, snapshot: Snapshot, keep: int = 1) -> Op[None]:
        """The newest `keep` of a group's stream stay."""
        ...

    def snapshots(self, group: str, streams: Sequence[str]) -> Op[dict[str, Snapshot]]:
        """The newest one of each stream that has any."""
        ...

    # -- views: the rows that a group's projector keeps here

    def views(self, group: str, keys: Collection[str]) -> Op[dict[str, ViewRow]]:
        """Those of these rows that there are."""
        ...

    def hold_views(self, group: str, revisions: Mapping[str, int]) -> Op[list[str]]:
        """Keeps others from writing to these rows until the end of the transaction, also where there is none yet.

        The keys of those that are not at the revision that is given: somebody else has written to them meanwhile.
        Everybody takes rows in the same order, so that no two ever wait for each other.
        """
        ...

    def save_views(self, group: str, rows: Sequence[ViewRow]) -> Op[None]:
        """Writes rows, no key twice, whatever is there, and takes away those without a body."""
        ...

    def page_views(
        self, group: str, *, after: str = "", limit: int | None = None, equal: Sequence[Equal] = ()
    ) -> Op[list[ViewRow]]:
        """Rows in order of their keys, from after one on; of all that are asked for each field holds the value."""
        ...

    def count_views(self, group: str, equal: Sequence[Equal] = ()) -> Op[int]: ...

    def drop_views(self, group: str, limit: int | None = None) -> Op[int]:
        """Takes rows away, all of them or as many as `limit`; how many there were."""
        ...

    # -- rows that are built beside those of a group

    def build_beside(self, group: str, beside: str, view: str, *, afresh: bool = False) -> Op[Group]:
        """A second group, that starts where the first one did and keeps rows of its own, under the name `view`.

        One that is active already goes on, unless `afresh`; any other is forgotten first, and what it had come to.
        """
        ...

    def places(self, group: str) -> Op[dict[int, Place]]:
        """How far it has come, shard by shard, all of them."""
        ...

    def seize(self, group: str) -> Op[Group]:
        """Takes every shard out of whosever hand; what is under way there changes nothing any more.

        Until the end of the transaction nobody gets any, and nobody writes to the rows of the group. How it stands.
        """
        ...

    def swap(self, group: str, beside: str) -> Op[None]:
        """Exchanges the rows of two groups and how far they have come, for those who have seized both.

        What either has handled it goes on having handled: it is a replay. Streams that wait stay where they are.
        """
        ...

    def sweep_views(self, limit: int) -> Op[int]:
        """Takes away rows that are no group's any more, as many as `limit`; how many there were."""
        ...
