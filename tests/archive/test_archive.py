"""Everything a store holds goes into an archive, and from there into a store of another kind: nothing is lost, nothing
is handled twice."""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sourced import Sourced
from sourced.archive import Contents, export_to, import_from, importing
from sourced.audit import OPERATIONS
from sourced.errors import Conflict, Duplicate, Invalid, NotEmpty, NotKnown
from sourced.store import Entry, Store
from sourced.stores.file import FileStore
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing.clock import START
from sourced.testing.conformance.bench import entry
from sourced.testing.shop import AddItem, Cart, ItemAdded, Stock
from tests.archive.factory import Tallies, archive, busy, copied, everything, factory, outcome
from tests.every_store import EmptiedDatabases

Make = Callable[[str], Store]

ROUND_TRIP = (
    "sqlite",
    "memory",
    "postgres",
    "memory",
    "file",
    "sqlite",
    "postgres",
    "sqlite",
    "file",
    "postgres",
    "file",
)


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Empty stores of any kind."""
    with contextlib.ExitStack() as closing:

        def make(kind: str) -> Store:
            if kind == "memory":
                return MemoryStore()
            if kind == "postgres":
                databases: EmptiedDatabases = request.getfixturevalue("emptied_databases")
                store: Store = PostgresStore(closing.enter_context(databases.one()))
            else:
                path = tmp_path / f"{len(list(tmp_path.iterdir()))}"
                store = SqliteStore(path) if kind == "sqlite" else FileStore(path, sync=False)
            closing.callback(store.close)
            return store

        yield make


def test_a_busy_store_goes_from_every_kind_to_every_kind_and_is_the_same(make: Make):
    """The log, the groups and their shards, their rows, whoever waits and since when, the schedule."""
    there = make("memory")
    busy(there)
    before, story = everything(there), told(there)
    assert {group.status for group, *_ in before["groups"]} == {"active", "stopped"}
    assert before["waiting"]
    assert before["scheduled"]
    counted = Contents(
        len(before["log"]), sum(len(rows) for *_, rows in before["groups"]), len(before["groups"]),
        len(before["waiting"]), len(before["scheduled"]),
    )  # fmt: skip
    for kind in ROUND_TRIP:
        here = make(kind)
        assert copied(there, here) == counted
        assert everything(here) == before
        there = here
    assert told(there) == story


def told(store: Store) -> Any:
    """What an app tells of it."""
    app = factory(store)
    messages = app.read_all()
    histories = {each.stream: app.history(each.stream) for each in app.streams(limit=None)}
    traces = {each.id: app.trace(each.id) for each in messages}
    waiting = app.parked.list(), app.scheduled.list()
    return (
        [replace(each, position=0) for each in messages],
        ids(histories),
        ids(traces),
        app.views(Tallies).all(),
        waiting,
    )


def ids(found: Any) -> Any:
    return {name: [each.id for each in messages] for name, messages in found.items()}


@pytest.mark.parametrize(
    ("there", "later"), [("memory", 0), ("memory", 7200), ("sqlite", 7200), ("postgres", 0), ("file", 7200)]
)
def test_a_copy_goes_on_as_the_original_does(make: Make, there: str, later: float):
    original, copy = make("memory"), make(there)
    busy(original)
    copied(original, copy)
    assert outcome(copy, later) == outcome(original, later)


def test_nobody_handles_anything_while_messages_come_in(make: Make):
    """A worker of the copy that is early: the groups are there, and stopped."""
    original, copy = make("sqlite"), make("sqlite")
    busy(original)
    expected = everything(original)

    def early(done: int, total: int) -> None:
        assert factory(copy).drain() == 0

    import_from(copy, io.BytesIO(archive(original)), told=early)
    assert everything(copy) == expected


def test_who_imports_is_told_with_the_rest_if_it_is_said(make: Make):
    """In the last transaction, after all that came; whoever only copies gets a log that is the same to the message."""
    original, copy = make("sqlite"), make("memory")
    busy(original)
    counted = copied(original, make("memory"))
    import_from(copy, io.BytesIO(archive(original)), by="vera", reason="the disk had died")
    *before, last = copy.transact(copy.read_all())
    assert len(before) == counted.messages
    (event,) = [m.payload for m in Sourced(copy).history(OPERATIONS) if m.id == last.id]
    assert (event.by, event.reason, event.made_at) == ("vera", "the disk had died", START)
    assert (event.messages, event.rows, event.groups) == (counted.messages, counted.rows, counted.groups)
    assert event.store == repr(original)


def test_where_a_round_had_died_is_known_in_the_copy_too(make: Make):
    original, copy = make("memory"), make("sqlite")
    Sourced(original).append("s", [ItemAdded("tea", n) for n in range(1, 9)])
    original.transact(original.register("g", "beginning"))
    for seconds in (0, 31):  # the second one finds what the first has left
        now = START + timedelta(seconds=seconds)
        original.transact(original.claim("g", f"w{seconds}", now=now, until=now + timedelta(seconds=30), limit=5))
    copied(original, copy)
    later = START + timedelta(seconds=90)
    (lease,) = copy.transact(copy.claim("g", "new", now=later, until=later, limit=5)).leases
    assert lease.careful == 5


def test_how_far_it_is_can_be_watched(make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importing, "BATCH", 3)
    store, told = make("memory"), []
    Sourced(store).append("s", [ItemAdded("tea", n) for n in range(1, 9)])
    export_to(store, io.BytesIO(), made_at=START, told=lambda *at: told.append(at))
    assert told == [(0, 8), (8, 8)]
    told.clear()
    import_from(make("memory"), io.BytesIO(archive(store)), told=lambda *at: told.append(at))
    assert told == [(0, 8), (3, 8), (6, 8), (8, 8)]


# -- interrupted


class Killed(BaseException): ...


@pytest.mark.parametrize("kind", ["memory", "sqlite", "file", "postgres"])
def test_one_that_was_interrupted_goes_on_where_it_was(make: Make, kind: str, monkeypatch: pytest.MonkeyPatch):
    """Wherever that was, again and again."""
    monkeypatch.setattr(importing, "BATCH", 20)
    original, copy = make("memory"), make(kind)
    busy(original)
    lines, told = archive(original), set()

    def die(done: int, total: int) -> None:
        if done not in told:
            told.add(done)
            raise Killed

    for _ in range(100):
        with contextlib.suppress(Killed):
            import_from(copy, io.BytesIO(lines), told=die)
            break
        assert {group.status for group in copy.transact(copy.groups())} == {"stopped"}
    assert len(told) > 5
    assert everything(copy) == everything(original)


def test_an_archive_that_breaks_off_is_filled_in_by_the_whole_one(make: Make):
    """And what stands in the store meanwhile says so."""
    original, copy = make("memory"), make("sqlite")
    busy(original)
    whole = archive(original)
    lines = whole.splitlines(keepends=True)
    for part in (lines[:30], [*lines[:60], lines[60][:50]], lines[:-1]):  # as from a pipe
        with pytest.raises(Invalid, match=r"archive is not valid: line \d+: expected"):
            import_from(copy, part)
    assert all("is being imported" in info.group.reason for info in Sourced(copy).groups.list())
    import_from(copy, io.BytesIO(whole))
    assert everything(copy) == everything(original)


# -- what is refused


def test_a_store_that_holds_anything_else_is_not_filled(make: Make):
    original = make("memory")
    busy(original)
    lines = archive(original)

    def refused(copy: Store) -> None:
        before = everything(copy)
        with pytest.raises(NotEmpty, match="expected an empty store"):
            import_from(copy, io.BytesIO(lines))
        assert everything(copy) == before

    def filled() -> Iterator[Store]:
        yield original
        for fill in (
            lambda app: app.append("s", ItemAdded("tea", 1)),
            lambda app: app.register(Cart) or app.status(),
            lambda app: app.dispatch(AddItem("tea"), to="s", after=60),
        ):
            store = make("sqlite")
            fill(Sourced(store))
            yield store
        done = make("memory")
        import_from(done, io.BytesIO(lines))
        yield done
        other = make("memory")
        with pytest.raises(Invalid):
            import_from(other, archive(original).splitlines(keepends=True)[:9])
        yield other  # another archive, even of the same store, is another import

    for store in filled():
        refused(store)


def test_an_archive_that_was_torn_or_changed_is_refused_before_anything_is_written(make: Make):
    """A file can be read to its end first."""
    original, copy = make("memory"), make("sqlite")
    busy(original)
    lines = archive(original)
    every = lines.splitlines(keepends=True)
    for tampered, said in (
        (b"", "line 1: expected the heading of an archive, found the end"),
        (b"hello\n", "line 1: expected the heading of an archive"),
        (every[1], "line 1: expected the heading of an archive"),
        (every[0], "line 2: expected its last line; it was not written to its end, export it again, found the end"),
        (every[0].replace(b'"format":1', b'"format":2'), "line 1: expected format 1; update Sourced"),
        (b"".join(every[:-1]), f"line {len(every) - 1}: expected its last line"),
        (lines[:-40], f"line {len(every)}: expected its last line"),
        (lines.replace(b"factory.order", b"factory.0rder", 1), "of the lines before; they were changed"),
        (b"".join([*every[:5], *every[6:]]), "of the lines before; they were changed"),
    ):
        with pytest.raises(Invalid) as error:
            import_from(copy, io.BytesIO(tampered))
        assert said in str(error.value)
    assert copied(copy, make("memory")) == Contents()


def test_what_comes_through_a_pipe_is_refused_where_it_is_found_out(make: Make):
    original = make("memory")
    busy(original)
    every = archive(original).splitlines(keepends=True)
    message = json.loads(every[1])["message"]
    twice = every[3].replace(json.loads(every[3])["message"]["id"].encode(), message["id"].encode())
    elsewhere = every[3].replace(b'"seq":', b'"seq":9')
    for tampered, said in (
        ([b""], "line 1: expected the heading of an archive"),
        ([*every[:5], b"{}\n", *every[5:]], "line 6: expected what waits, or the end"),
        ([*every[:5], every[-1]], "line 6: expected Contents"),
        (
            [*every[:5], every[5].replace(b"factory", b"victory", 1), *every[6:]],
            "of the lines before; they were changed",
        ),
        ([*every, every[-1]], f"line {len(every) + 1}: expected nothing after the end"),
        ([*every[:3], twice, *every[4:]], "already stored"),
        ([*every[:3], elsewhere, *every[4:]], "not at the expected"),
    ):
        copy = make("memory")
        with pytest.raises((Invalid, Conflict, Duplicate)) as error:
            import_from(copy, tampered)
        assert said in str(error.value)
        assert {group.status for group in copy.transact(copy.groups())} <= {"stopped"}


def test_one_who_writes_to_the_store_meanwhile_is_found_out(make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    original, copy = make("memory"), make("sqlite")
    busy(original)
    lines = archive(original)

    def die(done: int, total: int) -> None:
        if done == 20:
            raise Killed

    with pytest.raises(Killed):
        import_from(copy, io.BytesIO(lines), told=die)
    copy.transact(copy.append([entry("somebody")]))
    with pytest.raises(Invalid, match="which the store holds here; empty it, and import anew"):
        import_from(copy, io.BytesIO(lines))


# -- what is kept


def test_every_message_is_kept_to_the_last_character(make: Make):
    """Also what is no JSON at all, or not on one line."""
    original, copy = make("sqlite"), make("postgres")
    texts = ['{"n":1}', '{ "n" : 1.0 }', '{\n"n": 1}', "no json", '"żółw \\u0000 \U0001f422"', "", '{"as text":"x"}']
    for text in texts:
        (record,) = entry("s").records
        record = replace(record, payload=text, metadata=text, version=3, settled_by=("a", 'b"c'))
        original.transact(original.append([Entry("s", (record,))]))
    copied(original, copy)
    assert everything(copy) == everything(original)
    assert [record.payload for record in copy.transact(copy.read_all())] == texts


def test_an_empty_store_makes_an_archive_too(make: Make):
    original, copy = make("memory"), make("sqlite")
    Sourced(original).register(Cart)
    assert copied(original, copy) == Contents()
    assert copied(copy, make("postgres")) == Contents()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_an_archive_is_of_one_moment_while_others_work_on(make: Make, kind: str):
    """Whatever was decided in it has its events in it, and whatever was not is decided by the copy: once."""
    original = make(kind)
    shop = Sourced(original, batch=10)
    shop.register(Cart, Stock)
    stop, archives = threading.Event(), []

    def work(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            shop.dispatch(AddItem("tea"), to=f"c{(number * 7 + turn) % 20}")
            shop.drain(limit=3)

    with ThreadPoolExecutor(3) as threads:
        working = [threads.submit(work, number) for number in range(2)]
        try:
            while shop.status().position < 150:
                assert not any(each.done() for each in working)
            archives = [archive(original) for _ in range(3)]
        finally:
            stop.set()
        for each in working:
            each.result()
    for lines in archives:
        copy = make("memory")
        import_from(copy, io.BytesIO(lines))
        app = Sourced(copy)
        app.register(Cart, Stock)
        app.drain()
        items = [message for message in app.read_all() if message.type == "shop.add_item"]
        assert len(items) >= 25
        assert len([m for m in app.read_all() if m.type == "shop.item_added"]) == len(items)
        assert app.load(Stock, "stock-tea").state.reserved == len(items)


def test_what_can_be_made_anew_is_not_in_it(make: Make):
    """Rows that are kept from before a rebuild, and what workers have in hand."""
    original, copy = make("memory"), make("sqlite")
    busy(original)
    assert factory(original).restore(Tallies, dry_run=True).was == "active"
    copied(original, copy)
    with pytest.raises(NotKnown, match="nothing was rebuilt yet"):
        factory(copy).restore(Tallies, dry_run=True)
    factory(copy).rebuild(Tallies)
    assert factory(copy).views(Tallies).all() == factory(original).views(Tallies).all()
