"""PostgreSQL, for production: an append is one round trip, and a shard's positions become visible in order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from sourced.errors import DefinitionError, Duplicate, NeedsAwait, SchemaMismatch, Unavailable
from sourced.forks import begin_anew_in_children
from sourced.ops import Op, Statement, run, run_async
from sourced.store import SHARDS, Capabilities, Entry, Outcome
from sourced.stores._borrowed import driver_connection, driver_connection_async, refused
from sourced.stores._committer import AsyncCommitter, Committer
from sourced.stores._pool import AsyncPool, Pool
from sourced.stores._postgres.append import Appends
from sourced.stores._postgres.arrays import teach
from sourced.stores._postgres.borrowed import AsyncBorrowedConnection, BorrowedConnection
from sourced.stores._postgres.connections import AsyncPostgresConnection, PostgresConnection
from sourced.stores._postgres.dialect import PostgresDialect
from sourced.stores._postgres.dialing import Dialing, finished
from sourced.stores._postgres.inside import Inside
from sourced.stores._postgres.relay import PostgresRelay
from sourced.stores._postgres.rounds import Rounds
from sourced.stores._postgres.symptoms import Symptoms
from sourced.stores._sql.dialect import Query
from sourced.stores._sql.migrations import Made, Migration, migrations, refuse_others


class PostgresStore(Symptoms, Appends, Rounds):
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
        self._dialing = Dialing(url, timeout)
        self._name = self._dialing.name
        self._checked = False
        self._closed = False
        self._connections = connections
        self._inside = Inside()
        self._pool = Pool(self._dialing.connect, finished, connections)
        self._async_pool = AsyncPool(self._dialing.connect_async, finished, connections)
        self._committer = Committer(self._flush)
        self._async_committer = AsyncCommitter(self._flush_async)
        begin_anew_in_children(self)

    def forked(self) -> None:
        self._inside = Inside()
        self._pool.forked()
        self._async_pool.forked()
        self._committer = Committer(self._flush)
        self._async_committer = AsyncCommitter(self._flush_async)

    def __repr__(self) -> str:
        return f"PostgresStore({self._name})"

    # -- connections -------------------------------------------------------------------------------------------------

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
        return Unavailable(self._name, f"{busy}; allow more, or hold them for a shorter time", passing=True)

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
        if raw.info.dbname != self._dialing.database:
            raise DefinitionError(
                f"using(connection): expected a connection to {self._name}, found one to {raw.info.dbname!r}"
            )
        if raw.info.transaction_status == TransactionStatus.INERROR:
            raise Unavailable(self._name, "a statement of the transaction that it was to join has failed; roll it back")
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
        done, steps = (yield from self._steps_made()), self.migrations()
        refuse_others(self._name, done, steps, self.shards)
        missing = steps[len(done) :]
        for step in missing:
            yield Statement(f"migration {step.number}", Query(step.sql, _nothing), ({},))
        return [step.name for step in missing]

    def _steps_made(self) -> Op[list[Made]]:
        """Tables that were made before there were fingerprints have no column for them."""
        ((there,),) = yield self.say("look for tables", "select to_regclass('{migrations}') is not null")
        if not there:
            return []
        rows = yield self.say(
            "migrations",
            """
            select m.number, m.shards, coalesce(to_jsonb(m) ->> 'fingerprint', '') from {migrations} m order by m.number
            """,
        )
        return [Made(*row) for row in rows]

    def _check(self) -> None:
        if not self._checked:
            with self._connection(alone=True) as connection:
                self._compare(run(self._steps_made(), connection))

    async def _check_async(self) -> None:
        if not self._checked:
            async with self._connection_async(alone=True) as connection:
                self._compare(await run_async(self._steps_made(), connection))

    def _compare(self, made: Sequence[Made]) -> None:
        """The database's tables and this code belong together."""
        steps = self.migrations()
        refuse_others(self._name, made, steps, self.shards)
        if len(made) < len(steps):
            found = f"version {len(made)}" if made else "none"
            hint = "run app.migrate(), or `sourced migrate`, first"
            raise SchemaMismatch(self._name, expected=f"tables of version {len(steps)}", found=found, hint=hint)
        self._checked = True


_ONE_MOMENT = "set transaction isolation level repeatable read, read only"
_JOINABLE = "a psycopg Connection, or SQLAlchemy's or Django's over psycopg"
_JOINABLE_ASYNC = "a psycopg AsyncConnection, or SQLAlchemy's AsyncConnection or AsyncSession over psycopg"


def _nothing(_: Any) -> None:
    """A script takes no arguments; only without any may it hold several statements."""


def _as_stored(entry: Entry, outcome: Outcome) -> Outcome:
    """Of an append that was said twice because the first answer was lost: what is there as a whole was stored by it."""
    if isinstance(outcome, Duplicate) and outcome.ids == tuple(record.id for record in entry.records):
        return outcome.records
    return outcome
