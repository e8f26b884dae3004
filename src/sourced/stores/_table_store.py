"""The port on tables held in memory, with real transactions; the place to look up what an operation means."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from sourced.codec import Record
from sourced.forks import begin_anew_in_children
from sourced.ops import RELEASE, ROLLBACK, SAVEPOINT, AsyncConnection, Connection, Op, Statement
from sourced.store import (
    Claim,
    Entry,
    Equal,
    Group,
    Lease,
    Move,
    Names,
    Outcome,
    Pending,
    Place,
    Progress,
    Range,
    Scheduled,
    Snapshot,
    Store,
    Straggler,
    StreamState,
    ViewRow,
    Worker,
)
from sourced.stores._gate import Gate
from sourced.stores._tables import Tables

_changed: Any = msgspec.structs.replace


class TableStore(Store):
    """Every operation, carried out on tables by one transaction at a time."""

    def __init__(self, tables: Tables) -> None:
        self.shards = len(tables.shards)
        self._tables = tables
        self.forked()
        begin_anew_in_children(self)

    def forked(self) -> None:
        self._gate = Gate()

    # -- transactions ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[MemoryConnection]:
        with self._gate, self._tables.all_or_nothing():
            yield MemoryConnection(self._tables)

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading: bool = False) -> AsyncIterator[AsyncMemoryConnection]:
        async with self._gate:
            with self._tables.all_or_nothing():
                yield AsyncMemoryConnection(self._tables)

    # -- the log -----------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        return (yield Statement("append", Tables.append, (entries,)))

    def histories(self, ranges: Sequence[Range]) -> Op[list[Sequence[Record]]]:
        return (yield Statement("histories", Tables.histories, (ranges,)))

    def read_all(
        self, *, after: int = 0, limit: int | None = None, types: Collection[str] | None = None,
        since: datetime | None = None, until: datetime | None = None, backwards: bool = False,
    ) -> Op[list[Record]]:  # fmt: skip
        return (yield Statement("read all", Tables.read_all, (after, limit, types, since, until, backwards)))

    def trace(self, message_id: str) -> Op[list[Record]]:
        return (yield Statement("trace", Tables.trace, (message_id,)))

    def streams(self, limit: int | None = 10) -> Op[list[StreamState]]:
        return (yield Statement("streams", Tables.latest_streams, (limit,)))

    def heads(self, streams: Collection[str]) -> Op[dict[str, StreamState]]:
        return (yield Statement("heads", Tables.heads, (streams,)))

    def names(
        self, *, after: str = "", prefix: str = "", part: str = "", limit: int = 100, most: int = 100_000
    ) -> Op[Names]:
        return (yield Statement("names", Tables.names, (after, prefix, part, limit, most)))

    def extent(self) -> Op[tuple[int, int]]:
        return (yield Statement("extent", Tables.extent))

    def count(self, *, after: int = 0, upto: int | None = None, types: Collection[str] | None = None) -> Op[int]:
        return (yield Statement("count", Tables.count, (after, upto, types)))

    # -- groups ------------------------------------------------------------------------------------------------------

    def register(self, group: str, start_from: Literal["beginning", "now"] | datetime) -> Op[Group]:
        return (yield Statement("register", Tables.register, (group, start_from)))

    def groups(self) -> Op[list[Group]]:
        return (yield Statement("groups", lambda tables: list(tables.groups.values())))

    def progress(self, group: str, types: Collection[str] | None = None) -> Op[list[Progress]]:
        return (yield Statement("progress", Tables.progress_of, (group, types)))

    def reinstate(self, group: Group, moves: Sequence[Move]) -> Op[None]:
        yield Statement("reinstate", Tables.reinstate, (group, moves))

    def stop(
        self, group: str, reason: str, error: str = "", *, by: str = "", at: datetime | None = None
    ) -> Op[Group]:  # fmt: skip
        return (yield Statement("stop", Tables.stop_group, (group, reason, error, by, at)))

    def start(self, group: str, now: datetime) -> Op[Group]:
        before: Group = yield Statement("start", Tables.start_group, (group,))
        yield Statement("retry failed streams", Tables.retry_all, (group,))
        return before

    def reset(self, group: str) -> Op[Group]:
        before: Group = yield Statement("reset group", Tables.reset_group, (group,))
        yield Statement("reset checkpoints", Tables.reset_checkpoints, (group,))
        yield Statement("reset stragglers", Tables.reset_stragglers, (group,))
        return before

    # -- rounds ------------------------------------------------------------------------------------------------------

    def claim(
        self, group: str, owner: str, *, now: datetime, until: datetime, limit: int, most: int | None = None
    ) -> Op[Claim]:
        return (yield Statement("claim", Tables.claim, (group, owner, now, until, limit, most)))

    def pending(self, group: str, leases: Sequence[Lease], types: Collection[str], limit: int) -> Op[Pending]:
        return (yield Statement("pending", Tables.pending, (group, leases, types, limit)))

    def straggling(
        self, stragglers: Sequence[Straggler], types: Collection[str], upto: Mapping[int, int], limit: int
    ) -> Op[list[Sequence[Record]]]:
        return (yield Statement("straggling", Tables.straggling, (stragglers, types, upto, limit)))

    def fence(self, claim: Claim) -> Op[None]:
        yield Statement("fence", Tables.fence, (claim,))

    def renew(self, claim: Claim, until: datetime) -> Op[None]:
        yield Statement("renew", Tables.renew, (claim, until))

    def settle(self, group: str, moves: Sequence[Move], *, release: bool) -> Op[None]:
        yield Statement("settle", Tables.settle, (group, moves, release))

    def release(self, claim: Claim) -> Op[None]:
        yield Statement("release", Tables.release, (claim,))

    def hold(self, straggler: Straggler) -> Op[None]:
        yield Statement("hold", Tables.hold, (straggler,))

    def hold_group(
        self, group: str, streams: Sequence[str], types: Collection[str]
    ) -> Op[tuple[Group, list[str]]]:  # fmt: skip
        return (yield Statement("hold group", Tables.hold_group, (group, streams, types)))

    def straggle(self, stragglers: Sequence[Straggler]) -> Op[None]:
        yield Statement("straggle", Tables.straggle, (stragglers,))

    def catch_up(self, group: str, streams: Sequence[str]) -> Op[None]:
        yield Statement("catch up", Tables.catch_up, (group, streams))

    def beat(self, worker: Worker) -> Op[None]:
        yield Statement("beat", Tables.beat, (worker,))

    def leave(self, worker_id: str) -> Op[None]:
        yield Statement("leave", Tables.leave, (worker_id,))

    def workers(self, since: datetime) -> Op[list[Worker]]:
        return (yield Statement("workers", Tables.list_workers, (since,)))

    def stragglers(self, group: str | None = None) -> Op[list[Straggler]]:
        return (yield Statement("stragglers", Tables.list_stragglers, (group,)))

    def unpark(self, seen: Sequence[Straggler], *, skip: bool = False) -> Op[list[Straggler]]:
        return (yield Statement("unpark", Tables.unpark, (seen, skip)))

    # -- the schedule and snapshots ------------------------------------------------------------------------------------

    def schedule(self, scheduled: Sequence[Scheduled]) -> Op[None]:
        yield Statement("schedule", Tables.add_scheduled, (scheduled,))

    def promote(self, now: datetime, limit: int = 100) -> Op[list[Record]]:
        while due := (yield Statement("due", Tables.due, (now, limit))):
            entries: list[Entry] = []
            for each in due:
                try:
                    entries.append(Entry(each.record.stream, (each.promoted(now),)))
                except msgspec.MsgspecError as error:
                    yield Statement("set aside", Tables.set_aside, (_changed(each, error=str(error)),))
            outcomes: list[Outcome] = yield Statement("append", Tables.append, (entries,))
            yield Statement("unschedule", Tables.cancel, ([entry.records[0].id for entry in entries],))
            if records := [record for outcome in outcomes if isinstance(outcome, tuple) for record in outcome]:
                return records
        return []

    def scheduled(
        self, ids: Collection[str] | None = None, *, after: tuple[datetime, str] | None = None, limit: int | None = None
    ) -> Op[list[Scheduled]]:
        return (yield Statement("scheduled", Tables.list_scheduled, (ids, after, limit)))

    def count_scheduled(self, until: datetime | None = None, *, aside: bool = False) -> Op[int]:
        return (yield Statement("count scheduled", Tables.count_scheduled, (until, aside)))

    def cancel(self, message_ids: Sequence[str]) -> Op[list[str]]:
        return (yield Statement("cancel", Tables.cancel, (message_ids,)))

    def save_snapshot(self, snapshot: Snapshot, keep: int = 1) -> Op[None]:
        yield Statement("save snapshot", Tables.save_snapshot, (snapshot, keep))

    def snapshots(self, group: str, streams: Sequence[str]) -> Op[dict[str, Snapshot]]:
        return (yield Statement("snapshots", Tables.latest_snapshots, (group, streams)))

    # -- views -------------------------------------------------------------------------------------------------------

    def views(self, group: str, keys: Collection[str]) -> Op[dict[str, ViewRow]]:
        return (yield Statement("views", Tables.some_of_view, (group, keys)))

    def hold_views(self, group: str, revisions: Mapping[str, int]) -> Op[list[str]]:
        return (yield Statement("hold views", Tables.hold_view, (group, revisions)))

    def save_views(self, group: str, rows: Sequence[ViewRow]) -> Op[None]:
        yield Statement("save views", Tables.save_view, (group, rows))

    def page_views(
        self, group: str, *, after: str = "", limit: int | None = None, equal: Sequence[Equal] = ()
    ) -> Op[list[ViewRow]]:
        return (yield Statement("page views", Tables.page_of_view, (group, after, limit, equal)))

    def count_views(self, group: str, equal: Sequence[Equal] = ()) -> Op[int]:
        return (yield Statement("count views", Tables.count_view, (group, equal)))

    def drop_views(self, group: str, limit: int | None = None) -> Op[int]:
        return (yield Statement("drop views", Tables.drop_view, (group, limit)))

    # -- rows that are built beside those of a group -----------------------------------------------------------------

    def build_beside(self, group: str, beside: str, view: str, *, afresh: bool = False) -> Op[Group]:
        return (yield Statement("build beside", Tables.build_beside, (group, beside, view, afresh)))

    def places(self, group: str) -> Op[dict[int, Place]]:
        return (yield Statement("places", Tables.places, (group,)))

    def seize(self, group: str) -> Op[Group]:
        return (yield Statement("seize", Tables.seize, (group,)))

    def swap(self, group: str, beside: str) -> Op[None]:
        yield Statement("swap", Tables.swap, (group, beside))

    def sweep_views(self, limit: int) -> Op[int]:
        return (yield Statement("sweep views", Tables.sweep_views, (limit,)))


# -- transactions ------------------------------------------------------------------------------------------------------


class MemoryConnection(Connection):
    """An open transaction."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._marks: list[int] = []

    @property
    def tx(self) -> MemoryConnection:
        return self

    def table(self, name: str) -> MutableMapping[Any, Any]:
        """A table of your own, undone when the transaction fails. Replace its rows, do not change them."""
        return self._tables.table(name)

    def execute(self, statement: Statement) -> Any:
        if not isinstance(statement, Statement):  # a method of somebody's that was written for a database
            raise TypeError(
                f"there is no SQL here, found {statement!r}; use tx.table(name), a dictionary, "
                f"or give the app a database: sqlite:///shop.db"
            )
        if statement.body is not None:
            return statement.body(self._tables, *statement.args)
        if statement == SAVEPOINT:
            self._marks.append(len(self._tables.undo))
        elif statement == RELEASE:
            self._marks.pop()
        elif statement == ROLLBACK:
            self._tables.roll_back(self._marks.pop())
        return None


class AsyncMemoryConnection(AsyncConnection):
    """The same for callers that await."""

    def __init__(self, tables: Tables) -> None:
        self._connection = MemoryConnection(tables)

    @property
    def tx(self) -> MemoryConnection:
        return self._connection

    async def execute(self, statement: Statement) -> Any:
        return self._connection.execute(statement)
