"""SQLite: several processes on one file, one that is killed, readers beside writers, and who waits for whom."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourced import Sourced
from sourced.errors import Unavailable
from sourced.ops import run, run_async
from sourced.stores.sqlite import SqliteStore
from sourced.testing.conformance.bench import entry, kept
from sourced.testing.shop import AddItem, Cart, Stock
from tests.facts import PATIENCE
from tests.stores.meanwhile import OpenTransaction, thread
from tests.stores.shopper import CARTS, ordered, shopper


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[SqliteStore]:
    with contextlib.closing(SqliteStore(path)) as store:
        yield store


# -- processes


def test_processes_that_read_and_then_write_one_file_get_every_order_through(path: Path):
    """Not one of them is told that the database is locked, and the sums are exact."""
    shoppers = [shopper(f"sqlite:///{path}", name, 400) for name in ("pen", "ink")]
    with contextlib.closing(SqliteStore(path, timeout=PATIENCE)) as store:
        app = Sourced(store)
        app.register(Cart, Stock)
        for n in range(200):
            ordered(app, AddItem("nib"), CARTS[n % 3])
            app.drain(limit=5)
        for each in shoppers:
            told, errors = each.communicate(timeout=PATIENCE)
            assert (each.returncode, errors) == (0, "")
            assert len(told.split()) == 400
        app.drain()
        totals = [app.load(Cart, cart).state.items for cart in CARTS]
        assert {name: sum(each[name] for each in totals) for name in ("pen", "ink", "nib")} == {
            "pen": 400, "ink": 400, "nib": 200
        }  # fmt: skip
        assert app.load(Stock, "stock-pen").state.reserved == 400


def test_files_that_several_processes_open_for_the_first_time_are_made_once(tmp_path: Path):
    for turn in range(3):
        path = tmp_path / f"{turn}.db"
        shoppers = [shopper(f"sqlite:///{path}", "pen", 1) for _ in range(4)]
        for each in shoppers:
            _, errors = each.communicate(timeout=PATIENCE)
            assert (each.returncode, errors) == (0, "")


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_a_process_that_is_killed_loses_nothing_that_was_acknowledged(path: Path, synchronous: str):
    told: list[str] = []
    for _ in range(2):
        with shopper(f"sqlite:///{path}", "pen", 1_000_000) as killed:
            assert killed.stdout
            told += [killed.stdout.readline().strip() for _ in range(60)]
            killed.kill()
            told += killed.stdout.read().split("\n")[:-1]  # what it had said before it knew
    with contextlib.closing(SqliteStore(path, synchronous=synchronous)) as store:  # type: ignore[arg-type]
        log = store.transact(store.read_all(), reading=True)
        assert set(told) <= {each.id for each in log}
        assert len(told) >= 120
        streams = [[each.seq for each in log if each.stream == cart] for cart in CARTS]
        assert streams == [list(range(1, len(each) + 1)) for each in streams]
        assert kept(store.commit([entry("cart-1")])[0])
    with sqlite3.connect(path) as raw:
        assert raw.execute("pragma integrity_check").fetchall() == [("ok",)]
    raw.close()


# -- readers and a writer


def test_readers_see_what_was_committed_and_wait_for_nobody(sqlite: SqliteStore):
    kept(sqlite.commit([entry("s")])[0])
    with contextlib.closing(SqliteStore(sqlite.path)) as elsewhere:
        writing = OpenTransaction(sqlite)
        writing.do(sqlite.append([entry("s")]))
        for store in (sqlite, elsewhere):
            assert len(store.transact(store.read_all(), reading=True)) == 1
            assert len(asyncio.run(store.transact_async(store.read_all(), reading=True))) == 1
        with sqlite.transaction(reading=True) as reader:
            assert run(sqlite.extent(), reader) == (1, 1)
            writing.commit()
            assert run(sqlite.extent(), reader) == (1, 1), "one reading transaction sees one state of things"
        assert sqlite.transact(sqlite.extent(), reading=True) == (1, 2)


def test_who_promised_to_only_read_cannot_write(sqlite: SqliteStore):
    with pytest.raises(Unavailable, match="may not be written to"):
        sqlite.transact(sqlite.append([entry("s")]), reading=True)
    assert sqlite.transact(sqlite.extent(), reading=True) == (0, 0)


# -- waiting for another process


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else, who has the file to himself."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        other.execute("begin immediate")
        yield other
    finally:
        other.close()


def test_a_commit_waits_until_the_other_process_is_done(sqlite: SqliteStore):
    with locked(sqlite.path) as other, thread() as start:
        late = [start(sqlite.commit, [entry("s")]), start(lambda: asyncio.run(sqlite.commit_async([entry("s")])))]
        assert not any(each.done() for each in late)
        other.execute("rollback")
        assert sorted(kept(outcome)[0].seq for each in late for outcome in each.result(PATIENCE)) == [1, 2]


def test_who_has_waited_for_too_long_is_told_for_whom(path: Path):
    with contextlib.closing(SqliteStore(path, timeout=0.05)) as store, locked(path):
        for attempt in (
            lambda: store.commit([entry("s")]),
            lambda: store.transact(store.append([entry("s")])),
            lambda: asyncio.run(store.commit_async([entry("s")])),
        ):
            with pytest.raises(Unavailable, match=r"another process has kept it locked for 0\.05 s"):
                attempt()
        with pytest.raises(Unavailable, match="another process has kept it locked"):
            SqliteStore(path, timeout=0.05, prefix="other_")


def test_who_opens_a_file_that_has_its_tables_waits_for_nobody(path: Path):
    SqliteStore(path).close()
    with locked(path), contextlib.closing(SqliteStore(path, timeout=0.0)) as store:
        assert store.transact(store.groups(), reading=True) == []


def test_who_is_cancelled_while_he_waits_leaves_no_transaction_open(sqlite: SqliteStore):
    async def main() -> None:
        for waiting in (sqlite.commit_async([entry("s")]), sqlite.transact_async(sqlite.append([entry("s")]))):
            with locked(sqlite.path):
                task = asyncio.ensure_future(waiting)
                for _ in range(20):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        (outcome,) = await sqlite.commit_async([entry("t")])
        assert kept(outcome)

    asyncio.run(main())
    with locked(sqlite.path):
        assert [each.stream for each in sqlite.transact(sqlite.read_all(), reading=True)][-1] == "t"


def test_a_task_that_is_cancelled_in_its_transaction_leaves_none_open(sqlite: SqliteStore):
    async def main() -> None:
        async def work() -> None:
            async with sqlite.transaction_async() as connection:
                await run_async(sqlite.append([entry("s")]), connection)
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await sqlite.commit_async([entry("s")])

    asyncio.run(main())
    with locked(sqlite.path):
        assert [each.seq for each in sqlite.transact(sqlite.read_all(), reading=True)] == [1]


# -- loops and threads


def test_loops_that_end_and_loops_of_threads_share_a_store(sqlite: SqliteStore):
    app = Sourced(sqlite)
    app.register(Cart, Stock)

    async def order(turn: int) -> None:
        await asyncio.gather(*(app.aio.execute(AddItem("pen"), to=f"cart-{turn}-{n}") for n in range(3)))

    def work(turn: int) -> None:
        for _ in range(6):
            asyncio.run(order(turn))
            app.execute(AddItem("ink"), to=f"cart-{turn}-0")

    with thread() as start:
        for each in [start(work, turn) for turn in range(6)]:
            each.result(PATIENCE)
    carts = [app.load(Cart, f"cart-{turn}-{n}").state.items for turn in range(6) for n in range(3)]
    assert carts == [{"pen": 6, "ink": 6}, {"pen": 6}, {"pen": 6}] * 6


# -- closing


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells which files are open")
def test_a_store_that_was_closed_has_no_file_open(path: Path):
    store = SqliteStore(path)
    with thread() as start:
        for each in [start(store.transact, store.read_all(), reading=True) for _ in range(8)]:
            each.result(PATIENCE)
    asyncio.run(store.transact_async(store.read_all(), reading=True))
    assert open_files(path)
    store.close()
    assert open_files(path) == []


def open_files(path: Path) -> list[str]:
    links = [Path("/proc/self/fd", each) for each in os.listdir("/proc/self/fd")]
    found = [os.readlink(link) for link in links if link.exists() or link.is_symlink()]
    return [each for each in found if each.startswith(str(path))]


def test_a_store_that_was_closed_says_so(path: Path):
    store = SqliteStore(path)
    store.close()
    for attempt in (
        lambda: store.commit([entry("s")]),
        lambda: asyncio.run(store.commit_async([entry("s")])),
        lambda: store.transact(store.append([entry("s")])),
        lambda: store.transact(store.read_all(), reading=True),
        lambda: asyncio.run(store.transact_async(store.read_all(), reading=True)),
    ):
        with pytest.raises(Unavailable, match="this store was closed; open it anew"):
            attempt()


def test_a_store_that_is_closed_while_it_is_used_lets_nothing_through_by_halves(path: Path):
    store = SqliteStore(path)
    writing = OpenTransaction(store)
    writing.do(store.append([entry("s")]))
    store.close()
    with pytest.raises(Unavailable):
        writing.do(store.append([entry("s")]))
    with contextlib.suppress(Unavailable):
        writing.commit()
    with contextlib.closing(SqliteStore(path)) as again:
        assert again.transact(again.read_all()) == []
