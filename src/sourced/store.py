"""The port every store implements: one ordered log, the groups that read it, and the messages that are not due yet.

MUST: the log, groups, rounds, the schedule, snapshots, views; every operation is an `Op`, a generator of statements
that takes part in whatever transaction it is run in. The proof is `sourced.testing.conformance`, not these sentences.
The values it speaks of, from entries to leases, are those of `terms.py`. Two parts have pages of their own: how work is
carried out, `transactions.py`, and the rows that projectors keep beside the log, `view_store.py`.

MAY: more `Capabilities` than a single process in memory has.

NOT PART OF IT: decoding payloads, deciding anything, telling the time (it comes in as `now`), waking anybody up.

Positions and shards: a message belongs to the shard its stream hashes to, and **within a shard positions become visible
in order**. That is what makes one checkpoint per (group, shard) enough: a reader in order can never skip a message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol

from sourced.codec import Contents, Record, together
from sourced.notifier import Relay
from sourced.ops import Op
from sourced.snapshots import Snapshot as Snapshot
from sourced.terms import COUNTED as COUNTED
from sourced.terms import RARE as RARE
from sourced.terms import SHARDS as SHARDS
from sourced.terms import SILENT as SILENT
from sourced.terms import Capabilities as Capabilities
from sourced.terms import Claim as Claim
from sourced.terms import Entry as Entry
from sourced.terms import Group as Group
from sourced.terms import Lease as Lease
from sourced.terms import Move as Move
from sourced.terms import Names as Names
from sourced.terms import Outcome as Outcome
from sourced.terms import Pending as Pending
from sourced.terms import Place as Place
from sourced.terms import Progress as Progress
from sourced.terms import Range as Range
from sourced.terms import Scheduled as Scheduled
from sourced.terms import Status as Status
from sourced.terms import Straggler as Straggler
from sourced.terms import StreamState as StreamState
from sourced.terms import Symptom as Symptom
from sourced.terms import Worker as Worker
from sourced.terms import shard_of as shard_of
from sourced.transactions import Transactions
from sourced.view import Equal as Equal
from sourced.view import ViewRow as ViewRow
from sourced.view_store import ViewStore


class Store(Transactions, ViewStore, Protocol):
    """One log, many implementations."""

    shards: int
    capabilities: Capabilities

    def close(self) -> None: ...

    def relay(self) -> Relay | None:
        """How processes that share the store wake each other; None where there is but one."""
        return None

    def migrate(self) -> list[str]:
        """Brings the tables up to date, if opening the store has not; the names of the steps that were made."""
        return []

    async def migrate_async(self) -> list[str]:
        return []

    # -- what is only appended; a store that knows better ways overrides these

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

    def contents(
        self, stream: str, types: Collection[str], *, after: int = 0, upto: int | None = None
    ) -> Op[Sequence[Contents]]:
        """A piece of a stream as far as a state is made of it: messages of these types, and the last one of any type,
        which tells how far the piece goes; put together in whatever way. A store that can leave the rest where it is
        overrides this."""
        (records,) = yield from self.histories([Range(stream, after, upto)])
        return together(
            (record.seq, record.type, record.version, record.payload)
            for record in records
            if record.type in types or record is records[-1]
        )

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

    def progress(self, group: str, types: Collection[str] | None = None) -> Op[list[Progress]]:
        """How far it has come in the shards that hold messages, and how much it has yet to handle there: messages of
        these types, but for what it had settled when it was stored. Of very many the first and the last are counted.
        """
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

    # -- how the database itself is doing

    def symptoms(self, now: Callable[[], datetime]) -> Op[list[Symptom]]:
        """What a person should see to; `now` asks the clock of this machine, whatever the app goes by."""
        yield from ()
        return []

    # -- the schedule

    def schedule(self, scheduled: Sequence[Scheduled]) -> Op[None]:
        """Messages wait here until they are due; one that waits already stays as it is."""
        ...

    def promote(self, now: datetime, limit: int = 100) -> Op[list[Record]]:
        """Moves what is due into the log, by due time, then as it was scheduled; sets aside what cannot be read.

        As many as `limit` at a time; an empty answer means that nothing is due any more.
        """
        ...

    def scheduled(
        self, ids: Collection[str] | None = None, *, after: tuple[datetime, str] | None = None, limit: int | None = None
    ) -> Op[list[Scheduled]]:
        """What waits, in the order it will be promoted; of these ids, if they are given.

        A page begins after the message that is due at that time and has that id. If it waits no longer, all that
        are due at that very time come again.
        """
        ...

    def count_scheduled(self, until: datetime | None = None, *, aside: bool = False) -> Op[int]:
        """How many wait; how many of them are due by then, or were set aside."""
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
