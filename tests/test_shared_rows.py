"""Rows that messages of several streams go into, while several rounds at once work on them: no update is lost."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sourced import Batch, Message, Projector, Retry, Sourced, evolve, sync
from sourced.store import Store, shard_of
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from tests.listings import Added, PerProduct, Tally, discounts, listing
from tests.rows import get, put, table


class Interrupted(PerProduct, group="shared"):
    """Something else happens in the middle of it, as often as it is told to."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None, times: int = 1) -> None:
        self.meanwhile, self.times = meanwhile, times

    @evolve
    def added(self, row: Tally, event: Added) -> None:
        super().added(row, event)
        if self.times:
            self.times -= 1
            self.meanwhile()


class Owned(Projector[dict[str, int]], group="shared"):
    """The same in a table of one's own."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None, times: int = 1) -> None:
        self.meanwhile, self.times = meanwhile, times

    def key(self, message: Message[Any]) -> str:
        return message.payload.product

    def initial(self, stream: str) -> dict[str, int]:
        return {"total": 0}

    def load(self, key: str, tx: Any) -> dict[str, int] | None:
        return get(tx, "totals", key)

    @evolve
    def added(self, row: dict[str, int], event: Added) -> None:
        row["total"] += event.price
        if self.times:
            self.times -= 1
            self.meanwhile()

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> Any:
        return put(tx, "totals", batch.key, dict(row))


def totals(app: Sourced, kind: type) -> dict[str, int]:
    if kind is Owned:
        return {key: row["total"] for key, row in table(app.store, "totals").items()}
    return {key: row.total for key, row in app.views(Interrupted).all().items()}


@pytest.mark.parametrize("kind", [Interrupted, Owned])
def test_a_round_that_was_overtaken_takes_up_what_the_other_has_written(kind: Any, store: Store):
    """Both have loaded the row at zero; the second one to settle begins with what the first one made of it."""
    other = listing(kind(times=0), store=store, batch=1)
    app = listing(kind(other.drain), store=store, batch=1)
    for number in range(4):
        app.append(f"s{number}", [Added("tea", 10**number), Added("mug")])
    app.drain()
    other.drain()
    assert totals(app, kind) == {"tea": 1111, "mug": 4}
    assert app.status().groups[0].lag == 0
    assert app.parked.list() == []


class Halting(PerProduct, group="shared"):
    """Cannot write a row, the first time."""

    halts = 1

    @sync
    def save(self, row: Tally, batch: Batch, tx: Any) -> None:
        self.halts -= 1
        if self.halts >= 0:
            raise RuntimeError("not now")


def test_a_row_that_could_not_be_made_at_first_is_made_later(store: Store):
    """The place that was kept for it meanwhile is no row."""
    app = listing(Halting(), store=store, errors=Retry(times=1, after=1))
    app.append("c1", Added("tea"))
    app.drain()
    assert (totals(app, Halting), len(app.groups.get(Halting).stragglers)) == ({}, 1)
    app._engine.clock.advance(1)  # type: ignore[attr-defined]
    app.drain()
    assert (totals(app, Halting), app.groups.get(Halting).stragglers) == ({"tea": 1}, ())


def test_its_reactions_are_those_to_what_was_stored(store: Store):
    """What a reaction made of an outdated row is forgotten with it."""
    other = listing(Interrupted(times=0), store=store, batch=1)
    app = listing(Interrupted(other.drain), store=store, batch=1)
    for number in range(4):
        app.append(f"s{number}", [Added("tea", 10**number)])
    app.drain()
    seen = discounts(app)
    assert len(seen) == 4
    assert max(seen) == 1111
    assert sorted(later - before for before, later in zip([0, *seen], seen, strict=False)) == [1, 10, 100, 1000]


def test_a_round_that_is_overtaken_again_and_again_leaves_it_to_others(caplog: pytest.LogCaptureFixture):
    """Nothing failed, so nobody is to blame; the next round finds the row as it is by then."""
    store = MemoryStore()
    other = listing(Interrupted(times=0), store=store, batch=1)
    unlucky = Interrupted(times=20)
    app = listing(unlucky, store=store, batch=1)

    elsewhere = (name for name in map("t{}".format, range(999)) if shard_of(name) != shard_of("s"))

    def add_one() -> None:
        other.append(next(elsewhere), Added("tea", 1))
        assert other.drain() == 1

    unlucky.meanwhile = add_one
    app.append("s", Added("tea", 100))
    caplog.set_level("INFO")
    app.drain()
    other.drain()
    assert totals(app, Interrupted) == {"tea": 120}
    assert "rows were changed by somebody else meanwhile: tea" in caplog.text
    assert app.parked.list() == []


@pytest.mark.parametrize("kind", [Interrupted, Owned])
def test_workers_side_by_side_count_everything_once(kind: Any, new_store: Any):
    """Four of them, each with connections of its own, on three rows that all of them write to."""
    first = new_store()
    stores = [first, *(another(first) for _ in range(3))]
    apps = [listing(kind(times=0), store=store, batch=8) for store in stores]
    for number in range(120):
        apps[0].append(f"s{number % 40}", Added(f"p{number % 3}", number))
    start = threading.Barrier(len(apps))

    def work(app: Sourced) -> None:
        start.wait()
        while app.status().groups[0].lag or app.status().groups[0].stragglers:
            app.drain()

    with ThreadPoolExecutor(len(apps)) as threads:
        list(threads.map(work, apps))
    assert totals(apps[0], kind) == {f"p{rest}": sum(range(rest, 120, 3)) for rest in range(3)}
    for store in stores[1:]:
        if store is not first:
            store.close()


def another(store: Store) -> Store:
    if isinstance(store, SqliteStore):
        return SqliteStore(store.path)
    return PostgresStore(store.url) if isinstance(store, PostgresStore) else store
