"""PostgreSQL: how far a group is behind is found by reading what has to be counted, once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg

from sourced.codec import Record
from sourced.ids import new_id
from sourced.store import COUNTED, Entry
from sourced.stores.postgres import PostgresStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_what_a_group_is_behind_is_counted_once(postgres: PostgresStore):
    """And not anew wherever the statement mentions it, each time by reading as much of the log."""
    postgres.transact(postgres.register("g", "beginning"))
    records = (Record(new_id(), "s", 0, 0, "counted", 1, "{}", "{}", "x", "x", NOON) for _ in range(5 * COUNTED))
    postgres.transact(postgres.append([Entry("s", tuple(records))]))
    (plan,) = explained(postgres, next(iter(postgres.progress("g"))))
    read = [node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan["Plan"]) if on_the_log(node)]
    assert COUNTED <= sum(read) <= COUNTED + 10


def explained(store: PostgresStore, statement: Any) -> Any:
    def explain(tx: Any) -> Any:
        tx.execute("analyze")
        text = f"explain (analyze, timing off, format json) {statement.body.text}"
        cursor: Any = psycopg.RawCursor(tx)
        return cursor.execute(text, statement.body.bind(statement.args[0])).fetchone()[0]

    with store.transaction() as connection:
        return connection.call(explain)


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def on_the_log(node: Any) -> bool:
    return node.get("Relation Name", "").endswith("messages")
