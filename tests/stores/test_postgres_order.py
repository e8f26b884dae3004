"""PostgreSQL: positions of a shard become visible in order, and nobody waits for anybody for ever."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

import psycopg
import pytest

from sourced import Sourced
from sourced.codec import Record
from sourced.errors import Deadlocked
from sourced.ops import Op, savepoint
from sourced.store import Entry, Move, Outcome, Range, Straggler
from sourced.stores.postgres import PostgresStore
from sourced.testing.conformance.bench import TYPES, at, entry, kept, record, scheduled
from sourced.testing.shop import AddItem, Cart, Stock
from tests.facts import PATIENCE, eventually
from tests.runtime.listener import streams
from tests.stores.meanwhile import OpenTransaction, thread, waiting_for_locks

SAME = ("s-0", "s-34")  # two streams of one shard


def one_round(store: PostgresStore) -> list[str]:
    """Handles all that can be seen; what that was."""

    def op() -> Op[list[str]]:
        claim = yield from store.claim("g", "w", now=at(0), until=at(30), limit=100)
        pending = yield from store.pending("g", claim.leases, TYPES, 100)
        yield from store.fence(claim)
        yield from store.settle("g", [Move(shard, upto, upto) for shard, upto in pending.scanned.items()], release=True)
        return [each.id for each in pending.records]

    return store.transact(op())


def handled_while_two_write(store: PostgresStore) -> tuple[list[str], list[str]]:
    """One takes his time to commit, another one in the same shard does not, and a reader comes in between."""
    store.transact(store.register("g", "beginning"))
    slow, fast = entry(SAME[0]), entry(SAME[1])
    first = OpenTransaction(store)
    first.do(store.append([slow]))
    with thread() as start:
        second: Future[list[Outcome]] = start(store.commit, [fast])
        eventually(lambda: second.done() or waiting_for_locks(store.url))
        seen = one_round(store)
        first.commit()
        second.result(PATIENCE)
    seen += one_round(store)
    return seen, [slow.records[0].id, fast.records[0].id]


def test_no_position_becomes_visible_after_a_higher_one_of_its_shard(postgres: PostgresStore):
    """D77. Nothing is skipped by whoever reads in between."""
    assert len({postgres.shard(stream) for stream in SAME}) == 1
    seen, stored = handled_while_two_write(postgres)
    assert seen == stored


def test_without_the_lock_on_its_shard_a_message_would_be_skipped(postgres: PostgresStore):
    """D77. So the test before this one tests something."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute(
            "create function public.pg_advisory_xact_lock(a integer, b integer) returns void language sql as ''"
        )
        connection.execute(f"alter database {connection.info.dbname} set search_path = public, pg_catalog")
    seen, (slow, fast) = handled_while_two_write(postgres)
    assert seen == [fast]
    assert slow in [each.id for each in postgres.transact(postgres.read_all())]


def test_a_long_transaction_of_somebody_else_holds_nobody_back(postgres: PostgresStore):
    """D77. One with a snapshot and a transaction id of its own, older than anything that follows."""
    app = Sourced(postgres)
    app.register(Cart, Stock)
    with psycopg.connect(postgres.url) as other:
        other.execute("set transaction isolation level repeatable read")
        other.execute("create table unrelated (n integer)")
        for n in range(5):
            app.dispatch(AddItem("pen", n), to=f"cart-{n}")
        assert app.drain() == 15
        assert all(group.lag == 0 for group in app.status().groups)
        assert app.load(Stock, "stock-pen").state.reserved == 10


def test_a_transaction_that_stays_open_holds_up_its_own_shard_and_no_other(postgres: PostgresStore):
    first = OpenTransaction(postgres)
    first.do(postgres.append([entry("s-0")]))
    (outcome,) = postgres.commit([entry("s-1")])
    assert kept(outcome)
    first.commit()


# -- nobody waits for ever


def deadlocks(store: PostgresStore) -> int:
    with psycopg.connect(store.url, autocommit=True) as connection:
        connection.execute("select pg_stat_force_next_flush()")
        found = connection.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchone()
    return found[0] if found else 0


def test_rounds_that_write_to_each_others_streams_never_deadlock(postgres: PostgresStore):
    """Carts that send to stocks in crossing order, drained by several at once, while others order."""
    apps = [Sourced(postgres, batch=20) for _ in range(4)]
    for app in apps:
        app.register(Cart, Stock)
    products = [f"p{n}" for n in range(7)]

    def order(app: Sourced, turn: int) -> None:
        for n in range(12):
            app.dispatch(AddItem(products[(n * (turn + 1)) % 7]), to=f"cart-{(n + turn) % 5}")
            app.execute(AddItem(products[(turn - n) % 7]), to=f"cart-{(turn - n) % 5}")
            app.drain(limit=10)

    with thread() as start:
        for each in [start(order, app, turn) for turn, app in enumerate(apps)]:
            each.result(60)
    apps[0].drain()
    assert sum(app.load(Stock, f"stock-{p}").state.reserved for app in apps[:1] for p in products) == 4 * 12 * 2
    assert deadlocks(postgres) == 0


def test_transactions_of_the_callers_own_that_wait_for_each_other_say_so_to_one_of_them(postgres: PostgresStore):
    """Who appends to several streams, one after the other, and has not reserved them."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute(f"alter database {connection.info.dbname} set deadlock_timeout = '20ms'")
    first, second = OpenTransaction(postgres), OpenTransaction(postgres)
    first.do(postgres.append([entry("s-0")]))
    second.do(postgres.append([entry("s-1")]))
    waiting = [first.start(postgres.append([entry("s-1")])), second.start(postgres.append([entry("s-0")]))]
    refused = [isinstance(each.exception(PATIENCE), Deadlocked) for each in waiting]
    assert sorted(refused) == [False, True]
    assert "app.transaction(streams=[…])" in str(waiting[refused.index(True)].exception())
    loser, winner = (first, second) if refused[0] else (second, first)
    loser.roll_back()
    winner.commit()
    assert len(postgres.transact(postgres.read_all())) == 2


def test_transactions_that_say_where_they_store_never_wait_for_each_other(postgres: PostgresStore):
    """The second one stands in line before it has stored anything, whatever the order it stores in later."""
    app = Sourced(postgres)
    app.register(Cart)
    app.dispatch(AddItem("pen"), to="s-2")
    both, begun, go_on = ["s-0", "s-1"], threading.Event(), threading.Event()

    def first() -> None:
        with app.transaction(streams=both) as client:
            client.dispatch(AddItem("pen"), to="s-0")
            begun.set()
            assert go_on.wait(PATIENCE)
            client.dispatch(AddItem("pen"), to="s-1")

    async def second() -> None:
        async with app.aio.transaction(streams=both[::-1]) as client:
            await client.dispatch(AddItem("pen"), to="s-1")
            await client.dispatch(AddItem("pen"), to="s-0")

    with thread() as start:
        one = start(first)
        assert begun.wait(PATIENCE)
        other = start(lambda: asyncio.run(second()))
        eventually(lambda: waiting_for_locks(postgres.url) == 1)
        go_on.set()
        one.result(PATIENCE)
        other.result(PATIENCE)
    assert [state.seq for state in sorted(app.streams(), key=lambda each: each.stream)] == [2, 2, 1]
    assert deadlocks(postgres) == 0


@pytest.mark.parametrize("what", ["reset", "start", "release"])
def test_a_round_that_stops_its_group_and_one_who_looks_after_the_group_never_deadlock(
    postgres: PostgresStore, what: str
):
    """The one holds its shards and then changes the group, the other wants both as well."""
    store = postgres
    store.transact(store.register("g", "beginning"))
    store.transact(store.append([entry(f"s-{n}") for n in range(8)]))
    claim = store.transact(store.claim("g", "w", now=at(0), until=at(30), limit=100))
    rows = [Straggler("g", f"s-{n}", 1, attempts=1, error="Boom: no") for n in range(8)]
    store.transact(store.straggle(rows))
    settling = OpenTransaction(store)
    settling.do(savepoint(store.fence(claim)))  # what a savepoint ends with is not held back
    settling.do(savepoint(store.straggle(rows[4:])))
    ops = {"reset": store.reset("g"), "start": store.start("g", at(0)), "release": store.release(claim)}
    with thread() as start:
        other = start(store.transact, ops[what])
        eventually(lambda: other.done() or waiting_for_locks(store.url))
        settling.do(savepoint(store.straggle(rows[:4])))
        settling.do(store.stop("g", "enough"))
        settling.do(store.settle("g", [Move(lease.shard, 0, 0) for lease in claim.leases], release=True))
        settling.commit()
        other.result(PATIENCE)
    assert deadlocks(store) == 0


def test_a_transaction_left_in_another_task_than_it_was_entered_in_locks_nobody_out(postgres: PostgresStore):
    """As fixtures do that are async generators."""

    async def main() -> None:
        transaction = postgres.transaction_async()
        await asyncio.create_task(transaction.__aenter__())
        await asyncio.create_task(transaction.__aexit__(None, None, None))
        await postgres.transact_async(postgres.append([Entry("s", (record("s"),))]))

    for _ in range(3):
        asyncio.run(main())


def test_a_stricter_isolation_that_a_database_is_set_to_makes_no_difference(postgres: PostgresStore):
    """An append that has waited for its place sees what was committed meanwhile."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute(
            f"alter database {connection.info.dbname} set default_transaction_isolation = 'serializable'"
        )
    first = OpenTransaction(postgres)
    first.do(postgres.append([entry("s")]))
    with thread() as start:
        second = start(postgres.commit, [entry("s")])
        third = start(lambda: asyncio.run(postgres.transact_async(postgres.append([entry("s")]))))
        eventually(lambda: waiting_for_locks(postgres.url) == 2)
        first.commit()
        seqs = sorted(kept(outcome)[0].seq for each in (second, third) for outcome in each.result(PATIENCE))
    assert seqs == [2, 3]


def test_what_comes_after_messages_that_another_promoter_has_in_hand_waits_for_these(postgres: PostgresStore):
    """I150, I152. In their stream, however they share what is due; other streams wait for nobody."""
    s, t, u = streams(3)
    due = [scheduled(stream, 1) for stream in (s, s, t, s, t, u)]
    postgres.transact(postgres.schedule(due))
    first, second = OpenTransaction(postgres), OpenTransaction(postgres)
    (one, two, three, four, five, six) = (each.record.id for each in due)
    assert ids(first.do(postgres.promote(at(1), 2))) == [one, two]
    assert ids(second.do(postgres.promote(at(1), 1))) == [three]
    assert ids(second.do(postgres.promote(at(1), 3))) == [five, six]
    assert ids(second.do(postgres.promote(at(1), 3))) == []
    second.commit()
    first.commit()
    assert ids(postgres.transact(postgres.promote(at(1)))) == [four]
    assert ids(postgres.transact(postgres.histories([Range(s)]))[0]) == [one, two, four]


def ids(records: Sequence[Record]) -> list[str]:
    return [each.id for each in records]
