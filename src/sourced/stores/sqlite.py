"""SQLite: everything in one file, for one machine; several processes may work on it at once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from sourced.codec import Record
from sourced.errors import Conflict, DefinitionError, Duplicate, SchemaMismatch, Unavailable
from sourced.forks import begin_anew_in_children, leave_alone
from sourced.notifier import Hearing, Types
from sourced.ops import RELEASE, ROLLBACK, SAVEPOINT, Op, Statement, finish, finish_async
from sourced.store import SHARDS, Capabilities, Entry, Equal, Outcome, Straggler
from sourced.stores._borrowed import driver_connection, driver_connection_async, refused
from sourced.stores._committer import AsyncCommitter, Committer
from sourced.stores._gate import Gate
from sourced.stores._sql import SqlStore
from sourced.stores._sql.dialect import COLUMNS, Arguments, Query, Rows, lists_as, own_values, rows_as
from sourced.stores._sql.migrations import Migration, migrations
from sourced.stores._sql.rounds import WANTED, WINDOW, quoted

Raw: TypeAlias = sqlite3.Connection
T = TypeVar("T")

OLDEST = (3, 40)
IDLE_READERS = 8
LOOK = 0.02  # seconds between looks for what other processes have committed
KEPT = 10_000  # notes that are not yet forgotten

_json = msgspec.json.Encoder().encode


class SqliteStore(SqlStore):
    """`SqliteStore("shop.db")`; the tables are made when the file is opened for the first time."""

    capabilities = Capabilities(durable=True, shared=True)

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        timeout: float = 30.0,
        prefix: str = "sourced_",
        shards: int = SHARDS,
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
        self._writer = self._opened(timeout=0)  # who waits for another process's transaction waits in `_begun`
        self._begin_to_commit()
        try:
            self._install()
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
                yield SqliteConnection(raw, self)
            return
        with self._gate:
            for pause in self._begun(self._writer):
                threading.Event().wait(pause)
            with self._ended():
                yield SqliteConnection(self._writer, self)

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading: bool = False) -> AsyncIterator[AsyncSqliteConnection]:
        """On the loop's own thread: a statement takes less time than a thread takes to hand over."""
        if reading:
            self._gate.refuse_holder()
            with self._reader() as raw:
                yield AsyncSqliteConnection(raw, self)
            return
        async with self._gate:
            for pause in self._begun(self._writer):
                await asyncio.sleep(pause)
            with self._ended():
                yield AsyncSqliteConnection(self._writer, self)

    def _begun(self, raw: Raw, how: str = "begin immediate") -> Iterator[float]:
        """Begins a transaction; while another process has one open it yields how long to wait before the next try."""
        yield from self._tried(raw, how)

    def _tried(self, raw: Raw, text: str, values: Sequence[Any] = ()) -> Generator[float, None, list[Any]]:
        self._refuse_closed()
        started, pause = 0.0, 0.0005
        while True:
            try:
                return raw.execute(text, values).fetchall()
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
        raw = self._theirs(connection, driver_connection(connection))
        if not reading:
            with contextlib.nullcontext() if raw.in_transaction else self._gate:
                for pause in self._locked(raw):
                    threading.Event().wait(pause)
        return SqliteConnection(raw, self)

    async def joined_async(self, connection: object, *, reading: bool) -> AsyncSqliteConnection:
        self._gate.refuse_holder()
        raw = self._theirs(connection, await driver_connection_async(connection))
        if not reading:
            async with contextlib.nullcontext() if raw.in_transaction else self._gate:
                for pause in self._locked(raw):
                    await asyncio.sleep(pause)
        return AsyncSqliteConnection(raw, self)

    def _locked(self, raw: Raw) -> Iterator[float]:
        return self._begun(raw, self.query(_TAKE_THE_LOCK).text if raw.in_transaction else "begin immediate")

    def _theirs(self, connection: object, raw: object) -> Raw:
        if not isinstance(raw, sqlite3.Connection):
            raise refused(connection, raw, _JOINABLE)
        if raw.text_factory is not str:
            raise DefinitionError(
                f"using(connection): expected one whose text_factory is str, found {raw.text_factory!r}"
            )
        cursor = raw.cursor()
        cursor.row_factory = None
        files = {name: file for _, name, file in cursor.execute("pragma database_list")}
        if not files["main"] or not self.path.exists() or not self.path.samefile(files["main"]):
            found = repr(files["main"]) if files["main"] else "a database in memory"
            raise DefinitionError(
                f"using(connection): expected a connection to {str(self.path)!r}, found one to {found}"
            )
        return raw

    def translated(self, error: sqlite3.Error) -> Exception:
        if self._over and isinstance(error, sqlite3.ProgrammingError):
            return Unavailable(repr(self), self._over)
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unavailable(repr(self), f"another process has kept it locked for {self.timeout:g} s")
        if code == sqlite3.SQLITE_READONLY:
            return Unavailable(repr(self), f"the file, or its folder, may not be written to ({error})")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return Unavailable(repr(self), str(error))
        return error

    # -- wake-ups between processes

    def relay(self) -> SqliteRelay:
        return SqliteRelay(self)

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
                rows = _through(self._tried(self._writer, *self._alone(entries[0])))
            if rows:
                return [(_placed(entries[0].records[0], *rows[0]),)]
        return self.transact(self.append(entries))

    async def _flush_async(self, entries: Sequence[Entry]) -> list[Outcome]:
        if len(entries) == 1 == len(entries[0].records):
            async with self._gate:
                rows = await _through_async(self._tried(self._writer, *self._alone(entries[0])))
            if rows:
                return [(_placed(entries[0].records[0], *rows[0]),)]
        return await self.transact_async(self.append(entries))

    def _alone(self, entry: Entry) -> tuple[str, tuple[Any, ...]]:
        """One message is one statement, and a transaction by itself; no row when anything speaks against it."""
        stream, *values, created_at, settled_by = own_values(entry.records[0])
        placed = (stream, self.shard(stream), *values, iso(created_at), settled_by, entry.expected_seq)
        return self.query(_APPEND_ONE).text, placed

    # -- the tables

    def migrations(self) -> list[Migration]:
        return [*migrations("sqlite", prefix=self.prefix, schema=None, shards=self.shards)]

    def _install(self) -> None:
        steps = self.migrations()
        with self.transaction() as connection:
            raw = connection.tx
            table = f"{self.prefix}migrations"
            there = raw.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone()
            known = raw.execute(f'select number, shards from "{table}" order by number').fetchall() if there else []
            if known and known[-1][0] > len(steps):
                raise SchemaMismatch(
                    repr(self), expected=f"tables of version {len(steps)} or older", found=f"version {known[-1][0]}",
                    hint="a newer version of Sourced has been here: update this one",
                )  # fmt: skip
            if known and known[0][1] != self.shards:
                raise SchemaMismatch(
                    repr(self), expected=f"{self.shards} shards", found=f"{known[0][1]}",
                    hint=f"their number is fixed when the tables are made: open it with shards={known[0][1]}",
                )  # fmt: skip
            for step in steps[len(known) :]:
                for statement in _statements(step.sql):
                    raw.execute(statement)

    # -- what only SQLite says like this

    HISTORIES = """
    select {record}, r.n from each(r: stream text, after bigint, upto bigint) cross join {messages} m
    where m.stream = r.stream and m.seq > r.after and m.seq <= r.upto order by r.n, m.seq
    """

    def append(self, entries: Sequence[Entry]) -> Op[list[Outcome]]:
        return (yield Statement("append", self._append, (entries,)))

    def _append(self, raw: Raw, entries: Sequence[Entry]) -> list[Outcome]:
        """Hardly ever does anything speak against it, so ids are looked up only when something did."""
        ((last,),) = raw.execute(self.query("select coalesce(max(m.position), 0) from {messages} m").text)
        outcomes, rows = self._places(raw, last, entries, {})
        if len(rows) < sum(len(entry.records) for entry in entries) or not self._inserted(raw, last, rows):
            known = self._known(raw, [record.id for entry in entries for record in entry.records])
            outcomes, rows = self._places(raw, last, entries, known)
            raw.executemany(self.query(_INSERT).text, rows)
        return outcomes

    def _inserted(self, raw: Raw, last: int, rows: Sequence[tuple[Any, ...]]) -> bool:
        """All of them, or none because an id is there already."""
        try:
            raw.executemany(self.query(_INSERT).text, rows)
        except sqlite3.IntegrityError:
            raw.execute(self.query("delete from {messages} where position > ?").text, (last,))  # nobody else's
            return False
        return True

    def _places(
        self, raw: Raw, position: int, entries: Sequence[Entry], known: dict[str, Record]
    ) -> tuple[list[Outcome], list[tuple[Any, ...]]]:
        """What becomes of each entry, and the rows to store; nobody else writes meanwhile."""
        heads = {stream: seq or 0 for stream, seq in self._heads(raw, {entry.stream for entry in entries})}
        rows: list[tuple[Any, ...]] = []
        outcomes: list[Outcome] = []
        for entry in entries:
            head = heads[entry.stream]
            there = [known[record.id] for record in entry.records if record.id in known]
            if there:
                outcomes.append(Duplicate([record.id for record in there], there))
            elif entry.expected_seq not in (None, head) and self._in_the_way(raw, entry, head, rows):
                outcomes.append(Conflict(entry.stream, expected=entry.expected_seq or 0, actual=head))
            else:
                shard, stored = self.shard(entry.stream), []
                for record in entry.records:
                    head, position = head + 1, position + 1
                    placed = _placed(record, head, position)
                    known[record.id] = placed
                    stored.append(placed)
                    rows.append(_row(placed, shard))
                heads[entry.stream] = head
                outcomes.append(tuple(stored))
        return outcomes, rows

    def _heads(self, raw: Raw, streams: Collection[str]) -> Iterator[tuple[str, int | None]]:
        text = self.query("select max(m.seq) from {messages} m where m.stream = ?").text
        for stream in streams:
            yield stream, raw.execute(text, (stream,)).fetchone()[0]

    def _known(self, raw: Raw, ids: Sequence[str]) -> dict[str, Record]:
        text = self.query("select {record} from {messages} m where m.id in (select value from json_each(?))").text
        rows = raw.execute(text, (_json(ids).decode(),)).fetchall()
        return {record.id: record for record in self.records(rows)}

    def _in_the_way(self, raw: Raw, entry: Entry, head: int, rows: Sequence[tuple[Any, ...]]) -> bool:
        """Whether anything of what came after the expected seq matters, in the log or just now in this batch."""
        expected = entry.expected_seq or 0
        if entry.heeds is None or head < expected:
            return True
        text = self.query("select m.type from {messages} m where m.stream = ? and m.seq > ?").text
        between = {type for (type,) in raw.execute(text, (entry.stream, expected))}
        between |= {row[5] for row in rows if row[2] == entry.stream and row[3] > expected}
        return not between.isdisjoint(entry.heeds)

    def pending_rows(self, group: str, shares: Sequence[tuple[int, int, int]], types: Collection[str]) -> Statement:
        return Statement("pending", self._pending, (group, shares, types))

    def typed_rows(
        self, types: Collection[str], way: str, order: str, also: str, asked: Mapping[str, Any]
    ) -> Statement:
        text = f"""
        select {{record}} from {{messages}} m where m.type = :type and m.position {way} :after {also}
        order by m.position {order} limit :limit
        """
        return Statement("read all", self._typed, (types, text, order, asked))

    def _typed(
        self, raw: Raw, types: Collection[str], text: str, order: str, asked: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        said, bind = self.query(text)
        found = [row for type in types for row in raw.execute(said, bind({**asked, "type": type}))]
        found.sort(key=lambda row: row[3], reverse=order == "desc")
        return found[: asked["limit"]]

    def straggling_rows(self, asked: Sequence[tuple[Straggler, int]], types: Collection[str], limit: int) -> Statement:
        return Statement("straggling", self._straggling, (asked, types, limit))

    def _straggling(
        self, raw: Raw, asked: Sequence[tuple[Straggler, int]], types: Collection[str], limit: int
    ) -> list[tuple[Any, ...]]:
        text, bind = self.query(_STRAGGLING)
        rows: list[tuple[Any, ...]] = []
        for number, (each, upto) in enumerate(asked, 1):
            place = {"stream": each.stream, "from_seq": each.from_seq, "upto": upto, "limit": limit}
            group = {"group": each.group, "settled": quoted(each.group), "types": types}
            rows += [(*row, number) for row in raw.execute(text, bind({**place, **group}))]
        return rows

    def _pending(
        self, raw: Raw, group: str, shares: Sequence[tuple[int, int, int]], types: Collection[str]
    ) -> Iterator[tuple[Any, ...]]:
        ((reset_at,),) = raw.execute(self.query("select reset_at from {groups} where name = ?").text, (group,))
        tail = self.query("select max(m.position) from {messages} m where m.shard = ?").text
        text, bind = self.query(_PENDING)
        common = {"types": types, "group": group, "settled": quoted(group), "reset_at": reset_at}
        rows: list[tuple[Any, ...]] = []
        for shard, checkpoint, share in shares:
            last = raw.execute(tail, (shard,)).fetchone()[0] or checkpoint
            upto = min(last, checkpoint + WINDOW)
            there = {"shard": shard, "checkpoint": checkpoint, "upto": upto, "limit": share}
            found = raw.execute(text, bind({**common, **there})).fetchall() if upto > checkpoint else []
            rows += [(shard, upto, *row) for row in found] or [(shard, upto, *_NOTHING)]
        return iter(rows)

    def holds(self, equal: Equal, name: str, values: dict[str, Any]) -> str:
        values[name], field = equal.value, f"{name}_field"
        values[field] = f'$."{equal.field}"'
        kind = f"json_type(v.body, :{field})"
        if equal.value is None or isinstance(equal.value, bool):
            values[name] = {None: "null", True: "true", False: "false"}[equal.value]
            held = f"{kind} = :{name}"
        else:
            kinds = "'text'" if isinstance(equal.value, str) else "'integer', 'real'"
            held = f"({kind} in ({kinds}) and json_extract(v.body, :{field}) = :{name})"
        return f"({held} or {kind} is null)" if equal.or_missing else held


_FORKED = (
    "it was opened before this process was forked, and SQLite does not allow for that; make the app after the fork"
)
_CLOSED = "this store was closed; open it anew"
_JOINABLE = "a sqlite3 Connection, or SQLAlchemy's or Django's over sqlite3 (aiosqlite lives in a thread of its own)"
_OUTDATED = "since this transaction began to read somebody else has written; roll it back, begin with `begin immediate`"
_STORED_SINCE = "select max(m.position), m.type from {messages} m where m.position > ? group by m.type"
_TAKE_THE_LOCK = "delete from {migrations} where 0"  # changes nothing, and waits for who writes

_NOTHING = (None,) * len(COLUMNS)
_INSERT = """
insert into {messages} (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
  correlation_id, created_at, settled_by) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# Refused as a whole when the id is stored already, or when there is no seq for it because another one was expected.
# As `insert … select` it would take twice as long.
_APPEND_ONE = """
insert or ignore into {messages} (position, shard, stream, seq, id, type, version, payload, metadata, causation_id,
  correlation_id, created_at, settled_by)
values ((select coalesce(max(p.position), 0) + 1 from {messages} p), ?2, ?1, (
    select case when ?12 is null or ?12 = coalesce(max(t.seq), 0) then coalesce(max(t.seq), 0) + 1 end
    from {messages} t where t.stream = ?1),
  ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
returning seq, position
"""
_PENDING = f"""
select {{record}} from {{messages}} m
where m.shard = :shard and m.position > :checkpoint and m.position <= :upto and {WANTED}
  and not exists (select 1 from {{stragglers}} s where s.group_name = :group and s.stream = m.stream)
order by m.position limit :limit
"""
_STRAGGLING = f"""
select {{record}} from {{groups}} g join {{messages}} m
where g.name = :group and m.stream = :stream and m.seq >= :from_seq and m.position > g.start and m.position <= :upto
  and {WANTED.replace(":reset_at", "g.reset_at")} order by m.seq limit :limit
"""


class SqliteDialect:
    """Lists and rows are handed over as JSON, times as text that sorts."""

    words: Mapping[str, str] = {"greatest": "max", "instr": "instr", "lock": "", "share": "", "skip_locked": ""}

    def query(self, text: str, lists: Collection[str], rows: Rows) -> Query:
        def table(name: str) -> str:
            columns = ", ".join(f"value ->> {at} as {column}" for at, (column, _) in enumerate(rows[name]))
            return f"(select {columns}, key + 1 as n from json_each(:{name})) as {name}"

        times = {
            name: [at for at, (_, kind) in enumerate(columns) if kind == "timestamptz"]
            for name, columns in rows.items()
        }

        def bind(arguments: Arguments) -> dict[str, Any]:
            bound: dict[str, Any] = {}
            for name, value in arguments.items():
                if name in rows:
                    bound[name] = _json([_timed(row, times[name]) for row in value]).decode()
                elif name in lists:
                    bound[name] = _json(list(value)).decode()
                else:
                    bound[name] = iso(value) if isinstance(value, datetime) else value
            return bound

        whole = lists_as(text, lambda name: f"in (select value from json_each(:{name}))")
        return Query(rows_as(whole, table), bind)

    def time(self, value: Any) -> datetime:
        return datetime.fromisoformat(value)


class SqliteRelay:
    """SQLite counts what other connections have committed; looking at the counter costs next to nothing."""

    silent = True

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def tell(self, types: Types = None) -> None:
        """They look by themselves."""

    def rouse(self) -> None:
        """It looks often enough."""

    def say(self, channel: str, text: str) -> Op[None]:
        """Notes are kept until some thousand more have come: whoever hears looks far more often."""
        say = self._store.say
        yield say("say", "insert into {notes} (channel, data) values (:channel, :data)", channel=channel, data=text)
        yield say("forget", "delete from {notes} where id <= (select max(id) from {notes}) - :kept", kept=KEPT)

    def hear(self, hearing: Hearing, deaf: threading.Event) -> None:
        """Most commits store no message: checkpoints, signs of life. What does is looked at for the types of it."""
        look = self._store.query("select id, channel, data from {notes} where id > ? order by id").text
        what = self._store.query(_STORED_SINCE).text
        come = self._store.query("select coalesce(max(m.position), 0) from {messages} m").text
        end = self._store.query("select coalesce(max(id), 0) from {notes}").text
        with contextlib.closing(self._store._opened(self._store.timeout)) as raw, contextlib.suppress(sqlite3.Error):
            ((known,),) = raw.execute("pragma data_version")
            ((last,),) = raw.execute(end)
            ((position,),) = raw.execute(come)
            hearing.news()
            while not deaf.wait(LOOK):
                ((version,),) = raw.execute("pragma data_version")
                if version == known:
                    continue
                known = version
                for number, channel, text in raw.execute(look, (last,)).fetchall():
                    if number > last + 1:
                        hearing.lapse()
                    last = number
                    hearing.note(channel, text)
                stored = raw.execute(what, (position,)).fetchall()
                position = max((position, *(each for each, _ in stored)))
                hearing.news({name for _, name in stored})


class SqliteConnection:
    """An open transaction; `tx` is the `sqlite3` connection."""

    def __init__(self, raw: Raw, store: SqliteStore) -> None:
        self.tx = raw
        self._plain: Any = raw if raw.row_factory is None else _Plain(raw)
        self._store = store
        self._depth = 0

    def execute(self, statement: Statement) -> Any:
        body = statement.body
        try:
            if isinstance(body, Query):
                cursor = self.tx.cursor()
                cursor.row_factory = None  # whatever the owner of the connection likes
                return cursor.execute(body.text, body.bind(statement.args[0])).fetchall()
            if body is not None:
                return body(self._plain, *statement.args)
            return self._mark(statement)
        except sqlite3.Error as error:
            raise self._store.translated(error) from error

    def call(self, work: Callable[[Any], Any]) -> Any:
        return finish(work(self.tx))

    def _mark(self, statement: Statement) -> None:
        if statement == SAVEPOINT:
            self._depth += 1
            self.tx.execute(f"savepoint sourced_{self._depth}")
        elif statement in (RELEASE, ROLLBACK):
            if statement == ROLLBACK:
                self.tx.execute(f"rollback to savepoint sourced_{self._depth}")
            self.tx.execute(f"release savepoint sourced_{self._depth}")
            self._depth -= 1


class _Plain:
    """A connection whose owner likes other rows than tuples."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def execute(self, *args: Any) -> sqlite3.Cursor:
        return self._cursor().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        return self._cursor().executemany(*args)

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self._raw.cursor()
        cursor.row_factory = None
        return cursor


class AsyncSqliteConnection(SqliteConnection):
    """The same for callers that await."""

    async def execute(self, statement: Statement) -> Any:
        return super().execute(statement)

    async def call(self, work: Callable[[Any], Any]) -> Any:
        return await finish_async(work(self.tx))


def _through(tries: Generator[float, None, T]) -> T:
    try:
        while True:
            threading.Event().wait(next(tries))
    except StopIteration as done:
        return done.value


async def _through_async(tries: Generator[float, None, T]) -> T:
    try:
        while True:  # noqa: ASYNC110  (it is another process that has to come to its end)
            await asyncio.sleep(next(tries))
    except StopIteration as done:
        return done.value


def iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _timed(row: Sequence[Any], times: Sequence[int]) -> Sequence[Any]:
    if not times:
        return row
    return [iso(value) if at in times and value is not None else value for at, value in enumerate(row)]


def _placed(record: Record, seq: int, position: int) -> Record:
    return Record(
        record.id, record.stream, seq, position, record.type, record.version, record.payload, record.metadata,
        record.causation_id, record.correlation_id, record.created_at, record.settled_by,
    )  # fmt: skip


def _row(record: Record, shard: int) -> tuple[Any, ...]:
    stream, *values, created_at, settled_by = own_values(record)
    return (record.position, shard, stream, record.seq, *values, iso(created_at), settled_by)


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
