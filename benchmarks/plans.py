"""Prints what becomes of every statement when the log is long: how long it takes, and whether it reads the whole."""

from __future__ import annotations

import argparse
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from benchmarks.driver import row
from benchmarks.places import Place, postgres_place, sqlite_place
from sourced.codec import Record
from sourced.ids import new_id
from sourced.ops import Op, run, savepoint
from sourced.store import Entry, Range, Scheduled, Snapshot, Store, Straggler, shard_of
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore

TIMES = 5
GROUP = "tallies"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
COMMON, RARE = frozenset({"item_added"}), frozenset({"cart_sunk"})


class Undone(Exception):
    """What was done to find out how long it takes."""


class Log(NamedTuple):
    """A long one: streams take turns, and each message is a second younger than the one before."""

    messages: int
    streams: int

    def stream(self, number: int) -> str:
        return f"cart-{number % self.streams}"

    def at(self, position: int) -> datetime:
        return NOON + timedelta(seconds=position)

    def id(self, position: int) -> str:
        return f"{position:032x}"

    def rows(self) -> Iterator[tuple[Any, ...]]:
        shards = [shard_of(self.stream(number)) for number in range(self.streams)]
        for number in range(self.messages):
            seq, position = number // self.streams + 1, number + 1
            _, _, _, type, version, payload, metadata, *_ = row(number, seq, None)
            story = self.id(position - position % 5)
            yield (
                position, shards[number % self.streams], self.stream(number), seq, self.id(position), type, version,
                payload, metadata, self.id(max(1, position - 1)), story, self.at(position), "",
            )  # fmt: skip


COLUMNS = (
    "position, shard, stream, seq, id, type, version, payload, metadata, causation_id, correlation_id, created_at, "
    "settled_by"
)


# -- what is asked -----------------------------------------------------------------------------------------------------


def questions(store: Store, log: Log) -> dict[str, Callable[[], Op[Any]]]:
    """Everything rounds and readers ask of a store, with a group that is half way through."""
    now, later = log.at(log.messages + 1), log.at(log.messages + 31)
    half, last = log.messages // 2, log.messages

    def record(number: int) -> Record:
        new = new_id()
        return Record(new, log.stream(number), 0, 0, "item_added", 1, "{}", "{}", new, new, now)

    def entry(number: int, count: int = 1) -> Entry:
        records = tuple(record(number) for _ in range(count))
        return Entry(log.stream(number), records, (last - number - 1) // log.streams + 1)

    def claim() -> Op[Any]:
        return store.claim(GROUP, "worker", now=now, until=later, limit=500)

    def pending(types: frozenset[str]) -> Op[Any]:
        found = yield from claim()
        return (yield from store.pending(GROUP, found.leases, types, 500))

    def settle() -> Op[Any]:
        found = yield from claim()
        yield from store.fence(found)
        yield from store.settle(GROUP, [], release=True)

    def straggling() -> Op[Any]:
        waiting = [Straggler(GROUP, log.stream(number), 1) for number in range(100)]
        return store.straggling(waiting, COMMON, dict.fromkeys(range(store.shards), last), 10)

    return {
        "append 1": lambda: store.append([entry(0)]),
        "append 10 to one stream": lambda: store.append([entry(1, 10)]),
        "append 500 to 500 streams": lambda: store.append([entry(number) for number in range(500)]),
        "append what is stored": lambda: store.append([Entry(log.stream(0), (_known(log),))]),
        "claim": claim,
        "claim, nothing to do": lambda: store.claim("idle", "worker", now=now, until=later, limit=500),
        "claim and pending": lambda: pending(COMMON),
        "claim and pending, none wanted": lambda: pending(RARE),
        "claim, fence, settle": settle,
        "straggling, 100 streams": straggling,
        "history of a stream": lambda: store.histories([Range(log.stream(7))]),
        "histories of 500 streams": lambda: store.histories([Range(log.stream(n), 2) for n in range(500)]),
        "snapshots of 500 streams": lambda: store.snapshots(GROUP, [log.stream(n) for n in range(500)]),
        "read 100": lambda: store.read_all(after=half, limit=100),
        "read 100 backwards": lambda: store.read_all(limit=100, backwards=True),
        "read 100 of a type": lambda: store.read_all(after=half, limit=100, types=COMMON),
        "read 100 of a rare type": lambda: store.read_all(limit=100, types=RARE),
        "read 100 of a rare type backwards": lambda: store.read_all(limit=100, types=RARE, backwards=True),
        "read 100 since": lambda: store.read_all(since=log.at(last - 1000), limit=100),
        "read 100 until, backwards": lambda: store.read_all(until=log.at(1000), limit=100, backwards=True),
        "trace": lambda: store.trace(log.id(half)),
        "streams": lambda: store.streams(10),
        "extent": store.extent,
        "count what is behind": lambda: store.count(after=last - 10_000),
        "count a rare type": lambda: store.count(types=RARE),
        "progress": lambda: store.progress(GROUP),
        "register from a time": lambda: store.register(f"new-{new_id()}", log.at(half)),
        "reset": lambda: store.reset(GROUP),
        "promote": lambda: store.promote(now),
    }


def _known(log: Log) -> Record:
    id = log.id(5)
    return Record(id, log.stream(0), 0, 0, "item_added", 1, "{}", "{}", id, id, NOON)


def prepare(store: Store, log: Log) -> Op[None]:
    """A group that has come half way, one that is through, streams that wait, a schedule, snapshots."""
    yield from store.register(GROUP, log.at(log.messages // 2))
    yield from store.register("idle", "now")
    waiting = [Straggler(GROUP, log.stream(n), 3, parked=n % 10 != 0) for n in range(min(500, log.streams))]
    yield from store.straggle(waiting)
    for number in range(min(200, log.streams)):
        yield from store.save_snapshot(Snapshot(GROUP, log.stream(number), 2, "{}", "v1"))
    records = [Record(new_id(), "later", 0, 0, "item_added", 1, "{}", "{}", "x", "x", NOON) for _ in range(1_000)]
    yield from store.schedule([Scheduled(each, log.at(n * 10 * log.messages)) for n, each in enumerate(records)])


# -- how it is answered ------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    milliseconds: float
    faults: Sequence[str]  # what it does that takes longer the longer the log is


class Plans(Protocol):
    """A database's own account of how it carries statements out."""

    def listen(self) -> None: ...
    def faults(self) -> Iterator[str]:
        """What was said since."""
        ...


def asked(store: Store, op: Callable[[], Op[Any]], plans: Plans) -> Answer:
    """In transactions that are undone: the median of a few times, and once more to be told how it is done."""
    took = [_undone(store, op) for _ in range(TIMES)]
    plans.listen()
    _undone(store, op)
    return Answer(median(took) * 1000, [*dict.fromkeys(plans.faults())])


def _undone(store: Store, op: Callable[[], Op[Any]]) -> float:
    took = 0.0
    try:
        with store.transaction() as connection:
            begun = perf_counter()
            run(savepoint(op()), connection)
            took = perf_counter() - begun
            raise Undone
    except Undone:
        return took


class PostgresPlans:
    """The server tells of every plan it carried out, those inside of functions included."""

    def __init__(self, store: PostgresStore, log: Log) -> None:
        self._store = store
        self._said: list[str] = []

        def copy(tx: Any) -> None:
            with tx.cursor().copy(f"copy sourced_messages ({COLUMNS}) from stdin".encode()) as rows:
                for each in log.rows():
                    rows.write_row(each)
            tx.execute("select setval('sourced_positions', %s)", [log.messages])

        with store.transaction() as connection:
            connection.call(copy)
            run(prepare(store, log), connection)
        self._tell("vacuum analyze", "load 'auto_explain'", *(f"set auto_explain.{each}" for each in _EXPLAIN))

    def _tell(self, *texts: str) -> None:
        """The one connection there is keeps what it was told."""
        with self._store.transaction(reading=True) as connection:
            connection.call(lambda tx: [tx.execute(text.encode()) for text in texts])

    def listen(self) -> None:
        self._tell("set auto_explain.log_min_duration = 0", "set client_min_messages = log")
        with self._store.transaction(reading=True) as connection:
            connection.call(lambda tx: tx.add_notice_handler(self._hear))

    def _hear(self, notice: Any) -> None:
        self._said.append(notice.message_primary or "")

    def faults(self) -> Iterator[str]:
        self._tell("reset auto_explain.log_min_duration", "reset client_min_messages")
        with self._store.transaction(reading=True) as connection:
            connection.call(lambda tx: tx.remove_notice_handler(self._hear))
        said, self._said = self._said, []
        for plan in said:
            if re.search(r"^\s*JIT:", plan, re.MULTILINE):
                yield "compiled"
            for node, rows in _NODE.findall(plan):
                if "Seq Scan" in node or int(rows) > FEW:
                    yield f"{node.lower()}: {rows} rows"


_EXPLAIN = ("log_analyze = on", "log_timing = off", "log_nested_statements = on")
_NODE = re.compile(r"(Seq Scan on sourced_messages|\bSort|Hash)\b.*actual rows=(\d+)")
FEW = 5_000  # rows that are sorted, or put into a table, are as many as were asked for


class SqlitePlans:
    """Whatever was said is explained afterwards."""

    def __init__(self, store: SqliteStore, log: Log) -> None:
        self._said: list[str] = []
        self._explaining = sqlite3.connect(store.path)

        def fill(tx: sqlite3.Connection) -> None:
            rows = ((*each[:-2], each[-2].isoformat(timespec="microseconds"), each[-1]) for each in log.rows())
            tx.executemany(f"insert into sourced_messages ({COLUMNS}) values ({', '.join('?' * 13)})", rows)

        with store.transaction() as connection:
            connection.call(fill)
            run(prepare(store, log), connection)
        with store.transaction() as connection:
            connection.call(lambda tx: tx.set_trace_callback(self._said.append))

    def listen(self) -> None:
        self._said.clear()

    def faults(self) -> Iterator[str]:
        """A scan that uses no index goes through the table in the order of positions, for as long as it has to."""
        for text in {each for each in self._said if each.lstrip().lower().startswith(("select", "with", "update"))}:
            for _, _, _, step in self._explaining.execute(f"explain query plan {text}"):
                if re.match(r"SCAN (m|later|o|sourced_messages)\b", step) and "USING" not in step:
                    yield step.lower()


def measured(place: Place, log: Log, only: str) -> dict[str, Answer]:
    database = place.database()
    store = database.store()
    try:
        plans = PostgresPlans(store, log) if isinstance(store, PostgresStore) else SqlitePlans(store, log)
        return {name: asked(store, op, plans) for name, op in questions(store, log).items() if only in name}
    finally:
        store.close()
        database.close()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plans", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N", help="in the log")
    parser.add_argument("--streams", type=int, default=100_000, metavar="N")
    parser.add_argument("--only", default="", metavar="WORDS", help="questions whose name contains this")
    given = parser.parse_args(arguments)
    log = Log(given.messages, given.streams)
    with sqlite_place() as sqlite, postgres_place() as postgres:
        print(f"{log.messages:,} messages in {log.streams:,} streams\n* {postgres.terms}\n* {sqlite.terms}\n")
        found = [measured(place, log, given.only) for place in (postgres, sqlite)]
    print("| asked | PostgreSQL ms | SQLite ms | reads more than it is asked for |\n|:--|--:|--:|:--|")
    for name, answer in found[0].items():
        other = found[1][name]
        print(f"| {name} | {answer.milliseconds:.2f} | {other.milliseconds:.2f} | {_listed(answer, other)} |")


def _listed(*answers: Answer) -> str:
    return "; ".join(fault for answer in answers for fault in answer.faults)


if __name__ == "__main__":
    main()
