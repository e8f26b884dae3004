"""A short life of a store, in which every table is written, changed and emptied; and all that it holds."""

from collections.abc import Callable, Iterator
from typing import Any

from sourced.ops import Call, Op
from sourced.store import Entry, Move, Snapshot, Straggler
from sourced.stores._table_store import TableStore
from sourced.testing.conformance.bench import at, record, scheduled

Step = Callable[[Any], Op[Any]]


def live() -> list[Step]:
    """Transactions, each to be done once and in this order; the same ones for every store they are done on."""
    first = [Entry("cart-1", (record("cart-1", payload='{"n": 1}'), record("cart-1")))]
    second = [Entry(name, (record(name),)) for name in ("cart-2", "Cart-2", "cart-1", "tenants/ż")]
    third = [Entry("cart-1", (record("cart-1", settled_by=("g", "h")),))]
    later = [
        scheduled("cart-3", 1),
        scheduled("cart-1", 2, metadata="{"),
        scheduled("cart-3", 100),
        scheduled("x", 100),
    ]

    def begin(store: Any) -> Op[None]:
        yield from store.register("g", "beginning")
        yield from store.append(first)
        yield from written("sales", {"cart-1": {"items": 1}, "cart-2": {"items": 9}})

    def work(store: Any) -> Op[None]:
        yield from store.register("h", at(3600))
        claim = yield from store.claim("g", "w", now=at(0), until=at(30), limit=100)
        yield from store.settle("g", [Move(lease.shard, 1, 1, 1) for lease in claim.leases], release=False)
        yield from store.straggle(
            [Straggler("g", "cart-1", 2, attempts=2, error="Oh: no", since=at(0)), Straggler("g", "cart-2", 1)]
        )

    def keep(store: Any) -> Op[None]:
        yield from store.schedule(later)
        for seq in (1, 2):
            yield from store.save_snapshot(Snapshot("g", "cart-1", seq, f'{{"n":{seq}}}', "f"), 2)
        yield from store.cancel([later[3].record.id])

    def change(store: Any) -> Op[None]:
        yield from store.promote(at(10))
        yield from store.promote(at(10))
        yield from store.catch_up("g", ["cart-2"])
        yield from written("sales", {"cart-1": {"items": 2}, "cart-2": None})
        yield from store.stop("h", "tidying up", "Error: none")

    def again(store: Any) -> Op[None]:
        yield from store.reset("g")
        yield from store.append(third)
        yield from store.claim("g", "w", now=at(60), until=at(90), limit=1)

    return [begin, lambda store: store.append(second), work, keep, change, again]


def written(table: str, rows: dict[str, Any]) -> Op[None]:
    def write(tx: Any) -> None:
        for key, row in rows.items():
            if row is None:
                del tx.table(table)[key]
            else:
                tx.table(table)[key] = row

    yield Call(write)


def holdings(store: TableStore) -> dict[str, Any]:
    """All of it: what can be asked for, and what only the store itself knows."""
    tables = store._tables
    names = ("log", "streams", "stories", "ids", "shards", "groups", "progress", "waiting", "snapshots")
    users = {name: rows for name, rows in _users(store) if rows}
    waiting_for_their_time = [each for _, each in sorted(tables.schedule.values(), key=lambda row: row[0])]
    return {name: getattr(tables, name) for name in names} | {"schedule": waiting_for_their_time, "users": users}


def _users(store: TableStore) -> Iterator[tuple[str, dict[Any, Any]]]:
    for name in list(store._tables.users):
        yield name, dict(store._tables.table(name))
