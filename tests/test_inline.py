"""Inline projections: rows are written in the transaction of the append itself, or neither is."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pytest

from sourced import (
    Actor,
    Batch,
    Command,
    Commands,
    DefinitionError,
    Message,
    Park,
    Projector,
    Sourced,
    after_commit,
    decide,
    dispatch,
    evolve,
    react,
    sync,
)
from sourced.actions import AfterCommit, RetryAt
from sourced.clock import SystemClock
from sourced.errors import Behind
from sourced.ops import run
from sourced.reactor import Delivery
from sourced.store import Store, shard_of
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.telemetry import Handled
from sourced.testing import CrashingStore, VirtualClock, crash_everywhere
from tests.listings import (
    Added,
    Discount,
    Emptied,
    Histories,
    Listing,
    Listings,
    PerProduct,
    Renamed,
    Tally,
    discounts,
    listing,
)
from tests.rows import get, put, table
from tests.test_shared_rows import another


class Add(Command, type="inline.add"):
    product: str
    price: int = 1


class Cart(Actor[None], group="carts"):
    @decide
    def add(self, state: None, command: Add) -> Any:
        yield Added(command.product, command.price)


class Picky(Projector[dict[str, int]], group="picky"):
    """Rows of one's own, by product; it cannot take what is free."""

    def key(self, message: Message[Any]) -> str:
        return message.payload.product

    def initial(self, key: str) -> dict[str, int]:
        return {"total": 0}

    def load(self, key: str, tx: Any) -> Any:
        return get(tx, "totals", key)

    @evolve
    def added(self, row: dict[str, int], event: Added) -> None:
        if not event.price:
            raise ValueError("free")
        row["total"] += event.price

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> Any:
        if row["total"] > 1000:
            raise ValueError("too much")
        return put(tx, "totals", batch.key, dict(row))

    def on_reset(self, tx: Any) -> None:
        table(tx, "totals").clear()


def inline(*projectors: Any, others: tuple[Any, ...] = (Cart,), **options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), "errors": Park(), **options})
    app.register(*others)
    app.register(*projectors or (Listings,), inline=True)
    return app


def row(app: Sourced, key: str) -> Listing:
    return cast("Listing", app.views(Listings).get(key))


def totals(app: Sourced) -> dict[str, int]:
    return {key: row["total"] for key, row in table(app.store, "totals").items()}


# -- whoever has stored something finds it in the rows


@pytest.mark.parametrize("kind", [Listings, Histories])
def test_rows_are_there_as_soon_as_the_append_has_returned(kind: Any, store: Store):
    app = inline(kind, store=store)
    rows: Any = app.views(kind)
    app.append("c1", [Added("tea", 3), Added("mug", 4)])
    assert rows.get("c1").products == ["tea", "mug"]
    app.dispatch(Renamed("Ann's"), to="c1")
    assert rows.get("c1").name == "Ann's"
    app.execute(Add("jam", 2), to="c1")
    assert (rows.get("c1").total, rows.count()) == (9, 1)
    cart = app.load(Cart, "c2")
    cart.execute(Add("tea"))
    assert rows.get("c2").products == ["tea"]
    app.append("c1", Emptied())
    assert rows.get("c1") is None
    assert app.append("c2", []) == []


def test_nothing_of_it_is_handled_once_more(store: Store):
    app = inline(PerProduct, store=store)
    message = app.dispatch(Added("tea", 3), to="c1")
    app.append("c2", [Added("tea", 4), Added("free", 0)])
    app.wait_for(message, timeout=0)
    app.drain()
    assert app.views(PerProduct).all() == {"tea": Tally(2, 7)}
    assert discounts(app) == [3, 7]


def test_a_row_is_as_of_its_event_when_it_is_reacted_to(store: Store):
    """H142. And what is asked for is stored with the rows: on the schedule, due at once."""
    app = inline(store=store)
    app.append("c1", [Added("tea", 15), Added("mug", 7), Added("jam", 1)])
    assert [each.record.type for each in app.scheduled.list()] == ["list.discount", "list.discount"]
    app.drain()
    assert discounts(app) == [22, 23]
    (first, _) = app.read_all(types=[Discount])
    assert first.causation_id == app.history("c1")[1].id
    assert first.metadata["producer"] == "listings"


def test_what_a_round_appends_is_projected_with_it(store: Store):
    app = inline(store=store)
    for number in range(5):
        app.dispatch(Add("tea", number), to=f"c{number}")
    app.dispatch(Add("mug", 9), to="c1")
    assert app.views(Listings).all() == {}
    app.drain(limit=6)  # the round of carts, and nobody else's
    assert row(app, "c1").total == 10
    with app.store.transaction(reading=True) as connection:
        stored = run(app.store.read_all(types=["list.added"]), connection)
    assert [record.settled_by for record in stored] == [("listings",)] * 6


def test_what_a_handler_sends_is_projected_with_it(store: Store):
    app = inline(PerProduct, store=store)

    @app.on(Renamed)
    def stock(event: Message[Renamed]) -> Any:
        yield dispatch(Added(event.payload.name, 5), to="c9")

    app.append("c1", Renamed("tea"))
    app.drain()
    assert app.views(PerProduct).all() == {"tea": Tally(1, 5)}
    assert app.status().groups[1].lag == 0


class Noted(Command, type="inline.noted"):
    product: str


class Notes(Projector[Tally], group="notes"):
    @evolve
    def noted(self, row: Tally, command: Noted) -> None:
        row.count += 1


class Loud(Actor[None], group="loud"):
    @decide
    def add(self, state: None, command: Add) -> Any:
        yield Added(command.product, command.price)

    @react
    def note(self, state: None, event: Added) -> Commands:
        yield dispatch(Noted(event.product), to=f"notes-{event.product}")

    @after_commit
    def tell(self, state: None, batch: Batch) -> None: ...


def test_one_hook_after_the_commit_leaves_nothing_of_a_round_out(store: Store):
    app = inline(Notes, Listings, others=(Loud,), store=store)
    app.append("c1", Added("tea"))
    app.dispatch(Add("mug"), to="c1")
    app.drain()
    assert [m.payload.product for m in app.read_all(types=[Noted])] == ["tea", "mug"]
    assert app.views(Notes).all() == {"notes-tea": Tally(1), "notes-mug": Tally(1)}
    with app.store.transaction(reading=True) as connection:
        stored = run(app.store.read_all(types=["list.added"]), connection)
    assert [record.settled_by for record in stored] == [("listings",)] * 2


def test_what_a_unit_stores_is_projected_with_it(store: Store):
    app = inline(store=store)
    app.unit(Cart).execute(Add("tea", 3), to="c1")
    assert row(app, "c1").total == 3
    app.unit(Cart, Listings).execute(Add("mug", 4), to="c1")
    assert row(app, "c1").total == 7
    app.drain()
    assert row(app, "c1").total == 7


def test_a_transaction_sees_the_rows_it_has_made(store: Store):
    app = inline(store=store)
    with contextlib.suppress(ZeroDivisionError), app.transaction() as tx:
        tx.append("c1", Added("tea", 3))
        assert tx.views(Listings).all()["c1"].total == 3
        raise ZeroDivisionError
    assert (app.views(Listings).all(), app.read_all()) == ({}, [])
    with app.transaction() as tx:
        tx.append("c1", Added("tea", 3))
        tx.execute(Add("mug", 4), to="c2")
    assert app.views(Listings).all().keys() == {"c1", "c2"}


def test_rows_belong_to_a_transaction_of_the_callers_own(store: Store):
    if not isinstance(store, PostgresStore | SqliteStore):
        pytest.skip("it keeps nothing in a database")
    app = inline(Picky, store=store)
    app.append("c1", Added("tea", 1))
    for fate in ("rollback", "commit"):
        raw: Any = psycopg.connect(store.url) if isinstance(store, PostgresStore) else sqlite3.connect(store.path)
        raw.execute("begin")
        app.using(raw).append("c1", Added("tea", 10))
        raw.execute(fate)
        raw.close()
        assert totals(app) == {"tea": 1 if fate == "rollback" else 11}


def test_the_awaited_side_does_the_same(new_store: Callable[[], Store]):
    """With blocks that are awaited where the transaction is."""

    class Awaited(Picky, group="awaited"):
        async def load(self, key: str, tx: Any) -> Any:
            found = super().load(key, tx)
            return await found if hasattr(found, "__await__") else found

        @react
        async def discount(self, row: Any, event: Added) -> Any:
            await asyncio.sleep(0)
            yield Discount(row["total"])

    async def story() -> None:
        app = inline(Awaited, store=new_store())
        await app.aio.append("c1", [Added("tea", 3), Added("mug", 4)])
        await asyncio.gather(*(app.aio.execute(Add("tea", 5), to=f"c{number}") for number in range(4)))
        with pytest.raises(ValueError, match="free"):
            await app.aio.append("c1", Added("tea", 0))
        async with app.aio.transaction() as tx:
            await tx.append("c2", Added("mug", 1))
        assert totals(app) == {"tea": 23, "mug": 5}
        await app.aio.drain()
        assert sorted(discounts(app)) == [3, 4, 5, 8, 13, 18, 23]

    asyncio.run(story())


def test_what_follows_a_commit_follows_it(store: Store):
    """H145. And a rollback it does not."""
    told: list[tuple[str, int]] = []

    class Telling(Listings, group="telling"):
        @after_commit
        def tell(self, row: Any, batch: Batch) -> None:
            told.append((batch.key, app.views(Telling).all()[batch.key].total))

        @sync
        def check(self, row: Any, batch: Batch, tx: Any) -> None:
            if row.total > 100:
                raise ValueError("too much")

    app = inline(Telling, store=store)
    app.append("c1", [Added("tea", 3), Added("tea", 4)])
    app.execute(Add("tea", 2), to="c1")
    app.dispatch(Add("mug", 1), to="c1")
    app.drain()
    with pytest.raises(ValueError, match="too much"):
        app.append("c1", Added("tea", 100))
    assert told == [("c1", 7), ("c1", 9), ("c1", 10)]


def test_who_listens_hears_of_it(store: Store):
    app, heard = inline(Picky, store=store), list[tuple[str, list[Any], str]]()

    def hear(happening: object) -> None:
        if isinstance(happening, Handled):
            payloads = [message.payload for message in happening.messages]
            heard.append((happening.group, payloads, repr(happening.error)))

    app.telemetry.listen(hear)
    app.append("c1", [Added("tea", 3), Added("mug", 4)])
    with pytest.raises(ValueError, match="free"):
        app.append("c1", Added("tea", 0))
    assert heard == [
        ("picky", [Added("tea", 3)], "None"),
        ("picky", [Added("mug", 4)], "None"),
        ("picky", [Added("tea", 0)], "ValueError('free')"),
    ]


# -- what a projector cannot take is not stored


@pytest.mark.parametrize("price", [0, 2000])
def test_an_error_refuses_the_append_and_leaves_nothing(price: int, store: Store):
    """Whether it comes from the row or from saving it."""
    app = inline(Picky, store=store)
    app.append("c1", Added("tea", 3))
    before = app.read_all()
    cart = app.load(Cart, "c1")
    for attempt in (
        lambda: app.append("c1", [Added("mug", 1), Added("tea", price)]),
        lambda: app.dispatch(Added("tea", price), to="c2"),
        lambda: app.execute(Add("tea", price), to="c1"),
        lambda: cart.execute(Add("tea", price)),
        lambda: app.unit(Cart).execute(Add("tea", price), to="c3"),
    ):
        with pytest.raises(ValueError, match="free" if price == 0 else "too much"):
            attempt()
    assert (app.read_all(), totals(app), cart.seq) == (before, {"tea": 3}, 1)
    cart.execute(Add("tea", 4))
    assert totals(app) == {"tea": 7}


def test_one_that_fails_in_a_transaction_is_undone_and_the_rest_goes_on(store: Store):
    app = inline(Picky, store=store)
    with app.transaction() as tx:
        tx.append("c1", Added("tea", 3))
        with pytest.raises(ValueError, match="free"):
            tx.append("c1", Added("tea", 0))
        tx.append("c2", Added("tea", 4))
    assert (totals(app), len(app.read_all())) == ({"tea": 7}, 2)


def test_a_round_blames_the_stream_whose_message_could_not_be_projected(store: Store):
    app = inline(Picky, store=store)
    for number in range(6):
        app.dispatch(Add("tea", number % 3), to=f"c{number}")
    app.drain()
    assert totals(app) == {"tea": 6}
    assert sorted((each.group, each.stream) for each in app.parked.list()) == [("carts", "c0"), ("carts", "c3")]
    assert {each.error for each in app.parked.list()} == {"ValueError: free"}


def test_a_key_that_is_none_refuses_the_append(store: Store):
    class Unkeyed(Picky, group="unkeyed"):
        def key(self, message: Message[Any]) -> Any:
            return 7

    app = inline(Unkeyed, store=store)
    with pytest.raises(TypeError, match="a key is text"):
        app.append("c1", Added("tea"))
    assert app.read_all() == []


def test_a_crash_anywhere_leaves_the_message_and_its_row_or_neither(new_store: Callable[[], Store]):
    def scenario(store: Any) -> None:
        app = inline(Picky, PerProduct, store=store)
        app.append("c1", [Added("tea", 3), Added("mug", 1)])
        app.execute(Add("tea", 4), to="c1")

    def check(store: Store) -> None:
        app = inline(Picky, PerProduct, store=store)
        stored: dict[str, int] = {}
        for message in app.read_all(types=[Added]):
            stored[message.payload.product] = stored.get(message.payload.product, 0) + message.payload.price
        assert totals(app) == stored
        assert {key: row.total for key, row in app.views(PerProduct).all().items()} == stored

    assert crash_everywhere(new_store, scenario, check) > 10


# -- what was there before


def test_what_was_stored_before_it_was_inline_comes_first(store: Store):
    before = Sourced(store, clock=VirtualClock())
    for number in range(30):
        before.append(f"c{number % 3}", Added("tea", number))
    app = inline(PerProduct, Listings, store=store)
    app.append("c1", Added("tea", 1000))
    assert row(app, "c1").total == sum(range(1, 30, 3)) + 1000
    app.drain()
    assert app.views(PerProduct).get("tea") == Tally(30, sum(range(30)) + 1000)
    assert len(discounts(app)) > 31


def test_what_a_program_stores_that_does_not_know_it_comes_first_as_well(store: Store):
    """A deployment goes from program to program."""
    app, old = inline(store=store), Sourced(store, clock=VirtualClock())
    for number in range(1, 5):
        (old if number % 2 else app).append("c1", Added("tea", number))
    assert row(app, "c1").total == 10
    old.register(Cart)
    old.execute(Add("mug", 5), to="c1")
    app.dispatch(Add("jam", 6), to="c1")
    app.drain()
    assert row(app, "c1").products == [*["tea"] * 4, "mug", "jam"]


def test_what_comes_due_is_handled_by_the_workers(store: Store):
    clock = VirtualClock()
    app = inline(store=store, clock=clock)
    app.dispatch(Added("tea", 3), to="c1", after=60)
    clock.advance(61)
    app.drain()
    app.append("c1", Added("mug", 4))
    assert row(app, "c1").products == ["tea", "mug"]


@pytest.mark.parametrize("kind", [Listings, PerProduct, Picky])
def test_after_a_reset_the_replay_comes_first(kind: Any, store: Store):
    """F107. Nothing is counted twice, and reactions stay silent."""
    app = inline(kind, store=store)
    app.append("c1", [Added("tea", 30), Added("tea", 4)])
    app.drain()
    sent = discounts(app)
    app.groups.reset(kind)
    app.append("c1", Added("tea", 5))
    app.drain()
    if kind is Picky:
        assert totals(app) == {"tea": 39}
        return
    (row,) = app.views(kind).all().values()
    assert (row.total, discounts(app)) == (39, [*sent, 39])


def test_while_it_is_stopped_messages_are_stored_without_it(store: Store):
    """The way out when its code is broken: what it missed is handled when it is started again."""
    app = inline(Picky, store=store)
    app.groups.stop(Picky, reason="it cannot take what is free")
    app.append("c1", [Added("tea", 2), Added("tea", 3)])
    app.execute(Add("tea", 4), to="c1")
    app.drain()
    assert totals(app) == {}
    app.groups.start(Picky)
    app.append("c1", Added("tea", 5))
    assert totals(app) == {"tea": 14}


def test_a_stream_that_is_parked_takes_nothing_more(store: Store):
    """What came before cannot be projected, so what follows cannot be stored; other streams go on."""
    before = Sourced(store, clock=VirtualClock())
    before.append("c1", Added("tea", 0))
    clock = VirtualClock()
    app = inline(Picky, store=store, clock=clock)
    with pytest.raises(Behind, match=r"'picky' is projected inline, and has earlier messages of 'c1'") as caught:
        app.execute(Add("tea", 3), to="c1")
    assert (caught.value.group, caught.value.streams) == ("picky", ("c1",))
    with pytest.raises(Behind):
        app.unit(Cart).execute(Add("tea", 3), to="c1")
    app.append("c2", Added("tea", 4))
    assert totals(app) == {"tea": 4}
    app.dispatch(Add("tea", 5), to="c1")
    app.dispatch(Add("tea", 6), to="c3")
    app.drain()
    assert totals(app) == {"tea": 10}
    (carts,) = [group for group in app.status().groups if group.name == "carts"]
    assert [each.stream for each in carts.stragglers] == ["c1"]
    app.parked.skip(Picky, "c1", reason="it was free")
    clock.advance(2)
    app.drain()
    assert totals(app) == {"tea": 15}


# -- many at once


def test_groups_and_rows_are_held_in_one_order_whatever_is_stored_first():
    """Else two appends that write to the same rows of two projectors may each wait for the other."""
    store = Watched(MemoryStore())
    app = inline(PerProduct, Renames, store=store)
    held: list[list[Any]] = []
    for stream, events in [("c1", (Added("tea"), Renamed("tea"))), ("c2", (Renamed("tea"), Added("tea")))]:
        store.held.clear()
        app.append(stream, events)
        held.append([*store.held])
    assert held[0] == held[1]
    assert [group for verb, group in held[0] if verb == "hold views"] == ["per product", "renames"]


class Renames(Projector[Tally], group="renames"):
    def key(self, message: Message[Any]) -> str:
        return message.payload.name

    @evolve
    def renamed(self, row: Tally, event: Renamed) -> None:
        row.count += 1


class Watched(CrashingStore):
    """Writes down what is held of whom, instead of dying."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, at=0)
        self.held: list[tuple[str, str]] = []

    def reached(self, statement: Any) -> None:
        if statement.verb in ("hold group", "hold views", "save views"):
            self.held.append((statement.verb, statement.args[0]))


@pytest.mark.parametrize("kind", [PerProduct, Picky])
def test_no_update_of_a_row_is_lost(kind: Any, new_store: Any):
    """Several programs write to one row, each from streams of its own, while a worker catches up with older ones."""
    first = new_store()
    old = Sourced(first, clock=VirtualClock())
    for number in range(20):
        old.append(f"old{number}", Added("tea"))
    stores = [first, *(another(first) for _ in range(2))]
    apps = [inline(kind, store=store, clock=SystemClock()) for store in stores]
    start = threading.Barrier(len(apps) + 1)

    def write(number: int) -> None:
        start.wait()
        for turn in range(12):
            apps[number].append(f"s{number}-{turn % 3}", Added("tea"))

    def catch_up() -> None:
        start.wait()
        for _ in range(3):
            apps[0].drain()

    with ThreadPoolExecutor(4) as threads:
        for future in [*(threads.submit(write, number) for number in range(3)), threads.submit(catch_up)]:
            future.result()
    apps[0].drain()
    found = totals(apps[0]) if kind is Picky else {k: row.total for k, row in apps[0].views(kind).all().items()}
    assert found == {"tea": 56}
    for store in stores[1:]:
        if store is not first:
            store.close()


@pytest.mark.parametrize("what", ["reset", "rebuild"])
def test_what_is_stored_while_rows_are_made_anew_is_in_them_once(what: str, store: Store):
    app = inline(PerProduct, store=store, clock=SystemClock())
    for number in range(30):
        app.append(f"s{number % 7}", Added("tea"))
    start = threading.Barrier(3)

    def write(number: int) -> None:
        start.wait()
        for turn in range(10):
            app.append(f"s{number}-{turn % 2}", Added("tea"))

    def anew() -> None:
        start.wait()
        if what == "rebuild":
            app.rebuild(PerProduct)
        else:
            app.groups.reset(PerProduct)
            app.drain()

    with ThreadPoolExecutor(3) as threads:
        for future in [threads.submit(write, 1), threads.submit(write, 2), threads.submit(anew)]:
            future.result()
    app.drain()
    assert app.views(PerProduct).all() == {"tea": Tally(50, 50)}


def test_a_rebuild_makes_the_rows_that_were_projected_inline_anew(store: Store):
    app = inline(store=store, batch=20)
    for number in range(100):
        app.append(f"c{number % 9}", Added("tea", number))
    expected = app.views(Listings).all()
    assert app.rebuild(Listings).messages == 100
    app.append("c1", Added("mug", 5))
    assert row(app, "c1").total == expected["c1"].total + 5
    app.restore(Listings)
    app.append("c1", Added("jam", 6))
    app.drain()
    assert row(app, "c1").total == expected["c1"].total + 11
    assert {k: row for k, row in app.views(Listings).all().items() if k != "c1"} == {
        k: row for k, row in expected.items() if k != "c1"
    }


@pytest.mark.parametrize("stopped", [False, True])
def test_streams_that_are_ahead_of_their_shard_are_in_the_rows_once(stopped: bool, store: Store):
    """After a rebuild and after the way back, whatever the shard has yet to do."""
    names, old = (name for name in map("t{}".format, range(999)) if shard_of(name) == 7), Sourced(store)
    behind, ahead, later = next(names), next(names), next(names)
    app = inline(store=store)
    app.append(ahead, [Added("mug", 2), Added("mug", 3)])
    old.append(behind, Added("tea", 1))
    app.append(ahead, Added("mug", 6))
    if stopped:
        app.groups.stop(Listings)
    app.rebuild(Listings)
    if not stopped:
        assert {key: row.total for key, row in app.views(Listings).all().items()} == {behind: 1, ahead: 11}
    app.append(later, Added("jam", 4))
    app.restore(Listings)
    app.groups.start(Listings)
    app.append(ahead, Added("mug", 7))
    app.drain()
    assert {key: row.total for key, row in app.views(Listings).all().items()} == {behind: 1, ahead: 18, later: 4}


# -- declarations


@pytest.mark.parametrize("asked", [RetryAt(datetime(2030, 1, 1, tzinfo=UTC)), AfterCommit(lambda: None)])
def test_what_an_inline_projector_cannot_ask_for_refuses_the_append(asked: Any):
    class Asking(Listings, group="asking"):
        def handle(self, delivery: Delivery) -> Any:
            super().handle(delivery)
            return [asked]

    app = inline(Asking)
    with pytest.raises(TypeError, match="asking: an inline projector may send and schedule, found"):
        app.append("c1", Added("tea"))
    assert (app.read_all(), app.views(Asking).all()) == ([], {})


def test_only_projectors_are_inline():
    for thing in (Cart, Cart(), Added, "Cart"):
        with pytest.raises(DefinitionError, match="expected projectors"):
            Sourced().register(thing, inline=True)  # type: ignore[arg-type]


def test_a_projector_is_inline_or_it_is_not():
    app = inline()
    app.register(Listings, inline=True)
    with pytest.raises(DefinitionError, match=r"Listings is registered already, inline; say it once"):
        app.register(Listings)
    other = listing()
    with pytest.raises(DefinitionError, match=r"Listings is registered already, not inline"):
        other.register(Listings, inline=True)
