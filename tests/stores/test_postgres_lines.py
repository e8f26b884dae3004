"""PostgreSQL: connections that are lost, servers that go down, callers that give up: nothing is lost or doubled."""

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sourced import Sourced
from sourced.errors import Duplicate, Fenced, Unavailable
from sourced.ops import Op, Statement, run, run_async
from sourced.store import Entry, Move, Outcome, Range, Store
from sourced.stores.postgres import PostgresStore
from sourced.testing import CrashingStore
from sourced.testing.conformance.bench import at, entry, kept, record
from sourced.testing.postgres import TempPostgres
from sourced.testing.shop import AddItem, Cart, Reserve, Stock
from tests.facts import PATIENCE, eventually
from tests.stores.lines import line_to
from tests.stores.meanwhile import OpenTransaction, terminate, thread, waiting_for_locks
from tests.stores.shopper import CARTS, shopper

Commit = Callable[[PostgresStore, Sequence[Entry]], list[Outcome]]


def blocking(store: PostgresStore, entries: Sequence[Entry]) -> list[Outcome]:
    return store.commit(entries)


def awaiting(store: PostgresStore, entries: Sequence[Entry]) -> list[Outcome]:
    return asyncio.run(store.commit_async(entries))


both_sides = pytest.mark.parametrize("commit", [blocking, awaiting])


def sessions(database: str) -> int:
    with psycopg.connect(database, autocommit=True) as connection:
        found = connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
            "and backend_type = 'client backend'"
        ).fetchone()
    return found[0] if found else 0


def log(store: Store) -> list[str]:
    return [each.id for each in store.transact(store.read_all(), reading=True)]


# -- sessions that the server ends


@both_sides
def test_connections_that_were_lost_while_they_lay_idle_are_replaced(postgres: PostgresStore, commit: Commit):
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: postgres.transact(postgres.append([entry(f"s-{n}")])), range(40)))
    assert terminate(postgres.url) >= 1
    (outcome,) = commit(postgres, [entry("t")])
    assert kept(outcome)
    terminate(postgres.url)
    assert postgres.transact(postgres.extent(), reading=True)[0] == 41
    terminate(postgres.url)
    assert kept(postgres.transact(postgres.append([entry("t")]))[0])[0].seq == 2


def test_connections_of_a_loop_that_were_lost_while_they_lay_idle_are_replaced(postgres: PostgresStore):
    async def main() -> None:
        append = [postgres.transact_async(postgres.append([entry(f"s-{n}")])) for n in range(8)]
        await asyncio.gather(*append)
        for expected in (8, 9, 10):
            assert await asyncio.to_thread(terminate, postgres.url)
            assert (await postgres.transact_async(postgres.extent(), reading=True))[0] == expected
            await asyncio.to_thread(terminate, postgres.url)
            assert kept((await postgres.commit_async([entry(f"t-{expected}")]))[0])

    asyncio.run(main())


def test_a_transaction_whose_session_is_ended_fails_as_a_whole(postgres: PostgresStore):
    def op() -> Op[None]:
        yield from postgres.append([entry("s")])
        terminate(postgres.url)
        yield from postgres.append([entry("s")])

    with pytest.raises(Unavailable, match="connection was lost") as caught:
        postgres.transact(op())
    assert not caught.value.unsure
    with pytest.raises(Unavailable, match="connection was lost"):
        asyncio.run(postgres.transact_async(op()))
    assert log(postgres) == []


def test_a_transaction_whose_session_is_ended_before_its_commit_says_that_nobody_knows(postgres: PostgresStore):
    def op() -> Op[None]:
        yield from postgres.append([entry("s")])
        terminate(postgres.url)

    with pytest.raises(Unavailable) as caught:
        postgres.transact(op())
    assert caught.value.unsure
    with pytest.raises(Unavailable) as caught:
        asyncio.run(postgres.transact_async(op()))
    assert caught.value.unsure
    assert log(postgres) == []


@both_sides
def test_a_commit_whose_session_is_ended_while_it_waits_is_made_by_another(postgres: PostgresStore, commit: Commit):
    first = OpenTransaction(postgres)
    first.do(postgres.append([entry("s")]))
    with thread() as start:
        late = start(commit, postgres, [entry("s")])
        eventually(lambda: waiting_for_locks(postgres.url))
        assert terminate(postgres.url, "wait_event_type = 'Lock'") == 1
        eventually(lambda: waiting_for_locks(postgres.url))
        first.commit()
        (outcome,) = late.result(PATIENCE)
    assert [each.seq for each in kept(outcome)] == [2]


# -- answers that are lost


@both_sides
@pytest.mark.parametrize("times", [1, 2])
def test_a_commit_whose_answer_is_lost_is_found_to_be_made(database: str, commit: Commit, times: int):
    """Whoever was told nothing asks again, and what he brought is there: once, and as it was. So too if it happens
    twice, to the first answer and to the second one."""
    with line_to(database) as line, contextlib.closing(PostgresStore(line.url)) as store:
        (known,) = kept(store.commit([entry("s")])[0])
        line.cut_after(*[b'{"lost":1}'] * times)
        stored, conflict = commit(
            store, [entry("s", 2, payload='{"lost":1}', expected_seq=1), entry("s", 1, expected_seq=1)]
        )
        assert line.cuts == times
        assert [each.seq for each in kept(stored)] == [2, 3]
        assert not isinstance(conflict, tuple)
        assert log(store) == [known.id, *(each.id for each in kept(stored))]
        (again,) = commit(store, [Entry("s", (record("s", id=known.id),))])
        assert isinstance(again, Duplicate)


def test_an_execute_whose_answer_is_lost_is_decided_once(database: str):
    with line_to(database) as line, contextlib.closing(PostgresStore(line.url)) as store:
        app = Sourced(store)
        app.register(Cart, Stock)
        app.execute(AddItem("ink"), to="cart-1")
        line.cut_after(b'"pen"')
        decision = app.execute(AddItem("pen"), to="cart-1")
        assert line.cuts == 1
        assert [each.seq for each in (decision.command, *decision.events)] == [3, 4]
        line.cut_after(b'"nib"')
        sent = app.dispatch(AddItem("nib"), to="cart-1")
        assert [each.id for each in app.history("cart-1")][-1] == sent.id
        app.drain()
        assert app.load(Cart, "cart-1").state.items == {"ink": 1, "pen": 1, "nib": 1}


def test_a_transaction_whose_last_answer_is_lost_says_that_nobody_knows(database: str):
    with line_to(database) as line, contextlib.closing(PostgresStore(line.url)) as store:
        store.transact(store.extent())
        line.cut_after(b"commit")
        with pytest.raises(Unavailable) as caught:
            store.transact(store.append([entry("s")]))
        assert caught.value.unsure
        assert len(log(store)) == 1


# -- processes that are killed


def test_a_process_that_is_killed_loses_nothing_that_was_acknowledged(database: str):
    told: list[str] = []
    for _ in range(2):
        with shopper(database, "pen", 1_000_000) as killed:
            assert killed.stdout
            told += [killed.stdout.readline().strip() for _ in range(60)]
            killed.kill()
            told += killed.stdout.read().split("\n")[:-1]  # what it had said before it knew
    with contextlib.closing(PostgresStore(database)) as store:
        assert eventually(lambda: sessions(database) <= 1)
        stored = store.transact(store.read_all(), reading=True)
        assert set(told) <= {each.id for each in stored}
        assert len(told) >= 120
        streams = [[each.seq for each in stored if each.stream == cart] for cart in CARTS]
        assert streams == [list(range(1, len(each) + 1)) for each in streams]


KILLED = """
import sys
from sourced.ops import run
from sourced.stores.postgres import PostgresStore
from sourced.testing.conformance.bench import entry
store = PostgresStore(sys.argv[1])
with store.transaction() as connection:
    run(store.append([entry("s")]), connection)
    print("appended", flush=True)
    sys.stdin.readline()
"""


def test_a_process_that_is_killed_in_its_transaction_holds_up_nobody(postgres: PostgresStore):
    """Its place is free again, and what it had appended was never there."""
    command = [sys.executable, "-c", KILLED, postgres.url]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed,
        thread() as start,
    ):
        assert killed.stdout
        assert killed.stdout.readline() == "appended\n"
        late = start(postgres.commit, [entry("s")])
        eventually(lambda: waiting_for_locks(postgres.url))
        killed.kill()
        (outcome,) = late.result(PATIENCE)
    assert [each.seq for each in kept(outcome)] == [1]
    assert log(postgres) == [kept(outcome)[0].id]


# -- statements, and the round trips they take


class Alone(PostgresStore):
    """Nobody else is to be told of anything."""

    def relay(self) -> None:  # type: ignore[override]
        return None


def test_a_round_is_six_round_trips_however_many_messages_it_handles(database: str):
    """What is due in the schedule and its commit, claim, pending; fence and append, settle and commit."""
    with line_to(database) as line, contextlib.closing(Alone(line.url)) as store:
        app = Sourced(store)
        app.register(Stock)
        before = 0
        for _ in range(2):
            commands = [Reserve("pen", 1) for _ in range(20)]
            for number, command in enumerate(commands):
                app.dispatch(command, to=f"stock-{number}")
            before = line.turns
            assert app.drain(limit=1) == len(commands)
        assert line.turns - before == 6


def test_a_look_for_work_where_there_is_none_is_one_round_trip(database: str):
    with line_to(database) as line, contextlib.closing(PostgresStore(line.url)) as store:
        before = 0
        for _ in range(2):
            store.transact(store.register("g", "beginning"))
            before = line.turns
            assert not store.transact(store.claim("g", "w", now=at(0), until=at(9), limit=100)).leases
        assert line.turns - before == 1


class Watched(CrashingStore):
    """Writes down what is asked of a store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, at=0)
        self.said: list[str] = []

    def reached(self, statement: Statement) -> None:
        self.said.append(statement.verb)


@pytest.mark.parametrize("awaited", [True, False])
def test_many_who_come_first_at_the_same_time_make_the_groups_known_once(postgres: PostgresStore, awaited: bool):
    store: Any = Watched(postgres)
    app = Sourced(store)
    app.register(Cart, Stock)

    async def all_of_them() -> None:
        await asyncio.gather(*(app.aio.dispatch(AddItem("pen"), to=f"cart-{number}") for number in range(20)))

    if awaited:
        asyncio.run(all_of_them())
    else:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: app.dispatch(AddItem("pen"), to=f"cart-{number}"), range(20)))
    assert app.groups.get(Cart).lag == 20
    assert (store.said.count("register"), store.said.count("groups")) == (2, 2)  # and one look by `get`


def test_prepared_statements_that_somebody_took_away_are_prepared_anew(database: str):
    """psycopg does so after a rollback, when code that was handed the connection had it prepare some of its own."""
    with contextlib.closing(PostgresStore(database, connections=1)) as store:
        for seq in range(1, 4):
            with store.transaction() as connection:
                assert kept(run(store.append([entry("s")]), connection)[0])[0].seq == seq
                connection.tx.execute("deallocate all")
                run(store.append([entry("t")]), connection)
            assert kept(store.commit([entry("u")])[0])[0].seq == seq
            with store.transaction() as connection:
                connection.tx.execute("deallocate all")
        assert len(log(store)) == 9


def test_prepared_statements_that_a_task_took_away_are_prepared_anew(database: str):
    async def main() -> None:
        for seq in range(1, 4):
            async with store.transaction_async() as connection:
                assert kept((await run_async(store.append([entry("s")]), connection))[0])[0].seq == seq
                await connection.tx.execute("deallocate all")
                await run_async(store.append([entry("t")]), connection)
            assert kept((await store.commit_async([entry("u")]))[0])[0].seq == seq

    with contextlib.closing(PostgresStore(database, connections=1)) as store:
        asyncio.run(main())
        assert len(log(store)) == 9


def test_what_is_said_together_fails_together(database: str):
    """Nothing of a transaction is stored when what was held back turns out not to hold."""
    with contextlib.closing(PostgresStore(database)) as store:
        store.transact(store.register("g", "beginning"))
        store.commit([entry("s")])
        claim = store.transact(store.claim("g", "w", now=at(0), until=at(9), limit=100))
        store.transact(store.reset("g"))

        def op() -> Op[None]:
            yield from store.fence(claim)
            yield from store.append([entry("s", 5)])
            yield from store.settle("g", [Move(each.shard, 9, 9) for each in claim.leases], release=True)

        for _ in range(2):
            with pytest.raises(Fenced, match="it was reset meanwhile"):
                store.transact(op())
            with pytest.raises(Fenced, match="it was reset meanwhile"):
                asyncio.run(store.transact_async(op()))
        assert len(log(store)) == 1


def test_an_interrupted_statement_is_cancelled_and_its_connection_goes(postgres: PostgresStore):
    """Ctrl-C while somebody else holds the shard: nobody goes on waiting for it, on either end."""
    first = OpenTransaction(postgres)
    first.do(postgres.append([entry("s")]))
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            postgres.transact(postgres.append([entry("s")]))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    eventually(lambda: not waiting_for_locks(postgres.url))
    first.commit()
    assert kept(postgres.commit([entry("s")])[0])[0].seq == 2


# -- servers that go down


def test_nothing_acknowledged_is_lost_or_doubled_while_the_server_goes_down_and_up(postgres_binaries: Path):
    """Restarted as an administrator does, then killed. Commits wait for it, other work is done again by its callers."""
    with TempPostgres(postgres_binaries) as server, contextlib.closing(PostgresStore(server.url())) as store:
        store.migrate()
        app = Sourced(store)
        app.register(Cart, Stock)
        acknowledged: list[str] = []
        stop: list[bool] = []

        def order(turn: int) -> None:
            n = 0
            while not stop or n < 20:
                n += 1
                with contextlib.suppress(Unavailable):
                    if n % 2:
                        acknowledged.append(app.execute(AddItem("pen"), to=f"cart-{turn}").command.id)
                    else:
                        acknowledged.append(asyncio.run(app.aio.dispatch(AddItem("ink"), to=f"cart-{turn}")).id)

        with thread() as start:
            orders = [start(order, turn) for turn in range(3)]
            for go_down in (server.restart, server.kill9, server.restart):
                before = len(acknowledged)
                eventually(lambda before=before: len(acknowledged) > before + 10)  # type: ignore[misc]
                go_down()
                server.start()
            stop.append(True)
            for each in orders:
                each.result(60)
        stored = [
            each.id for turn in range(3) for each in app.history(f"cart-{turn}") if isinstance(each.payload, AddItem)
        ]
        assert len(set(stored)) == len(stored)
        assert set(acknowledged) <= set(stored)
        app.drain()
        total = sum(sum(app.load(Cart, f"cart-{turn}").state.items.values()) for turn in range(3))
        assert total == len(stored)
        assert app.load(Stock, "stock-pen").state.reserved + app.load(Stock, "stock-ink").state.reserved == total


# -- the pool


def test_a_pool_that_is_empty_for_too_long_says_so(database: str):
    with contextlib.closing(PostgresStore(database, connections=2, timeout=0.1)) as store:
        first, second = OpenTransaction(store), OpenTransaction(store)
        with pytest.raises(Unavailable, match=r"all 2 connections have been in use for 0\.1 s"):
            store.transact(store.extent())
        with pytest.raises(Unavailable, match="all 2 connections"):
            store.commit([entry("s")])
        first.commit()
        assert kept(store.commit([entry("s")])[0])
        second.commit()

        async def main() -> None:
            async with contextlib.AsyncExitStack() as stack:

                async def hold() -> None:
                    async with store.transaction_async():
                        held.release()
                        await let_go.wait()

                held, let_go = asyncio.Semaphore(0), asyncio.Event()
                tasks = [asyncio.create_task(hold()) for _ in range(2)]
                stack.push_async_callback(lambda: asyncio.gather(*tasks))
                stack.callback(let_go.set)
                await held.acquire()
                await held.acquire()
                with pytest.raises(Unavailable, match=r"all 2 connections have been in use for 0\.1 s"):
                    await store.transact_async(store.extent())
            assert kept((await store.commit_async([entry("s")]))[0])

        asyncio.run(main())


class Oops(Exception): ...


def test_connections_are_given_back_whatever_happens(database: str):
    with contextlib.closing(PostgresStore(database, connections=1, timeout=5)) as store:

        def fail(when: str) -> None:
            with contextlib.suppress(Oops, Unavailable, psycopg.Error), store.transaction() as connection:
                if when == "late":
                    run(store.append([entry("s")]), connection)
                if when == "lost":
                    run(store.append([entry("s")]), connection)
                    terminate(database)
                if when == "wrong":
                    connection.tx.execute("select nonsense from nowhere")
                if when == "ended":
                    run(store.append([entry("s")]), connection)
                    connection.tx.execute("rollback")
                raise Oops

        for when in ("early", "late", "lost", "wrong", "ended") * 2:
            fail(when)
        assert log(store) == []
        assert kept(store.commit([entry("s")])[0])
        assert eventually(lambda: sessions(database) == 1)


class Steps:
    """Lets a task take so many steps, and cancels it at the next."""

    def __init__(self, awaitable: Awaitable[Any], most: int) -> None:
        self._coroutine = awaitable.__await__()
        self._left = most

    def __await__(self) -> Any:
        answer: Any = None
        throw: BaseException | None = None
        while True:
            try:
                waits_for = self._coroutine.throw(throw) if throw else self._coroutine.send(answer)
            except StopIteration as done:
                return done.value
            throw = None
            self._left -= 1
            if self._left == 0:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                answer = yield waits_for
            except BaseException as error:
                throw = error


def test_a_task_that_is_cancelled_anywhere_gives_its_connection_back(database: str):
    """At each of its awaits, on a pool of one; whatever it had begun is undone, or was made as a whole."""
    with contextlib.closing(PostgresStore(database, connections=1, timeout=5)) as store:

        async def work() -> None:
            async with store.transaction_async() as connection:
                await run_async(store.append([entry("a", 2)]), connection)
                await run_async(store.append([entry("b", 2)]), connection)
            await store.transact_async(store.extent(), reading=True)
            await store.commit_async([entry("c", 2)])

        async def main() -> int:
            for most in range(1, 500):
                task: asyncio.Task[None] = asyncio.create_task(_awaited(Steps(work(), most)))
                try:
                    await task
                except asyncio.CancelledError:
                    assert await store.transact_async(store.extent(), reading=True) is not None
                else:
                    return most
            raise AssertionError("it never came to its end")

        assert asyncio.run(main()) > 5
        assert asyncio.run(main()) > 5
        counts = [len(records) for records in store.transact(store.histories([Range(stream) for stream in "abc"]))]
        assert counts[0] == counts[1]
        assert all(count % 2 == 0 for count in counts)
        gc.collect()  # a connection that was cancelled while it was being made is closed when psycopg forgets it
        assert eventually(lambda: sessions(database) <= 2)


async def _awaited(steps: Steps) -> None:
    await steps


# -- loops that end


def test_loops_that_end_leave_no_connection_behind(database: str):
    with contextlib.closing(PostgresStore(database)) as store:
        app = Sourced(store)
        app.register(Cart, Stock)

        async def order(turn: int) -> None:
            await asyncio.gather(*(app.aio.execute(AddItem("pen"), to=f"cart-{n}") for n in range(4)))
            await app.aio.drain()
            abandoned = asyncio.create_task(app.aio.dispatch(AddItem("pen"), to=f"cart-{turn}"))
            await asyncio.sleep(0)
            abandoned.cancel()

        for turn in range(12):
            asyncio.run(order(turn))
        assert eventually(lambda: sessions(database) <= 10)
        store.close()
        assert eventually(lambda: sessions(database) == 0)


def test_loops_of_many_threads_share_an_app(database: str):
    with contextlib.closing(PostgresStore(database, connections=2)) as store:
        app = Sourced(store)
        app.register(Cart, Stock)

        async def order(turn: int) -> None:
            await asyncio.gather(*(app.aio.execute(AddItem("pen"), to=f"cart-{turn}-{n}") for n in range(3)))

        def work(turn: int) -> None:
            for _ in range(8):
                asyncio.run(order(turn))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        carts = [f"cart-{turn}-{n}" for turn in range(8) for n in range(3)]
        assert all(app.load(Cart, cart).state.items == {"pen": 8} for cart in carts)
        store.close()
        assert eventually(lambda: sessions(database) == 0)
