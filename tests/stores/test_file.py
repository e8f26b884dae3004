"""The file store keeps the contract, gives everything back, and can be read by people."""

import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourced import Sourced
from sourced.errors import Invalid, SchemaMismatch, Unavailable
from sourced.ops import Call, Op, run_async
from sourced.store import Entry, Range, Store
from sourced.stores.file import FileStore, StoreInUse
from sourced.stores.file.folder import Folder
from sourced.stores.file.names import file_name
from sourced.stores.memory import MemoryStore
from sourced.testing import VirtualClock
from sourced.testing.conformance import AsyncStoreConformance, StoreConformance
from sourced.testing.conformance.bench import Broken, breaking, entry, kept, record, scheduled
from sourced.testing.conformance.day import Day
from sourced.testing.shop import AddItem, Cart, Products, Sales, Stock
from tests.stores.lives import holdings, live

# -- the contract ------------------------------------------------------------------------------------------------------


MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # thousands of small files: half the time, where it is there


class InFolders:
    """Every store in a folder of its own, all of them gone in the end."""

    folders: tempfile.TemporaryDirectory[str]

    def setup_method(self) -> None:
        self.folders = tempfile.TemporaryDirectory(dir=MEMORY)
        super().setup_method()  # type: ignore[misc]

    def teardown_method(self) -> None:
        super().teardown_method()  # type: ignore[misc]
        self.folders.cleanup()

    def folder(self) -> str:
        return tempfile.mkdtemp(dir=self.folders.name)


class TestFile(InFolders, StoreConformance):
    reactors = (Cart, Stock, Sales, Products)
    stride = 3

    def make(self) -> Store:
        return FileStore(self.folder(), sync=False)

    def outcome(self, day: Day, store: Store) -> object:
        """The rows a projector writes in the settling transaction stand or fall with it."""
        assert isinstance(store, FileStore)
        return super().outcome(day, store), dict(store.table("sales"))


class TestFileAsync(InFolders, AsyncStoreConformance):
    stride = 11

    def make(self) -> Store:
        return FileStore(self.folder(), shards=7, sync=False)


class Forgetful(FileStore):
    """Forgets all it knows before every other transaction, as if closed or, in turn, killed; and reads it again."""

    transactions = 0

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Any]:
        with super().transaction(reading=reading) as connection:
            self.transactions += 1
            if self.transactions % 2:
                self.read_again()
            yield connection

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading: bool = False) -> AsyncIterator[Any]:
        async with super().transaction_async(reading=reading) as connection:
            self.transactions += 1
            if self.transactions % 2:
                self.read_again()
            yield connection

    def read_again(self) -> None:
        if self.transactions % 4 == 1:
            self._folder.close()
        else:
            self._folder._release()
        again = Folder(self._folder.path, self.shards, sync=False)
        vars(self._tables).update(vars(again.tables))
        self._folder, again.tables = again, self._folder.tables


class TestFileReadAgainAllTheTime(InFolders, StoreConformance):
    reactors = (Cart, Stock, Sales, Products)
    stride = 60

    def make(self) -> Store:
        return Forgetful(self.folder(), sync=False)

    def outcome(self, day: Day, store: Store) -> object:
        assert isinstance(store, FileStore)
        return super().outcome(day, store), dict(store.table("sales"))


# -- everything comes back ---------------------------------------------------------------------------------------------


def do(store: Store, op: Op[Any]) -> Any:
    return store.transact(op)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_it_is_durable_and_one_process_owns_it(folder: Path):
    with contextlib.closing(FileStore(folder)) as store:
        assert (store.capabilities.durable, store.capabilities.shared) == (True, False)


def test_every_table_comes_back_after_every_transaction_of_a_life(folder: Path):
    expected = MemoryStore()
    for step in live():
        do(expected, step(expected))
        with contextlib.closing(FileStore(folder)) as store:
            do(store, step(store))
            assert holdings(store) == holdings(expected)
        with contextlib.closing(FileStore(folder)) as store:
            assert holdings(store) == holdings(expected)


def whole_life(store: Store) -> Op[None]:
    for step in live():
        yield from step(store)


def test_what_was_rolled_back_does_not_come_back(folder: Path):
    with contextlib.closing(FileStore(folder)) as store:
        do(store, store.append([entry("s")]))
        before = holdings(store)
        with pytest.raises(Broken):
            do(store, breaking(whole_life(store)))
        assert (folder / "journal.jsonl").read_text().count("\n") == 1
    with contextlib.closing(FileStore(folder)) as store:
        assert holdings(store) == before


def test_whoever_only_looks_writes_nothing(folder: Path):
    with contextlib.closing(FileStore(folder)) as store:
        do(store, store.append([entry("s")]))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with contextlib.closing(FileStore(folder)) as store:
        do(store, store.read_all())
        do(store, store.streams())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


PAYLOADS = [
    "{}", '{"a":  1}', ' {"a": 1} ', '{"a":\n1}', "not JSON", "{", "", '"text"', "1e400", "1.0", '{"a":1,"a":2}', "-0",
    '{"as text":"{}"}', '{"as text":1}', '"\\ud800"', '"\\u00e9"', '"é"', "\0", "1 2", "\r", '"\x7f"', "[[]]",
    '"\u2028"',
]  # fmt: skip


def test_payloads_and_metadata_come_back_to_the_last_blank(folder: Path):
    records = [record("s", payload=text, metadata=text) for text in PAYLOADS]
    with contextlib.closing(FileStore(folder)) as store:
        (stored,) = do(store, store.append([Entry("s", tuple(records))]))
        do(store, store.schedule([scheduled("later", payload=text) for text in PAYLOADS]))
        before = holdings(store)
    with contextlib.closing(FileStore(folder)) as store:
        (found,) = do(store, store.histories([Range("s")]))
        assert [each.payload for each in found] == [each.metadata for each in found] == PAYLOADS
        assert tuple(found) == kept(stored)
        assert holdings(store) == before


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5))
def test_any_text_comes_back_as_it_was(texts: list[str]):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        with contextlib.closing(FileStore(folder, sync=False)) as store:
            for text in texts:
                do(store, store.append([entry(text, 1, payload=text, type=text, causation_id=text)]))
            before = holdings(store)
        with contextlib.closing(FileStore(folder, sync=False)) as store:
            assert holdings(store) == before


def test_a_long_journal_is_made_short_while_the_program_runs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sourced.stores.file.folder.JOURNAL_LIMIT", 2000)
    with contextlib.closing(FileStore(folder, sync=False)) as store:
        for number in range(50):
            do(store, store.append([entry(f"s-{number % 5}")]))
        assert (folder / "journal.jsonl").stat().st_size < 3000
        before = holdings(store)
    with contextlib.closing(FileStore(folder, sync=False)) as store:
        assert holdings(store) == before


def test_it_is_opened_as_it_was_made(folder: Path):
    FileStore(folder, shards=7).close()
    with pytest.raises(SchemaMismatch, match=r"expected 64 shards, found 7; .* open it with shards=7"):
        FileStore(folder)
    FileStore(folder, shards=7).close()


def test_a_folder_of_another_version_is_not_touched(folder: Path):
    FileStore(folder).close()
    state = folder / "state.jsonl"
    state.write_text(state.read_text().replace('"format":1', '"format":2') + '{"row":"unheard of"}\n')
    with pytest.raises(SchemaMismatch, match=r"expected format 1, found format 2; update this library"):
        FileStore(folder)


def test_a_folder_that_cannot_be_had_is_unavailable(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"FileStore\('.*file'\): .*File exists"):
        FileStore(tmp_path / "file")


def test_a_folder_named_relatively_stays_the_same_when_the_program_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(FileStore("a/b")) as store:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        do(store, store.append([entry("s")]))
    assert (tmp_path / "a/b/log/s.jsonl").exists()


# -- a day in the life -------------------------------------------------------------------------------------------------


def test_a_day_at_the_shop_is_the_same_when_the_store_is_reopened_all_day_long(folder: Path):
    def lived(store: Any) -> tuple[Any, Any]:
        clock = VirtualClock()
        app = Sourced(store, clock=clock)
        app.register(Cart, Stock, Sales)
        day = Day(app, clock)
        day.live()
        return day.outcome(), dict(store.table("sales"))

    with contextlib.closing(Forgetful(folder)) as store:
        assert lived(store) == lived(MemoryStore())


def test_a_program_goes_on_where_the_last_one_ended(folder: Path):
    clock = VirtualClock()

    def opened() -> Sourced:
        app = Sourced(FileStore(folder), clock=clock)
        app.register(Cart, Stock, Sales)
        return app

    with opened() as app:
        app.execute(AddItem("pen", 2), to="cart-1")
        app.dispatch(AddItem("ink"), to="cart-1", after=timedelta(hours=1))
    with opened() as app:
        app.drain()
        assert app.load(Stock, "stock-pen").state.reserved == 2
    clock.advance(3600)
    with opened() as app:
        app.drain()
        assert app.load(Cart, "cart-1").state.items == {"pen": 2, "ink": 1}
        assert app.load(Stock, "stock-ink").state.reserved == 1
        assert isinstance(app.store, FileStore)
        assert app.store.table("sales") == {"cart-1": {"items": 3}}


# -- people can read it ------------------------------------------------------------------------------------------------


def test_a_stream_is_a_file_with_a_line_for_each_message_in_order(folder: Path):
    with Sourced(FileStore(folder), clock=VirtualClock()) as app:
        app.register(Cart)
        app.execute(AddItem("tea", 2), to="cart-1")
        text = (folder / "log" / "cart-1.jsonl").read_text("utf-8")
    command, event = text.splitlines()
    assert command.startswith(
        '{"seq":1,"position":1,"type":"shop.add_item","version":1,"payload":{"product":"tea","quantity":2},'
        '"metadata":{},"stream":"cart-1","created_at":"2026-01-01T12:00:00Z","id":"'
    )
    assert json.loads(event)["causation_id"] == json.loads(command)["id"]
    assert json.loads(event)["payload"] == {"product": "tea", "quantity": 2}


def test_a_transaction_is_a_line_of_the_journal_until_the_store_is_closed(folder: Path):
    with Sourced(FileStore(folder)) as app:
        app.register(Cart)
        app.execute(AddItem("tea", 2), to="cart-1")
        *_, last = map(json.loads, (folder / "journal.jsonl").read_text("utf-8").splitlines())
        assert [each["type"] for each in last["messages"]] == ["shop.add_item", "shop.item_added"]
    assert (folder / "journal.jsonl").read_text("utf-8") == ""


def test_the_state_is_a_row_a_line(folder: Path):
    with contextlib.closing(FileStore(folder)) as store:
        for step in live():
            do(store, step(store))
    rows = [json.loads(line) for line in (folder / "state.jsonl").read_text("utf-8").splitlines()]
    assert {row["row"] for row in rows} == {
        "store", "stream", "group", "progress", "straggler", "scheduled", "snapshots", "table",
    }  # fmt: skip
    assert {"row": "table", "table": "sales", "key": "cart-1", "value": {"items": 2}} in rows


ALIKE = [
    "cart", "Cart", "CART", "cart.", "cart..", ".cart", "cart ", " cart", "cart\t", "cart/1", "cart\\1", "cart:1",
    "cart_1", "cart-1", "cart%2F1", "cart.jsonl", "cart.jsonl.jsonl", "cart~", "~cart", "", " ", ".", "..", "../cart",
    "/cart", "con", "CON", "nul.txt", "com1", "caf\u00e9", "cafe\u0301", "CAF\u00c9", "cafe", "stra\u00dfe", "strasse",
    "\u212b", "\u00e5", "\ufb01", "fi", "\u0131", "i", "I", "\u0130", "żółw", "購物車", "🛒", "cart\n", "cart\0",
    "a" * 99, "a" * 100, "a" * 101, "a" * 300, "a" * 301, "é" * 300, "cart*", "cart?", "<cart>", "cart|", 'cart"',
    "lock", "state", "journal",
]  # fmt: skip


def folded(name: str) -> str:
    """As the most forgetful of file systems would see it."""
    return unicodedata.normalize("NFKC", name).casefold().rstrip(" .")


def test_streams_with_names_alike_are_kept_apart(folder: Path):
    with contextlib.closing(FileStore(folder, sync=False)) as store:
        for count, stream in enumerate(ALIKE, 1):
            do(store, store.append([entry(stream, count)]))
        before = holdings(store)
    files = [file.name for file in (folder / "log").iterdir()]
    assert len({folded(name) for name in files}) == len(files) == len(ALIKE)
    with contextlib.closing(FileStore(folder, sync=False)) as store:
        assert holdings(store) == before


def test_what_is_no_text_is_refused_and_the_store_goes_on(folder: Path):
    with contextlib.closing(FileStore(folder)) as store:
        do(store, store.register("g", "now"))
        before = holdings(store)
        for op in (store.stop("g", "half a character: \ud800"), store.append([entry("s", payload='"\ud800"')])):
            with pytest.raises(UnicodeEncodeError):
                do(store, op)
        assert holdings(store) == before
        do(store, store.append([entry("s")]))


@given(st.text(), st.text())
def test_any_two_names_are_kept_apart_everywhere(one: str, other: str):
    with contextlib.suppress(UnicodeEncodeError):
        names = {folded(file_name(each)) for each in (one, other, one.lower(), one + ".")}
        assert len(names) == len({one, other, one.lower(), one + "."})
        assert all(name.isascii() and len(name) < 120 and not set(name) & set('/\\:*?"<>|\0 \n') for name in names)


def test_ordinary_names_are_left_as_they_are_and_others_can_be_recognised():
    assert file_name("cart-1") == "cart-1.jsonl"
    assert file_name("shop.cart_0190f6a8-7b1c") == "shop.cart_0190f6a8-7b1c.jsonl"
    assert file_name("Cart-1").startswith("Cart-1~")
    assert file_name("tenants/acme/cart 1").startswith("tenants_acme_cart_1~")
    assert file_name("con").startswith("con~")


# -- tables of one's own -----------------------------------------------------------------------------------------------


def in_table(work: Any) -> Op[None]:
    def write(tx: Any) -> None:
        work(tx.table("rows"))

    yield Call(write)


def test_tables_of_ones_own_come_back(folder: Path):
    rows = {"a": {"n": [1, 2.5, None, True, "é"]}, 1: "one", 2.5: [], None: {}, "gone": 1}
    with contextlib.closing(FileStore(folder)) as store:
        do(store, in_table(lambda table: table.update(rows)))
        do(store, in_table(lambda table: table.pop("gone")))
        do(store, in_table(lambda table: (table.update(x=1), table.pop("x"))))
        rows.pop("gone")
        assert store.table("rows") == rows
        before = holdings(store)
    with contextlib.closing(FileStore(folder)) as store:
        assert store.table("rows") == rows
        assert store.table("nothing") == {}
        assert holdings(store) == before
        do(store, in_table(lambda table: table.clear()))
    with contextlib.closing(FileStore(folder)) as store:
        assert store.table("rows") == {}


@pytest.mark.parametrize("value", [(1, 2), {1: 2}, {"a"}, object(), b"x", float("nan"), VirtualClock().now(), "\ud800"])
def test_a_row_that_json_cannot_give_back_is_refused_where_it_is_written(folder: Path, value: Any):
    with contextlib.closing(FileStore(folder)) as store:
        with pytest.raises(Invalid, match=r"table 'rows' is not valid: row: expected what comes back from JSON"):
            do(store, in_table(lambda table: table.update(a=value)))
        assert store.table("rows") == {}


def test_a_key_that_json_cannot_give_back_is_refused_as_well(folder: Path):
    with (
        contextlib.closing(FileStore(folder)) as store,
        pytest.raises(Invalid, match=r"table 'rows' is not valid: key: .*, found \('a', 1\)"),
    ):
        do(store, in_table(lambda table: table.update({("a", 1): 1})))


def test_a_row_that_was_read_is_a_copy_so_that_nothing_is_changed_without_being_written(folder: Path):
    def change(table: Any) -> None:
        table["a"]["n"] = 2
        assert (table["a"], repr(table)) == ({"n": 1}, "{'a': {'n': 1}}")

    with contextlib.closing(FileStore(folder)) as store:
        do(store, in_table(lambda table: table.update(a={"n": 1})))
        do(store, in_table(change))


# -- one process at a time ---------------------------------------------------------------------------------------------

OPEN = """
import sys
from sourced.stores.file import FileStore, StoreInUse
try:
    FileStore(sys.argv[1])
except StoreInUse as error:
    print(error.pid, error, sep="|")
"""


def test_another_process_is_refused_and_told_by_whom(folder: Path):
    with contextlib.closing(FileStore(folder)):
        command = [sys.executable, "-c", OPEN, str(folder)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    pid, _, error = told.partition("|")
    assert error.startswith(
        f"FileStore({str(folder)!r}): it is open in process {pid}; end it first, or use another folder"
    )
    FileStore(folder).close()


def test_the_same_process_is_refused_too(folder: Path):
    with contextlib.closing(FileStore(folder)), pytest.raises(StoreInUse, match="this process already; close that"):
        FileStore(folder)
    FileStore(folder).close()


FORK = """
import os, sys
from sourced.errors import Unavailable
from sourced.stores.file import FileStore
store = FileStore(sys.argv[1])
if child := os.fork():
    os.waitpid(child, 0)
    with store.transaction():
        print("and the parent goes on")
    store.close()
else:
    try:
        with store.transaction(): print("expected to be refused")
    except Unavailable as error:
        print(error)
    store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nobody forks there")
def test_a_fork_is_refused_and_its_parent_is_not_disturbed(folder: Path):
    command = [sys.executable, "-u", "-c", FORK, str(folder)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    assert "it belongs to process" in told[0]
    assert "which this one was forked from; open another folder here" in told[0]
    assert told[1:] == ["and the parent goes on"]


def test_a_closed_store_says_so_on_both_sides(folder: Path):
    store = FileStore(folder)
    store.close()
    store.close()
    with pytest.raises(Unavailable, match="this store was closed; open it anew"):
        do(store, store.append([entry("s")]))

    async def appended() -> None:
        async with store.transaction_async() as connection:
            await run_async(store.append([entry("s")]), connection)

    with pytest.raises(Unavailable):
        asyncio.run(appended())


def test_opening_what_was_closed_says_nothing(folder: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.DEBUG, "sourced"):
        for _ in range(3):
            with contextlib.closing(FileStore(folder)) as store:
                do(store, store.append([entry("s")]))
    assert caplog.messages == []
