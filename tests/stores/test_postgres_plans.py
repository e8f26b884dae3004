"""PostgreSQL: statements read what they are about, and not the log, whatever the planner believes of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from sourced.codec import Record
from sourced.ids import new_id
from sourced.ops import Op
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
            looked = read(postgres, postgres.progress("g", types), analyzed=analyzed)
            assert 4 * COUNTED <= looked <= 4 * 6 * COUNTED  # of 40 * COUNTED


def test_a_group_that_is_behind_by_nothing_takes_next_to_nothing(postgres: PostgresStore):
    """However long the log is: where nothing is left to look at, nothing is looked at."""
    postgres.transact(postgres.append([Entry(name, tuple(records(name, 5_000))) for name in "sabc"]))
    postgres.transact(postgres.register("g", "now"))
    for analyzed in (False, True):
        for types in (None, ["counted"]):
            assert read(postgres, postgres.progress("g", types), analyzed=analyzed) <= 100


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
    """How many rows and entries of the log an op's first statement looks at."""
    statement: Any = next(iter(op))

    def explain(tx: Any) -> Any:
        teach(tx)
        if analyzed:
            tx.execute("analyze")
        text = f"explain (analyze, timing off, format json) {statement.body.text}"
        cursor: Any = psycopg.RawCursor(tx)
        return cursor.execute(text, statement.body.bind(statement.args[0])).fetchone()[0]

    with store.transaction() as connection:
        (plan,) = connection.call(explain)
    return sum(
        int(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
        for node in nodes(plan["Plan"])
        if on_the_log(node)
    )


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def on_the_log(node: Any) -> bool:
    return "messages" in node.get("Relation Name", node.get("Index Name", ""))
