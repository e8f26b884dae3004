"""SQLite: everything in one file, for one machine; several processes may work on it at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TypeAlias, TypeVar

from sourced.codec import Record
from sourced.errors import DefinitionError, Unavailable
from sourced.forks import begin_anew_in_children, leave_alone
from sourced.ops import Op
from sourced.store import SHARDS, Capabilities, Entry, Outcome, Symptom
from sourced.stores._borrowed import driver_connection, driver_connection_async
from sourced.stores._committer import AsyncCommitter, Committer
from sourced.stores._gate import Gate
from sourced.stores._sql.migrations import Migration, migrations, refuse_others
from sourced.stores._sqlite.append import Appends, stored_at
from sourced.stores._sqlite.borrowed import refuse_autocommit, theirs
from sourced.stores._sqlite.connections import AsyncSqliteConnection, SqliteConnection
from sourced.stores._sqlite.dialect import SqliteDialect
from sourced.stores._sqlite.errors import translated
from sourced.stores._sqlite.reading import Reads
from sourced.stores._sqlite.relay import SqliteRelay
from sourced.stores._sqlite.symptoms import of_log
from sourced.stores._sqlite.tables import make, refuse_without_tables, steps_made

Raw: TypeAlias = sqlite3.Connection
T = TypeVar("T")

OLDEST = (3, 40)
IDLE_READERS = 8


class SqliteStore(Appends, Reads):
    """`SqliteStore("shop.db")`; the tables are made when the file is opened for the first time.

    With `create=False` a file without them is refused, and stays as it is: for whoever only looks.
    """

    capabilities = Capabilities(durable=True, shared=True)

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        timeout: float = 30.0,
        prefix: str = "sourced_",
        shards: int = SHARDS,
        create: bool = True,
    ) -> None:
        super().__init__(SqliteDialect(), prefix=prefix, shards=shards)
        if sqlite3.sqlite_version_info[:2] < OLDEST:
            raise DefinitionError(
                f"expected SQLite 3.40 or newer, found {sqlite3.sqlite_version}; update Python or SQLite"
            )
        if synchronous not in ("NORMAL", "FULL"):
            raise DefinitionError(f"SqliteStore(synchronous=…): expected 'NORMAL' or 'FULL', found {synchronous!r}")
        if str(path) in ("", ":memory:"):
            raise DefinitionError("SqliteStore: expected the path of a file; for a store in memory there is memory://")
        self.path = Path(path)
        self.timeout = timeout
        self.synchronous = synchronous
        self._over = ""  # why it cannot be used any more
        self._gate = Gate()
        self._readers: list[Raw] = []
        self._lock = threading.Lock()
        if not create:
            self._refuse_without_tables()
        self._writer = self._opened(timeout=0)  # who waits for another process's transaction waits in `_begun`
        self._begin_to_commit()
        try:
            self._made = self._install()
        except BaseException:
            self._writer.close()
            raise
        begin_anew_in_children(self)

    def forked(self) -> None:
        """SQLite's own locks are of the parent's process: no connection to this file would be safe here."""
        leave_alone([self._writer, *self._readers])
        self._over = self._over or _FORKED
        self._gate, self._readers, self._lock = Gate(), [], threading.Lock()
        self._begin_to_commit()

    def _begin_to_commit(self) -> None:
        self._committer = Committer(self._flush)
        self._async_committer = AsyncCommitter(self._flush_async)

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    # -- connections

    def _opened(self, timeout: float) -> Raw:
        try:
            raw = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None, check_same_thread=False)
            try:
                raw.execute("pragma journal_mode = wal")
                raw.execute(f"pragma synchronous = {self.synchronous}")
                raw.execute("pragma temp_store = memory")
                raw.execute("pragma cache_size = -32000")
                raw.execute(f"pragma busy_timeout = {int(timeout * 1000)}")
            except BaseException:
                raw.close()
                raise
        except sqlite3.Error as error:
            raise self.translated(error) from error
        return raw

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Raw]:
        with self._lock:
            raw = self._readers.pop() if self._readers else None
        if raw is None:
            self._refuse_closed()
            raw = self._opened(self.timeout)
            raw.execute("pragma query_only = true")
        try:
            raw.execute("begin")
            yield raw
        finally:
            if raw.in_transaction:
                raw.execute("rollback")
            with self._lock:
                kept = not self._over and len(self._readers) < IDLE_READERS
                if kept:
                    self._readers.append(raw)
            if not kept:
                raw.close()

    def _refuse_closed(self) -> None:
        if self._over:
            raise Unavailable(repr(self), self._over)

    def close(self) -> None:
        with self._lock:
            readers, self._readers, forked = self._readers, [], self._over == _FORKED
            self._over = self._over or _CLOSED
        for raw in readers:
            raw.close()
        if not forked:
            self._writer.close()

    # -- transactions

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[SqliteConnection]:
        if reading:
            self._gate.refuse_holder()
            with self._reader() as raw:
                yield SqliteConnection(raw, self.translated)
            return
        with self._gate:
            for pause in self._begun(self._writer):
                threading.Event().wait(pause)
            with self._ended():
                yield SqliteConnection(self._writer, self.translated)

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading: bool = False) -> AsyncIterator[AsyncSqliteConnection]:
        """On the loop's own thread: a statement takes less time than a thread takes to hand over."""
        if reading:
            self._gate.refuse_holder()
            with self._reader() as raw:
                yield AsyncSqliteConnection(raw, self.translated)
            return
        async with self._gate:
            for pause in self._begun(self._writer):
                await asyncio.sleep(pause)
            with self._ended():
                yield AsyncSqliteConnection(self._writer, self.translated)

    def _begun(self, raw: Raw, how: str = "begin immediate") -> Iterator[float]:
        """Begins a transaction; while another process has one open it yields how long to wait before the next try."""
        yield from self._tried(raw, how)

    def _tried(self, raw: Raw, text: str, values: Sequence[Any] = ()) -> Generator[float, None, sqlite3.Cursor]:
        self._refuse_closed()
        started, pause = 0.0, 0.0005
        while True:
            try:
                return raw.execute(text, values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_BUSY_SNAPSHOT:
                    raise Unavailable(repr(self), _OUTDATED) from error
                started = started or monotonic()
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() - started > self.timeout:
                    raise self.translated(error) from error
            except sqlite3.Error as error:
                raise self.translated(error) from error
            yield pause * (0.5 + random.random())
            pause = min(pause * 1.5, 0.02)

    @contextlib.contextmanager
    def _ended(self) -> Iterator[None]:
        try:
            yield
            self._refuse_closed()
            if not self._writer.in_transaction:
                raise Unavailable(repr(self), "the transaction was ended by code that it was handed to", unsure=True)
            self._writer.execute("commit")
        finally:
            if not self._over and self._writer.in_transaction:
                self._writer.execute("rollback")

    # -- the caller's own transaction

    def joined(self, connection: object, *, reading: bool) -> SqliteConnection:
        """Who writes takes the write lock first: begun without it, what was read may be outdated before he gets it."""
        self._gate.refuse_holder()
        raw = theirs(self.path, connection, driver_connection(connection))
        if not reading:
            refuse_autocommit(raw)
            with contextlib.nullcontext() if raw.in_transaction else self._gate:
                for pause in self._locked(raw):
                    threading.Event().wait(pause)
        return SqliteConnection(raw, self.translated)

    async def joined_async(self, connection: object, *, reading: bool) -> AsyncSqliteConnection:
        self._gate.refuse_holder()
        raw = theirs(self.path, connection, await driver_connection_async(connection))
        if not reading:
            refuse_autocommit(raw)
            async with contextlib.nullcontext() if raw.in_transaction else self._gate:
                for pause in self._locked(raw):
                    await asyncio.sleep(pause)
        return AsyncSqliteConnection(raw, self.translated)

    def _locked(self, raw: Raw) -> Iterator[float]:
        return self._begun(raw, self.query(_TAKE_THE_LOCK).text if raw.in_transaction else "begin immediate")

    def translated(self, error: sqlite3.Error) -> Exception:
        return translated(error, repr(self), over=self._over, timeout=self.timeout)

    def symptoms(self, now: Callable[[], datetime]) -> Op[list[Symptom]]:
        yield from ()
        return of_log(self.path)

    # -- wake-ups between processes

    def relay(self) -> SqliteRelay:
        return SqliteRelay(self, self.path, lambda: self._opened(self.timeout))

    # -- commits that share a transaction

    def commit(self, entries: Sequence[Entry]) -> list[Outcome]:
        self._gate.refuse_holder(blocking=True)
        return self._committer.commit(entries)

    async def commit_async(self, entries: Sequence[Entry]) -> list[Outcome]:
        self._gate.refuse_holder()
        return await self._async_committer.commit(entries)

    def _flush(self, entries: Sequence[Entry]) -> list[Outcome]:
        if len(entries) == 1 == len(entries[0].records):
            with self._gate:
                stored = _through(self._stored_alone(entries[0]))
            if stored is not None:
                return [(stored,)]
        return self.transact(self.append(entries))

    async def _flush_async(self, entries: Sequence[Entry]) -> list[Outcome]:
        if len(entries) == 1 == len(entries[0].records):
            async with self._gate:
                stored = await _through_async(self._stored_alone(entries[0]))
            if stored is not None:
                return [(stored,)]
        return await self.transact_async(self.append(entries))

    def _stored_alone(self, entry: Entry) -> Generator[float, None, Record | None]:
        (record,), head = entry.records, entry.expected_seq
        if head is None:
            ((head,),) = yield from self._tried(self._writer, *self._head(entry.stream))
        cursor = yield from self._tried(self._writer, *self._alone(record, head))
        return stored_at(record, head + 1, cursor.lastrowid or 0) if cursor.rowcount else None

    # -- the tables

    def migrations(self) -> list[Migration]:
        return [*migrations("sqlite", prefix=self.prefix, schema=None, shards=self.shards)]

    def migrate(self) -> list[str]:
        """What was missing was made when the file was opened; who asks is told once."""
        made, self._made = self._made, []
        return made

    async def migrate_async(self) -> list[str]:
        return self.migrate()

    def _refuse_without_tables(self) -> None:
        try:
            refuse_without_tables(repr(self), self.path, f"{self.prefix}migrations", self.migrations())
        except sqlite3.Error as error:
            raise self.translated(error) from error

    def _install(self) -> list[str]:
        """Makes what is missing; where nothing is, nobody who writes to the file is waited for."""
        steps = self.migrations()
        if self._missing(steps, lambda *said: _through(self._tried(self._writer, *said))):
            with self.transaction() as connection:
                missing = self._missing(steps, connection.tx.execute)
                make(connection.tx, missing)
                return [step.name for step in missing]
        return []

    def _missing(self, steps: Sequence[Migration], execute: Callable[..., sqlite3.Cursor]) -> Sequence[Migration]:
        made = steps_made(execute, f"{self.prefix}migrations")
        refuse_others(repr(self), made, steps, self.shards)
        return steps[len(made) :]


_FORKED = (
    "it was opened before this process was forked, and SQLite does not allow for that; make the app after the fork"
)
_CLOSED = "this store was closed; open it anew"
_OUTDATED = "since this transaction began to read somebody else has written; roll it back, begin with `begin immediate`"
_TAKE_THE_LOCK = "delete from {migrations} where 0"  # changes nothing, and waits for who writes


def _through(tries: Generator[float, None, T]) -> T:
    try:
        while True:
            pause = next(tries)
            threading.Event().wait(pause)
    except StopIteration as done:
        return done.value


async def _through_async(tries: Generator[float, None, T]) -> T:
    try:
        while True:  # noqa: ASYNC110  (it is another process that has to come to its end)
            await asyncio.sleep(next(tries))
    except StopIteration as done:
        return done.value
