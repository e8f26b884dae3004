"""Projections built anew beside the live ones: read by nobody until they are whole, and then at once by everybody."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sourced import (
    Batch,
    DefinitionError,
    Message,
    Park,
    Projector,
    Sourced,
    after_commit,
    evolve,
    sync,
)
from sourced.audit import GroupRebuilt, GroupRestored
from sourced.errors import InTransaction, NotKnown, RebuildStopped
from sourced.ops import run
from sourced.runtime.rebuild import Rebuilding
from sourced.store import Store, ViewRow
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash, CrashingStore, VirtualClock
from tests.listings import Added, Emptied, Histories, Listing, Listings, PerProduct, Renamed, discounts, listing
from tests.rows import get, put, table
from tests.test_shared_rows import another

STREAMS = 24


def filled(*projectors: Any, messages: int = 120, drained: bool = True, **options: Any) -> Sourced:
    app = listing(*projectors, **options)
    for number in range(messages):
        app.append(f"s{number % STREAMS}", Added(f"p{number % 3}", number))
    if drained:
        app.drain()
    return app


def spoil(app: Sourced, kind: Any) -> None:
    """What an earlier version of the code may have made of it."""
    found = app._engine.router.group(kind)
    for key, row in app.views(kind).all().items():
        row.total = -1
        with app.store.transaction() as connection:
            assert found._shape  # type: ignore[attr-defined]
            body = found._shape.write(key, row)  # type: ignore[attr-defined]
            run(app.store.save_views(found.group, [ViewRow(key, body)]), connection)


@pytest.mark.parametrize("kind", [Listings, Histories, PerProduct])
@pytest.mark.parametrize("batch", [7, 500])
def test_rows_that_are_built_anew_equal_those_made_as_it_came(kind: Any, batch: int, store: Store):
    """F117. Whatever had become of the live ones; nothing is dispatched and nothing is handled twice."""
    app = filled(kind, store=store, batch=batch)
    expected, sent = app.views(kind).all(), len(discounts(app))
    spoil(app, kind)
    rebuilt = app.rebuild(kind, by="ann", reason="a bug")
    assert (rebuilt.group, rebuilt.was, rebuilt.messages, rebuilt.by) == (kind.group, "active", 120, "ann")
    assert app.views(kind).all() == expected
    assert (app.drain(), len(discounts(app))) == (0, sent)
    assert app.read_all(types=[GroupRebuilt])[0].payload == rebuilt
    app.append("s1", Added("p0", 1000))
    app.drain()
    assert sum(row.total for row in app.views(kind).all().values()) == sum(range(120)) + 1000


def test_nobody_reads_half_a_rebuild(store: Store):
    """Whenever somebody looks while it is being built, the rows are the old ones, whole; and the live ones go on."""
    app = filled(store=store, batch=1)
    spoil(app, Listings)
    other = listing(store=store)
    seen: list[set[int]] = []

    def look(rebuilding: Rebuilding) -> None:
        if len(seen) == 2:
            other.append("s0", Added("new", 7))
            other.drain()
        seen.append({row.total for key, row in app.views(Listings).all().items() if key != "s0"})

    app._engine.clock = Hasty()
    app.rebuild(Listings, watching=look)
    assert len(seen) > 5
    assert seen == [{-1}] * len(seen)
    rows = app.views(Listings).all()
    assert sum(row.total for row in rows.values()) == sum(range(120)) + 7
    assert rows["s0"].products[-1] == "new"


class Hasty(VirtualClock):
    """Time for a look comes each time it is asked for."""

    def elapsed(self) -> float:
        self.advance(1)
        return super().elapsed()


def test_who_watches_is_told_how_far_it_is(store: Store):
    app = filled(store=store, batch=5)
    app._engine.clock = Hasty()
    told: list[Rebuilding] = []
    app.rebuild(Listings, watching=told.append)
    assert [each.group for each in told] == ["listings"] * len(told)
    done = [each.done for each in told]
    assert done == sorted(done)
    assert {each.total for each in told} == {120}
    assert 100 < told[-1].done <= 120
    assert all(each.rate > 0 and each.left is not None for each in told[1:])


def test_a_rebuild_can_be_awaited(store: Store):
    app = filled(store=store)
    spoil(app, Listings)

    async def rebuilt() -> GroupRebuilt:
        async def look(rebuilding: Rebuilding) -> None:
            await asyncio.sleep(0)

        return await app.aio.rebuild(Listings, watching=look)

    assert asyncio.run(rebuilt()).messages == 120
    assert sum(row.total for row in app.views(Listings).all().values()) == sum(range(120))


def test_a_crash_anywhere_leaves_it_to_be_gone_on_with(new_store: Any):
    """F118. At every statement, in every transaction: the live rows stay whole, and whoever calls again finishes it."""
    place, finished, store = 0, False, new_store()
    while not finished:
        place += 7 if isinstance(store, MemoryStore) else 23
        store, clock = new_store(), VirtualClock()
        app = filled(store=store, clock=clock, batch=20, messages=60)
        expected = app.views(Listings).all()
        dying = listing(store=CrashingStore(store, place), clock=clock, batch=20)
        try:
            dying.rebuild(Listings)
            finished = True
        except Crash:
            assert app.views(Listings).all() == expected
            clock.advance(31)
            app.rebuild(Listings)
        assert app.views(Listings).all() == expected, f"after a crash at statement {place}"
        assert app.drain() == 0
        assert app.status().groups[0].stragglers == ()
    assert place > 50


def test_several_who_call_it_work_on_the_same_one(new_store: Any):
    """F118. The result equals the sequential one, and each of them returns when it is done."""
    first = new_store()
    app = filled(PerProduct, store=first, batch=5)
    expected = app.views(PerProduct).all()
    spoil(app, PerProduct)
    stores = [first, *(another(first) for _ in range(2))]
    apps = [listing(PerProduct, store=store, batch=5) for store in stores]
    start = threading.Barrier(3)

    def rebuild(app: Sourced) -> Any:
        start.wait()
        return app.rebuild(PerProduct)

    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(rebuild, apps))
    assert {each.messages for each in found} == {120}
    assert app.views(PerProduct).all() == expected
    assert app.drain() == 0
    for store in stores[1:]:
        if store is not first:
            store.close()


# -- what the live one has not handled


class Fragile(Listings, group="fragile"):
    broken = True

    @evolve
    def renamed(self, row: Listing, event: Renamed) -> Listing | None:
        if self.broken:
            raise ValueError(event.name)
        return super().renamed(row, event)


def test_what_the_live_one_waits_at_is_left_to_be_handled_after_the_exchange(store: Store):
    """A reaction that never ran is not lost: the message is live when its turn comes, in the new rows."""
    fragile = Fragile()
    app = listing(fragile, store=store)
    app.append("a", [Added("tea", 30), Renamed("x"), Added("mug", 10)])
    app.append("b", [Added("jam", 40)])
    app.drain()
    assert discounts(app) == [30, 40]
    fragile.broken = False
    app.rebuild(fragile)
    assert app.views(Fragile).all() == {"a": Listing("", 30, ["tea"], at(app)), "b": Listing("", 40, ["jam"], at(app))}
    app.drain()
    assert app.views(Fragile).get("a") == Listing("x", 40, ["tea", "mug"], at(app))
    assert discounts(app) == [30, 40, 40]
    assert app.parked.list() == []


def test_what_nobody_has_looked_at_yet_is_not_built_silently(store: Store):
    app = filled(store=store)
    sent = len(discounts(app))
    app.append("s0", Added("tea", 1000))
    app.append("new", Added("tea", 2000))
    app.rebuild(Listings)
    assert app.views(Listings).get("new") is None
    app.drain()
    assert app.views(Listings).get("new") == Listing("", 2000, ["tea"], at(app))
    assert len(discounts(app)) == sent + 2


def test_a_rebuild_in_the_middle_of_a_replay_goes_as_far_as_was_ever_handled(store: Store):
    app = filled(store=store)
    expected, sent = app.views(Listings).all(), len(discounts(app))
    app.groups.reset(Listings)
    app.drain(limit=1)
    app.rebuild(Listings)
    app.drain()
    assert app.views(Listings).all() == expected
    assert len(discounts(app)) == sent


def test_a_stream_that_waits_before_the_place_the_new_rows_have_come_to_is_not_skipped(store: Store):
    """The live one stopped in the middle of a stream, the exchange comes when that is all there is."""
    fragile = Fragile()
    app = listing(fragile, store=store, batch=2)
    for number in range(6):
        app.append("a", [Added("tea", number), *([Renamed("x")] if number == 3 else [])])
        app.append(f"b{number}", Added("mug"))
    app.drain()
    fragile.broken = False
    app.rebuild(fragile)
    app.drain()
    assert app.views(Fragile).get("a") == Listing("x", 15, ["tea"] * 6, at(app))


def test_a_message_that_cannot_be_projected_stops_it_and_it_goes_on_once_that_is_mended(store: Store):
    app = filled(store=store, batch=10)
    app.append("s1", Renamed("x"))
    app.drain()
    expected = app.views(Listings).all()

    class Newer(Listings, group="listings"):
        broken = True

        @evolve
        def renamed(self, row: Listing, event: Renamed) -> Listing | None:
            if self.broken:
                raise ValueError("oh no")
            return super().renamed(row, event)

    newer = Newer()
    app = listing(newer, store=store, batch=10)
    with pytest.raises(
        RebuildStopped, match=r"Newer: 's1' seq \d+ \(list\.renamed\) could not be projected: ValueError: oh"
    ):
        app.rebuild(newer)
    assert app.views(Newer).all() == expected
    newer.broken = False
    app.rebuild(newer)
    assert app.views(Newer).all() == expected


def test_what_goes_wrong_in_many_at_once_is_found_message_by_message(store: Store):
    app = filled(store=store, messages=60)

    class Odd(Listings, group="listings"):
        @evolve
        def added(self, row: Listing, event: Message[Added]) -> None:
            if event.payload.price == 47:
                raise ValueError(event.payload.price)
            row.total += event.payload.price

    with pytest.raises(RebuildStopped, match=r"Odd: 's23' seq 2 \(list\.added\) could not be projected"):
        listing(Odd, store=store).rebuild(Odd)
    assert app.rebuild(Listings, afresh=True).messages == 60


class Interrupted(Listings, group="interrupted"):
    pressed = False

    def before_evolve(self, row: Listing, event: Message[Any]) -> None:
        if self.pressed:
            raise KeyboardInterrupt


def test_who_is_interrupted_while_he_folds_gives_back_what_he_has_in_hand(store: Store):
    """Whoever calls again need not wait until the lease is over, and looks at nothing with care."""
    app = filled(projector := Interrupted(), store=store)
    projector.pressed = True
    with pytest.raises(KeyboardInterrupt):
        app.rebuild(projector)
    with store.transaction(reading=True) as connection:
        leases = run(store.progress("interrupted@beside"), connection)
    assert {each.owner for each in leases} == {""}
    projector.pressed = False
    assert app.rebuild(projector).messages == 120


def test_afresh_forgets_what_was_built_so_far(store: Store):
    """The code has changed since, and what it made of the first messages is not what it would make of them now."""
    app = filled(store=store, batch=10)
    expected = app.views(Listings).all()

    class Odd(Listings, group="listings"):
        left = 50

        @evolve
        def added(self, row: Listing, event: Message[Added]) -> None:
            self.left -= 1
            if self.left <= 0:
                raise ValueError
            row.total += 1_000_000

    with pytest.raises(RebuildStopped):
        listing(Odd, store=store, batch=10).rebuild(Odd)
    app.rebuild(Listings, afresh=True)
    assert app.views(Listings).all() == expected


# -- and back


def test_the_rows_from_before_can_be_restored_and_are_brought_up_to_date(store: Store):
    app = filled(store=store)
    old = app.views(Listings).all()

    class Doubling(Listings, group="listings"):
        @evolve
        def added(self, row: Listing, event: Message[Added]) -> None:
            super().added(row, event)
            row.total += event.payload.price

    newer = listing(Doubling, store=store)
    newer.rebuild(Doubling)
    newer.append("s0", Added("tea", 100))
    newer.drain()
    sent = len(discounts(app))
    assert sum(row.total for row in app.views(Listings).all().values()) == 2 * (sum(range(120)) + 100)
    assert app.restore(Listings, by="ann").group == "listings"
    assert {key: row for key, row in app.views(Listings).all().items() if key != "s0"} == {
        key: row for key, row in old.items() if key != "s0"
    }
    app.drain()
    assert sum(row.total for row in app.views(Listings).all().values()) == sum(range(120)) + 100
    assert len(discounts(app)) == sent
    app.restore(Listings)
    assert sum(row.total for row in app.views(Listings).all().values()) == 2 * (sum(range(120)) + 100)


def test_a_second_rebuild_takes_the_place_of_what_was_kept_of_the_first(store: Store):
    app = filled(store=store)
    expected = app.views(Listings).all()
    for _ in range(3):
        spoil(app, Listings)
        app.rebuild(Listings)
        assert app.views(Listings).all() == expected
    app.restore(Listings)
    assert {row.total for row in app.views(Listings).all().values()} == {-1}


def test_there_is_nothing_to_restore_before_a_rebuild_or_in_the_middle_of_one(store: Store):
    app = filled(store=store)
    with pytest.raises(NotKnown, match="no rows from before are kept for 'listings': nothing was rebuilt yet"):
        app.restore(Listings)

    class Stuck(Listings, group="listings"):
        @evolve
        def added(self, row: Listing, event: Message[Added]) -> None:
            raise ValueError

    with pytest.raises(RebuildStopped):
        listing(Stuck, store=store).rebuild(Stuck)
    with pytest.raises(NotKnown, match="a rebuild is under way"):
        app.restore(Listings)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(store: Store):
    app = filled(store=store)
    spoil(app, Listings)
    assert app.rebuild(Listings, dry_run=True) == GroupRebuilt(group="listings", was="active", messages=120)
    assert {row.total for row in app.views(Listings).all().values()} == {-1}
    app.rebuild(Listings)
    expected = app.views(Listings).all()
    assert app.restore(Listings, dry_run=True) == GroupRestored(group="listings", was="active")
    assert app.views(Listings).all() == expected


# -- hooks and tables of one's own

told: list[Any] = []


class Telling(Listings, group="telling"):
    @after_commit
    def tell(self, row: Listing, batch: Batch) -> None:
        told.append((batch.key, row.total, batch.replaying))


def test_hooks_are_silent_unless_they_are_asked_for():
    """A search index is filled by them, an e-mail is sent by them: only you know."""
    app = filled(Telling)
    told.clear()
    app.rebuild(Telling)
    assert told == []
    app.rebuild(Telling, after_commit=True)
    assert {key for key, _, _ in told} == {f"s{number}" for number in range(STREAMS)}
    assert all(replaying for _, _, replaying in told)


class Owned(Projector[dict[str, int]], group="owned"):
    """Rows in a table of its own, by the name of which it goes."""

    def __init__(self, name: str = "totals") -> None:
        self.name = name

    def beside(self) -> "Owned":
        return Owned("totals_beside")

    def swap(self, beside: "Owned", tx: Any) -> None:
        mine, theirs = (dict(table(tx, each.name)) for each in (self, beside))
        for each, rows in ((self, theirs), (beside, mine)):
            table(tx, each.name).clear()
            table(tx, each.name).update(rows)

    def on_reset(self, tx: Any) -> None:
        table(tx, self.name).clear()

    def initial(self, stream: str) -> dict[str, int]:
        return {"total": 0}

    def load(self, key: str, tx: Any) -> Any:
        return get(tx, self.name, key)

    @evolve
    def added(self, row: dict[str, int], event: Added) -> None:
        row["total"] += event.price

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> Any:
        return put(tx, self.name, batch.key, dict(row))


def test_rows_of_ones_own_are_built_where_the_projector_says_and_exchanged_as_it_says(store: Store):
    app = filled(Owned, store=store, batch=10)
    expected = dict(table(app.store, "totals"))
    with app.store.transaction() as connection:
        table(connection.tx, "totals").update({key: {"total": -1} for key in expected})
    app.rebuild(Owned)
    assert dict(table(app.store, "totals")) == expected
    app.restore(Owned)
    assert {row["total"] for row in table(app.store, "totals").values()} == {-1}


class Careless(Owned, group="careless"):
    def beside(self) -> Any:
        return None


class Nothing(Projector[None]):
    @evolve
    def added(self, row: None, event: Added) -> None: ...


class Confused(Owned, group="confused"):
    def beside(self) -> Any:
        return self


def test_what_cannot_be_built_beside_is_refused_and_told_what_to_do():
    app = listing(Careless, Nothing, Confused)
    with pytest.raises(DefinitionError, match=r"Careless keeps rows in tables of its own: say with beside\(\)"):
        app.rebuild(Careless)
    with pytest.raises(DefinitionError, match="Nothing keeps no rows, so there is nothing to build anew"):
        app.rebuild(Nothing)
    with pytest.raises(DefinitionError, match=r"Confused\.beside: expected another Confused"):
        app.rebuild(Confused)
    with pytest.raises(InTransaction), app.transaction() as tx:
        tx.rebuild(Listings)


def at(app: Sourced) -> Any:
    return app._engine.clock.now()


def test_deleted_rows_stay_deleted(store: Store):
    app = listing(store=store, errors=Park())
    app.append("a", [Added("tea"), Emptied()])
    app.append("b", [Added("tea"), Emptied(), Added("mug")])
    app.drain()
    app.rebuild(Listings)
    assert list(app.views(Listings).all()) == ["b"]
