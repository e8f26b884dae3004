"""PostgreSQL, for production: an append is one round trip, and a shard's positions become visible in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, TypeAlias

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from sourced.errors import DefinitionError, Duplicate, InTransaction, NeedsAwait, SchemaMismatch, Unavailable
from sourced.forks import begin_anew_in_children
from sourced.ops import Op, Statement, run, run_async
from sourced.store import SHARDS, Capabilities, Claim, Entry, Equal, Group, Lease, Outcome, Straggler
from sourced.stores._borrowed import driver_connection, driver_connection_async, refused
from sourced.stores._committer import AsyncCommitter, Committer
from sourced.stores._pool import AsyncPool, Pool
from sourced.stores._postgres.append import (
    APPEND,
    APPEND_AT,
    APPEND_NEXT,
    APPEND_STREAM,
    DUPLICATE,
    arguments,
    of_one_stream,
    one,
    outcomes,
    stored,
)
from sourced.stores._postgres.arrays import Bigints, Integers, teach
from sourced.stores._postgres.connections import (
    AsyncBorrowedConnection,
    AsyncPostgresConnection,
    BorrowedConnection,
    PostgresConnection,
)
from sourced.stores._postgres.dialect import PostgresDialect
from sourced.stores._postgres.relay import PostgresRelay
from sourced.stores._sql import SqlStore
from sourced.stores._sql.dialect import Query
from sourced.stores._sql.migrations import Migration, migrations
from sourced.stores._sql.rounds import WANTED, WINDOW, quoted

OLDEST = 15
_PENDING = f"""
select r.shard, r.upto, {{record}} from (
  select e.shard, e.checkpoint, e.share, least(e.checkpoint + {WINDOW},
    coalesce((select max(t.position) from {{messages}} t where t.shard = e.shard), e.checkpoint)) as upto
  from each(e: shard integer, checkpoint bigint, share integer) offset 0
) r left join lateral (
  select m.* from {{messages}} m
  where m.shard = r.shard and m.position > r.checkpoint and m.position <= r.upto
    and {WANTED.replace(":reset_at", "(select g.reset_at from {groups} g where g.name = :group)")}
    and not exists (select 1 from {{stragglers}} s where s.group_name = :group and s.stream = m.stream offset 0)
  order by m.position limit r.share
) m on true order by r.shard, m.position
"""
# Each piece by itself, along the index: the planner would rather read and sort the log than look things up 500 times.
_STRAGGLING = f"""
select {{record}}, r.n
from each(r: group_name text, settled text, stream text, from_seq integer, upto bigint)
join {{groups}} g on g.name = r.group_name cross join lateral (
  select m.* from {{messages}} m
  where m.stream = r.stream and m.seq >= r.from_seq and m.position > g.start and m.position <= r.upto
    and {WANTED.replace(":settled", "r.settled").replace(":reset_at", "g.reset_at")}
  order by m.seq limit :limit
) m order by r.n, m.seq
"""
_CLAIM = """
select c.status, c.start, c.epoch, c.reset_at, c.reason, c.error, c.stopped_by, c.stopped_at, c.shards, c.tokens,
  c.checkpoints, c.highs, c.carefuls, c.due
from {claim}(cast(:group as text), cast(:owner as text), cast(:now as timestamptz), cast(:until as timestamptz),
  cast(:limit as integer), cast(:room as integer)) c
"""
_read_due = msgspec.json.Decoder(tuple[Straggler, ...]).decode


class PostgresStore(SqlStore):
    """`PostgresStore("postgresql://…")`; its tables are made by `migrate()`, or by your own migration tool."""

    capabilities = Capabilities(durable=True, shared=True, concurrent=True)

    def __init__(
        self,
        url: str,
        *,
        connections: int = 10,
        timeout: float = 10.0,
        schema: str | None = None,
        prefix: str = "sourced_",
        shards: int = SHARDS,
    ) -> None:
        super().__init__(PostgresDialect(), prefix=prefix, schema=schema, shards=shards)
        if connections < 1:
            raise DefinitionError(f"PostgresStore(connections=…): expected 1 or more, found {connections}")
        self.url = url
        self.timeout = timeout
        self._name = _named(url)
        self._terms = _on_our_terms(url)
        self._checked = False
        self._database = ""
        self._met = False  # it was reached before, so when it is not there it will come back
        self._closed = False
        self._connections = connections
        self._inside = _Inside()
        self._pool = Pool(self._connect, _finished, connections)
        self._async_pool = AsyncPool(self._connect_async, _finished, connections)
        self._committer = Committer(self._flush)
        self._async_committer = AsyncCommitter(self._flush_async)
        begin_anew_in_children(self)

    def forked(self) -> None:
        self._inside = _Inside()
        self._pool.forked()
        self._async_pool.forked()
        self._committer = Committer(self._flush)
        self._async_committer = AsyncCommitter(self._flush_async)

    def __repr__(self) -> str:
        return f"PostgresStore({self._name})"

    # -- connections -------------------------------------------------------------------------------------------------

    def _connect(self) -> Any:
        for pause in self._patience():
            try:
                return self._welcomed(psycopg.connect(self._terms, autocommit=True))
            except psycopg.OperationalError as error:
                self._unreachable(error, last=pause is None)
            threading.Event().wait(pause)
        raise AssertionError("unreachable: the last try raises")

    async def _connect_async(self) -> Any:
        for pause in self._patience():
            try:
                return self._welcomed(await psycopg.AsyncConnection.connect(self._terms, autocommit=True))
            except psycopg.OperationalError as error:
                self._unreachable(error, last=pause is None)
            await asyncio.sleep(pause or 0)
        raise AssertionError("unreachable: the last try raises")

    def _patience(self) -> Iterator[float | None]:
        """Pauses between tries; None for the last one. Who was there before is waited for: it is being restarted."""
        deadline, pause = monotonic() + self.timeout, 0.05
        while self._met and monotonic() + pause < deadline:
            yield pause
            pause = min(pause * 2, 1.0)
        yield None

    def _unreachable(self, error: psycopg.OperationalError, *, last: bool) -> None:
        passing = error.sqlstate in (None, "57P03")  # nobody listens, or it is starting up; but no wrong password
        if last or not passing or "authentication" in str(error):
            raise Unavailable(self._name, str(error).strip().replace("\n", " ")) from error

    def _welcomed(self, raw: Any) -> Any:
        version = raw.info.server_version // 10_000
        if version < OLDEST:
            _finished(raw)
            raise SchemaMismatch(
                self._name, expected=f"PostgreSQL {OLDEST} or newer", found=f"{version}", hint="update the server"
            )
        self._met, self._database = True, raw.info.dbname
        return raw

    def _acquired(self) -> Any:
        self._refuse_closed()
        try:
            return self._pool.acquire(self.timeout)
        except TimeoutError as error:
            raise self._all_in_use() from error

    async def _acquired_async(self) -> Any:
        self._refuse_closed()
        try:
            return await self._async_pool.acquire(self.timeout)
        except TimeoutError as error:
            raise self._all_in_use() from error

    def _all_in_use(self) -> Unavailable:
        busy = f"all {self._connections} connections have been in use for {self.timeout:g} s"
        return Unavailable(self._name, f"{busy}; allow more, or hold them for a shorter time")

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Unavailable(self._name, "this store was closed; open it anew")

    def close(self) -> None:
        self._closed = True
        self._pool.clear()
        self._async_pool.clear()

    # -- transactions ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[PostgresConnection]:
        """Statements that only read are each by themselves; others begin a transaction."""
        with self._inside.entered(blocking=not reading):
            self._check()
            with self._connection(alone=reading) as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading: bool = False) -> AsyncIterator[AsyncPostgresConnection]:
        with self._inside.entered(blocking=False):
            await self._check_async()
            async with self._connection_async(alone=reading) as connection:
                yield connection

    @contextlib.contextmanager
    def moment(self) -> Iterator[PostgresConnection]:
        with self._inside.entered(blocking=True):
            self._check()
            with self._connection(alone=False) as connection:
                connection.execute(Statement("one moment", Query(_ONE_MOMENT, lambda _: {}), ({},)))
                yield connection

    @contextlib.contextmanager
    def _connection(self, *, alone: bool) -> Iterator[PostgresConnection]:
        connection = PostgresConnection(self._acquired(), self._name, alone=alone, replace=self._pool.replace)
        try:
            yield connection
            connection.commit()
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                connection.roll_back()
            raise
        finally:
            self._give_back(connection)

    def _give_back(self, connection: PostgresConnection) -> None:
        (self._pool.release if connection.fit and not self._closed else self._pool.discard)(connection.raw)

    @contextlib.asynccontextmanager
    async def _connection_async(self, *, alone: bool, once: bool = False) -> AsyncIterator[AsyncPostgresConnection]:
        raw = await self._acquired_async()
        replace = None if once else self._async_pool.replace
        connection = AsyncPostgresConnection(raw, self._name, alone=alone, replace=replace)
        try:
            yield connection
            await connection.commit()
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                await connection.roll_back()
            raise
        finally:
            fit = connection.fit and not self._closed
            (self._async_pool.release if fit else self._async_pool.discard)(connection.raw)

    def joined(self, connection: object, *, reading: bool) -> BorrowedConnection:
        self._inside.refuse(blocking=True)
        self._check()
        raw = driver_connection(connection)
        if isinstance(raw, psycopg.AsyncConnection):
            raise NeedsAwait(connection)
        if not isinstance(raw, psycopg.Connection):
            raise refused(connection, raw, _JOINABLE)
        self._refuse_unfit(raw)
        return BorrowedConnection(raw, self._name)

    async def joined_async(self, connection: object, *, reading: bool) -> AsyncBorrowedConnection:
        self._inside.refuse(blocking=False)
        await self._check_async()
        raw = await driver_connection_async(connection)
        if not isinstance(raw, psycopg.AsyncConnection):
            raise refused(connection, raw, _JOINABLE_ASYNC)
        self._refuse_unfit(raw)
        return AsyncBorrowedConnection(raw, self._name)

    def _refuse_unfit(self, raw: Any) -> None:
        if raw.closed:
            raise Unavailable(self._name, "the connection that it was to be reached by is closed")
        if raw.info.dbname != self._database:
            raise DefinitionError(
                f"using(connection): expected a connection to {self._name}, found one to {raw.info.dbname!r}"
            )
        if raw.autocommit and raw.info.transaction_status == TransactionStatus.IDLE:
            raise DefinitionError(
                "using(connection): it commits every statement by itself; open `with connection.transaction():` first, "
                "or connect without autocommit"
            )
        teach(raw)

    # -- commits of one statement, shared by those who come at the same time -----------------------------------------

    def commit(self, entries: Sequence[Entry]) -> list[Outcome]:
        self._inside.refuse(blocking=True)
        return self._committer.commit(entries)

    async def commit_async(self, entries: Sequence[Entry]) -> list[Outcome]:
        self._inside.refuse(blocking=False)
        return await self._async_committer.commit(entries)

    def _flush(self, entries: Sequence[Entry]) -> list[Outcome]:
        self._check()
        try:
            connection = PostgresConnection(self._acquired(), self._name, alone=True)
            try:
                return run(self._append_alone(entries), connection)
            finally:
                self._give_back(connection)
        except Unavailable as error:
            if not isinstance(error.__cause__, psycopg.OperationalError) or self._closed:
                raise
        with self._connection(alone=True) as connection:  # it may have been stored: ids tell
            return [*map(_as_stored, entries, run(self.append(entries), connection))]

    async def _flush_async(self, entries: Sequence[Entry]) -> list[Outcome]:
        await self._check_async()
        try:
            async with self._connection_async(alone=True, once=True) as connection:
                return await run_async(self._append_alone(entries), connection)
        except Unavailable as error:
            if not isinstance(error.__cause__, psycopg.OperationalError) or self._closed:
                raise
        async with self._connection_async(alone=True) as connection:
            return [*map(_as_stored, entries, await run_async(self.append(entries), connection))]

    # -- wake-ups between processes ----------------------------------------------------------------------------------

    def relay(self) -> PostgresRelay:
        return PostgresRelay(self.url, f"{self.schema or ''}{self.prefix}", self._ask, self.say)

    def _ask(self, text: str, arguments: tuple[str, ...]) -> None:
        """One statement that belongs to no transaction of anybody's."""
        with self._connection(alone=True) as connection:
            connection.execute(Statement("notify", Query(text, lambda _: arguments), ({},)))

    # -- the tables --------------------------------------------------------------------------------------------------

    def migrations(self) -> list[Migration]:
        return [*migrations("postgres", prefix=self.prefix, schema=self.schema, shards=self.shards)]

    def missing(self) -> list[Migration]:
        with self._inside.entered(blocking=True), self._connection(alone=True) as connection:
            return self.migrations()[len(run(self._steps_made(), connection)) :]

    def migrate(self) -> list[str]:
        """Brings the tables up to date, in one transaction; the names of the steps that were made."""
        with self._inside.entered(blocking=True), self._connection(alone=False) as connection:
            steps = run(self._migrating(), connection)
        self._checked = False
        return steps

    async def migrate_async(self) -> list[str]:
        with self._inside.entered(blocking=False):
            async with self._connection_async(alone=False) as connection:
                steps = await run_async(self._migrating(), connection)
        self._checked = False
        return steps

    def _migrating(self) -> Op[list[str]]:
        """One at a time, whoever else has the same idea."""
        yield self.say("lock migrations", "select pg_advisory_xact_lock(hashtext('{migrations}'))")
        if self.schema:
            yield self.say("make schema", f'create schema if not exists "{self.schema}"')
        done = yield from self._steps_made()
        missing = self.migrations()[len(done) :]
        for step in missing:
            yield Statement(f"migration {step.number}", Query(step.sql, _nothing), ({},))
        return [step.name for step in missing]

    def _steps_made(self) -> Op[list[tuple[int, int]]]:
        ((there,),) = yield self.say("look for tables", "select to_regclass('{migrations}') is not null")
        if not there:
            return []
        return (yield self.say("migrations", "select number, shards from {migrations} order by number"))

    def _check(self) -> None:
        if not self._checked:
            with self._connection(alone=True) as connection:
                self._compare(run(self._steps_made(), connection))

    async def _check_async(self) -> None:
        if not self._checked:
            async with self._connection_async(alone=True) as connection:
                self._compare(await run_async(self._steps_made(), connection))

    def _compare(self, made: Sequence[tuple[int, int]]) -> None:
        """The database's tables and this code belong together."""
        expected = len(self.migrations())
        if len(made) != expected:
            found = f"version {len(made)}" if made else "none"
            newer = "a newer version of Sourced has been here: update this one"
            hint = newer if len(made) > expected else "run app.migrate(), or `sourced migrate`, first"
            raise SchemaMismatch(self._name, expected=f"tables of version {expected}", found=found, hint=hint)
        if made[0][1] != self.shards:
            raise SchemaMismatch(
                self._name, expected=f"{self.shards} shards", found=str(made[0][1]),
                hint=f"their number is fixed when the tables are made: open it with shards={made[0][1]}",
            )  # fmt: skip
        self._checked = True

    # -- what only PostgreSQL says like this -------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        if len(entries) == 1 and entries[0].records:
            (entry,) = entries
            values = of_one_stream(entry, self.shard(entry.stream))
            (((head, *positions),),) = yield self.say("append", APPEND_STREAM, **values)
            if head is not None:
                return [stored(entry, head, positions)]
        return (yield from self._append_each(entries))

    def _append_alone(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        """The same as a transaction by itself, where one message takes but one statement and no function."""
        if not len(entries) == 1 == len(entries[0].records):
            return (yield from self.append(entries))
        (entry,) = entries
        query = self._append_next if entry.expected_seq is None else self._append_at
        found = yield Statement("append", query, (one(entry, self.shard(entry.stream)),))
        if found:
            return [stored(entry, found[0][0], found[0][1:])]
        return (yield from self._append_each(entries))

    def _append_each(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        """Whatever speaks against some of them."""
        if not entries:
            return []
        (answer,) = yield self.say("append", APPEND, **arguments(entries, self.shard))
        doubtful = [entry for entry, code in zip(entries, answer[0], strict=True) if code == DUPLICATE]
        known = (yield from self.known([r.id for entry in doubtful for r in entry.records])) if doubtful else {}
        return outcomes(entries, answer, known)

    @functools.cached_property
    def _append_next(self) -> Query:
        return Query(self.query(APPEND_NEXT).text, _as_they_are)

    @functools.cached_property
    def _append_at(self) -> Query:
        return Query(self.query(APPEND_AT).text, _as_they_are)

    HISTORIES = """
    select {record}, r.n from each(r: stream text, after bigint, upto bigint) cross join lateral (
      select m.* from {messages} m where m.stream = r.stream and m.seq > r.after and m.seq <= r.upto order by m.seq
    ) m order by r.n, m.seq
    """

    def typed_rows(
        self, types: Collection[str], way: str, order: str, also: str, asked: Mapping[str, Any]
    ) -> Statement:
        """Worded so that there is but one way: the planner thinks little of rare types, and would read all the log."""
        text = f"""
        select {{record}} from each(t: name text) cross join lateral (
          select m.* from {{messages}} m
          where (m.type, m.position) {way} (t.name, :after) and m.type {"<=" if way == ">" else ">="} t.name {also}
          order by m.type {order}, m.position {order} limit :limit
        ) m order by m.position {order} limit :limit
        """
        return self.say("read all", text, t=[(name,) for name in types], **asked)

    def claim(
        self, group: str, owner: str, *, now: datetime, until: datetime, limit: int, most: int | None = None
    ) -> Op[Claim]:
        """One statement, and so a transaction by itself."""
        room = limit if most is None else min(limit, most)
        said = self.say("claim", _CLAIM, group=group, owner=owner, now=now, until=until, limit=limit, room=room)
        ((status, start, epoch, reset_at, reason, error, by, at, *leases, due),) = yield said._replace(whole=True)
        if status is None:
            return Claim(Group(group))
        found = Group(group, status, start, epoch, reset_at, reason, error, by, at)
        if leases[0] is None:
            return Claim(found)
        return Claim(found, tuple(map(Lease, *leases)), _read_due(due) if due else ())

    def fence(self, claim: Claim) -> Op[None]:
        """Nobody waits for the answer: where it does not hold, everything that follows fails."""
        yield self.tell(
            "fence",
            """
            select {fence}(cast(:group as text), cast(:epoch as integer), cast(:shards as integer[]),
              cast(:tokens as bigint[]))
            """,
            group=claim.group.name,
            epoch=claim.group.epoch,
            shards=Integers(lease.shard for lease in claim.leases),
            tokens=Bigints(lease.token for lease in claim.leases),
        )

    def reserve(self, streams: Collection[str], group: str | None = None) -> Op[None]:
        """A group's shards first of all: rounds hold theirs before they append."""
        if group is not None:
            yield self.hold_shards(group)._replace(silent=True)
        shards = Integers(sorted({self.shard(stream) for stream in streams}))
        yield self.tell("reserve", "select {lock_shards}(cast(:shards as integer[]))", shards=shards)

    def pending_rows(self, group: str, shares: Sequence[tuple[int, int, int]], types: Collection[str]) -> Statement:
        return self.say("pending", _PENDING, group=group, e=shares, types=types, settled=quoted(group))

    def straggling_rows(self, asked: Sequence[tuple[Straggler, int]], types: Collection[str], limit: int) -> Statement:
        rows = [(each.group, quoted(each.group), each.stream, each.from_seq, upto) for each, upto in asked]
        return self.say("straggling", _STRAGGLING, r=rows, types=types, limit=limit)

    def holds(self, equal: Equal, name: str, values: dict[str, Any]) -> str:
        """By containment, which an index serves whatever the fields: `using gin ((body::jsonb) jsonb_path_ops)`."""
        values[name] = msgspec.json.encode({equal.field: equal.value}).decode()
        held = f"v.body::jsonb @> (:{name}::text)::jsonb"
        if not equal.or_missing:
            return held
        values[f"{name}_field"] = equal.field
        return f"({held} or not v.body::jsonb ? :{name}_field::text)"


_Who: TypeAlias = "tuple[int, asyncio.Task[Any] | None]"  # a thread, and the task that runs in it

_ONE_MOMENT = "set transaction isolation level repeatable read, read only"
_TERMS = r"-c timezone=UTC -c default_transaction_isolation=read\ committed -c jit=off"


_JOINABLE = "a psycopg Connection, or SQLAlchemy's or Django's over psycopg"
_JOINABLE_ASYNC = "a psycopg AsyncConnection, or SQLAlchemy's AsyncConnection or AsyncSession over psycopg"


def _as_they_are(arguments: Any) -> Any:
    """In the order in which the statement numbers them."""
    return arguments


def _nothing(_: Any) -> None:
    """A script takes no arguments; only without any may it hold several statements."""


def _as_stored(entry: Entry, outcome: Outcome) -> Outcome:
    """Of an append that was said twice because the first answer was lost: what is there as a whole was stored by it."""
    if isinstance(outcome, Duplicate) and outcome.ids == tuple(record.id for record in entry.records):
        return outcome.records
    return outcome


def _finished(raw: Any) -> None:
    """Closes a connection of either kind, whatever became of its loop."""
    raw.pgconn.finish()


def _named(url: str) -> str:
    """The database as people call it, without the password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise DefinitionError(
            f"expected a URL such as postgresql://user@host/database, found an unreadable one: {error}"
        ) from error
    place = (
        f"{parts.get('host') or 'localhost'}:{parts['port']}" if parts.get("port") else parts.get("host") or "localhost"
    )
    return f"PostgreSQL {parts.get('dbname') or ''!r} at {place}"


def _on_our_terms(url: str) -> str:
    """The user's own options stay; an append has to see what was committed while it waited for its place."""
    options = f"{conninfo_to_dict(url).get('options') or ''} {_TERMS}".strip()
    return make_conninfo(url, options=options, fallback_application_name="sourced")


class _Inside:
    """Who has a transaction open: a second one, in the middle of it, could wait for the first for ever."""

    def __init__(self) -> None:
        self._open: list[_Who] = []

    @contextlib.contextmanager
    def entered(self, *, blocking: bool) -> Iterator[None]:
        self.refuse(blocking=blocking)
        who = _who()
        self._open.append(who)
        try:
            yield
        finally:
            self._open.remove(who)

    def refuse(self, *, blocking: bool) -> None:
        """To block holds up a whole thread, and with it what any task of it has open."""
        if self._open:
            thread, task = _who()
            if any(there == thread and (blocking or by in (None, task)) for there, by in list(self._open)):
                raise InTransaction()


def _who() -> _Who:
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:
        return threading.get_ident(), None
