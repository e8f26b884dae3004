"""PostgreSQL: statements read what they are about, and not the log, whatever the planner believes of it."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg

from sourced.codec import Record
from sourced.ids import new_id
from sourced.ops import Op, Statement, run
from sourced.store import COUNTED, Entry, Straggler
from sourced.stores._postgres.arrays import teach
from sourced.stores.postgres import PostgresStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_what_a_group_is_behind_is_counted_once(postgres: PostgresStore):
    """And not anew wherever the statement mentions it, each time by reading as much of the log, or that of others."""
    postgres.transact(postgres.register("g", "beginning"))
    for _ in range(100):  # side by side in the log
        postgres.transact(postgres.append([Entry(name, tuple(records(name, COUNTED // 10))) for name in "sabc"]))
    assert len({postgres.shard(name) for name in "sabc"}) == 4
    for analyzed in (False, True):  # while a log is being filled there are no statistics of it
        for types in (None, ["counted"]):  # found, counted, and gone through for the oldest
            most = 4 * 6 * COUNTED + (2 * 10 * 4 * COUNTED if types else 0)  # by types once, too
            looked = read(postgres, postgres.progress("g", types), analyzed=analyzed)
            assert 4 * COUNTED <= looked <= most  # of 40 * COUNTED


def test_a_group_that_is_behind_by_nothing_takes_next_to_nothing(postgres: PostgresStore):
    """However long the log is: where nothing is left to look at, nothing is looked at."""
    postgres.transact(postgres.append([Entry(name, tuple(records(name, 5_000))) for name in "sabc"]))
    postgres.transact(postgres.register("g", "now"))
    for analyzed in (False, True):
        for types in (None, ["counted"]):
            assert read(postgres, postgres.progress("g", types), analyzed=analyzed) <= 100


def test_what_is_rare_is_counted_without_a_look_at_the_rest(postgres: PostgresStore):
    postgres.transact(postgres.register("g", "beginning"))
    postgres.transact(postgres.append([Entry(name, tuple(records(name, 5_000))) for name in "sabc"]))
    for analyzed in (False, True):
        assert read(postgres, postgres.progress("g", ["rare", "unheard"]), analyzed=analyzed) <= 100


def test_what_a_failed_stream_has_left_is_found_by_its_stream(postgres: PostgresStore):
    """Also while the log is being filled and there are no statistics of it: other indexes looked better then."""
    postgres.transact(postgres.register("g", "beginning"))
    names = [f"s-{number}" for number in range(20_000)]
    postgres.transact(postgres.append([Entry(name, tuple(records(name, 1))) for name in names]))
    failed = Straggler("g", "s-1000", from_seq=1, live_after=0)
    left = postgres.straggling([failed], ["counted"], {postgres.shard("s-1000"): 1_000_000}, 500)
    assert read(postgres, left, analyzed=False) <= 2  # its entry in the index, and its row


def records(stream: str, count: int) -> Iterator[Record]:
    return (Record(new_id(), stream, 0, 0, "counted", 1, "{}", "{}", "x", "x", NOON) for _ in range(count))


def read(store: PostgresStore, op: Op[Any], *, analyzed: bool) -> int:
    """How many rows and entries of the log an op's statements look at."""
    looked = 0
    with store.transaction() as connection:
        if analyzed:
            connection.call(lambda tx: tx.execute("analyze"))
        answer: Any = None
        with contextlib.suppress(StopIteration):
            while True:
                statement: Any = op.send(answer)
                (plan,) = connection.call(partial(explained, statement))
                looked += sum(looked_at(node) for node in nodes(plan["Plan"]) if on_the_log(node))
                answer = run(said(statement), connection)
    return looked


def explained(statement: Any, tx: Any) -> Any:
    teach(tx)
    text = f"explain (analyze, timing off, format json) {statement.body.text}"
    cursor: Any = psycopg.RawCursor(tx)
    return cursor.execute(text, statement.body.bind(statement.args[0])).fetchone()[0]


def said(statement: Statement) -> Op[Any]:
    return (yield statement)


def looked_at(node: Any) -> int:
    return int(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def on_the_log(node: Any) -> bool:
    return "messages" in node.get("Relation Name", node.get("Index Name", ""))
