"""Whatever happens to a shop's processes and handlers: once all is healed, it is as if nothing had gone wrong."""

import asyncio
import contextlib
import inspect
import os
import tempfile
from collections import Counter
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sourced import Batch, Delivery, Message, Rejected, Retry, Sourced, sync
from sourced.actions import Actions
from sourced.store import Store
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing import Crash, CrashingStore, VirtualClock, steal_leases
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, Closed, ItemAdded, Reserve, Reserved, Stock
from tests.every_store import EmptiedDatabases
from tests.rows import Sales, make_rows, table

GROUPS = ("shop.carts", "shop.stock", "shop.sales")


class World:
    """One store and clock, processes that come and go, and the troubles that the next handlers run into."""

    def __init__(self, store: Store, batch: int, cache: int) -> None:
        self.store, self.clock = store, VirtualClock()
        self.options: dict[str, Any] = {"batch": batch, "cache": cache}
        self.troubles: list[str] = []
        self.processes = [self.process(), self.process()]

    def process(self, store: Any = None) -> Sourced:
        app = Sourced(store or self.store, clock=self.clock, errors=Retry(times=2, after=1), **self.options)
        app.register(*(kind(self) for kind in (TroubledCart, TroubledStock, TroubledSales)))
        return app

    def strike(self, group: str, place: str) -> None:
        """The next trouble, if it is meant for this place."""
        if not self.troubles or not self.troubles[-1].endswith(place):
            return
        trouble = self.troubles.pop().partition(" ")[0]
        if trouble == "fail":
            raise ValueError(trouble)
        if trouble == "die":
            raise Crash
        if trouble == "steal":
            steal_leases(self.store, group, self.clock.now())
        if trouble == "reset":
            self.processes[0].groups.reset(group)

    def do(self, step: tuple[Any, ...]) -> None:
        verb, which, *rest = step
        app = self.processes[which]
        try:
            getattr(self, verb)(app, *rest)
        except Crash:
            self.processes[which] = self.process()
        except CartClosed:
            assert verb == "execute"

    def dispatch(self, app: Sourced, cart: str, command: Any, seconds: int) -> None:
        app.dispatch(command, to=cart, after=seconds)

    def execute(self, app: Sourced, cart: str, command: Any) -> None:
        app.execute(command, to=cart)

    def drain(self, app: Sourced, troubles: list[str], limit: int | None) -> None:
        self.troubles = list(troubles)
        app.drain(limit=limit)

    def await_drain(self, app: Sourced, troubles: list[str], limit: int | None) -> None:
        self.troubles = list(troubles)
        asyncio.run(app.aio.drain(limit=limit))

    def strict_drain(self, app: Sourced, troubles: list[str], limit: int | None) -> None:
        self.troubles = list(troubles)
        with contextlib.suppress(ValueError):
            app.drain(limit=limit, raise_errors=True)

    def retry(self, app: Sourced) -> None:
        app.parked.retry()

    def crash(self, app: Sourced, statements: int) -> None:
        self.process(CrashingStore(self.store, statements)).drain()

    def manage(self, app: Sourced, verb: str, group: str) -> None:
        getattr(app.groups, verb)(group)

    def advance(self, app: Sourced, seconds: int) -> None:
        self.clock.advance(seconds)

    def heal(self) -> Sourced:
        self.troubles = []
        app = self.process()
        for group in GROUPS:
            app.groups.start(group)
        for _ in range(100):
            self.clock.advance(3 * 86_400)
            app.parked.retry()
            if not app.drain() and all(info.lag == 0 and not info.stragglers for info in app.groups.list()):
                return app
        raise AssertionError(f"it does not come to rest: {app.groups.list()}")


class Troubled:
    """Mixed into a reactor: runs into trouble before a message is handled, or when that is already done."""

    def __init__(self, world: World) -> None:
        self.world = world

    def handle(self, delivery: Delivery) -> Actions:
        self.world.strike(self.group, "before")  # type: ignore[attr-defined]
        actions: Actions = super().handle(delivery)  # type: ignore[misc]
        self.world.strike(self.group, "after")  # type: ignore[attr-defined]
        return actions


class TroubledCart(Troubled, Cart, group="shop.carts"): ...


class TroubledStock(Troubled, Stock, group="shop.stock"): ...


class TroubledSales(Troubled, Sales, group="shop.sales"):
    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> Any:
        saved = super().save(row, batch, tx)
        if self.world.troubles and self.world.troubles[-1].startswith(("fail", "die")):
            return self.struck(saved) if inspect.isawaitable(saved) else self.world.strike(self.group, "sync")
        return saved

    async def struck(self, saved: Awaitable[None]) -> None:
        await saved
        self.world.strike(self.group, "sync")


def check(app: Sourced) -> None:
    everything = app.read_all()
    follow = Counter((m.causation_id, type(m.payload)) for m in everything if m.causation_id != m.id)
    for message in everything:
        once_each(message, follow)
    for stream in (state.stream for state in app.streams(None)):
        in_order(app.history(stream))
    sold = Counter[str]()
    for message in everything:
        if isinstance(message.payload, ItemAdded):
            sold[message.stream] += message.payload.quantity
    assert {cart: row["items"] for cart, row in table(app.store, "sales").items()} == sold
    for cart, items in sold.items():
        assert sum(app.load(TroubledCart, cart).state.items.values()) == items


def once_each(message: Message[Any], follow: Counter[tuple[str, type]]) -> None:
    """Every command was decided once, every event reacted to once."""
    outcomes: dict[type, tuple[type, ...]] = {
        AddItem: (ItemAdded, Rejected),
        ItemAdded: (Reserve,),
        Reserve: (Reserved,),
    }
    if expected := outcomes.get(type(message.payload)):
        assert sum(follow[message.id, outcome] for outcome in expected) == 1, message


def in_order(history: list[Message[Any]]) -> None:
    """No gaps; decided in the order they came, unless somebody went ahead in the foreground; nothing after closing."""
    assert [m.seq for m in history] == list(range(1, len(history) + 1))
    place = {m.id: m.seq for m in history}
    ahead = {m.causation_id for m, before in zip(history[1:], history, strict=False) if m.causation_id == before.id}
    caused = [place.get(m.causation_id, 0) for m in history if m.causation_id not in {m.id, *ahead}]
    caused = [seq for seq in caused if seq]
    assert caused == sorted(caused)
    kinds = [type(m.payload) for m in history]
    if Closed in kinds:
        assert ItemAdded not in kinds[kinds.index(Closed) :]


commands = st.one_of(st.builds(AddItem, st.sampled_from("pq"), st.integers(1, 3)), st.just(Close()))
carts = st.sampled_from(["c1", "c2", "c3"])
groups = st.sampled_from(GROUPS)
troubles = st.lists(
    st.sampled_from([f"{what} {when}" for what in ("fail", "die", "steal", "reset") for when in ("before", "after")])
    | st.sampled_from(["fail sync", "die sync", "none before", "none before"]),
    max_size=6,
)
process = st.integers(0, 1)
drains = ["drain", "drain", "await_drain", "strict_drain"]
steps = st.one_of(
    st.tuples(st.just("dispatch"), process, carts, commands, st.sampled_from([0, 0, 40])),
    st.tuples(st.just("dispatch"), process, carts, commands, st.just(0)),
    st.tuples(st.just("execute"), process, carts, commands),
    st.tuples(st.sampled_from(drains), process, troubles, st.none() | st.integers(1, 3)),
    st.tuples(st.just("retry"), process),
    st.tuples(st.just("crash"), process, st.integers(1, 60)),
    st.tuples(st.just("manage"), process, st.sampled_from(["stop", "start", "reset", "reset"]), groups),
    st.tuples(st.just("advance"), process, st.sampled_from([1, 31, 200_000])),
)


LONGER = int(os.environ.get("SOURCED_MACHINE_TIMES", "1"))  # so many times as long
programs: dict[str, Any] = {
    "program": st.lists(steps, max_size=30),
    "batch": st.sampled_from([1, 2, 3, 500]),
    "cache": st.sampled_from([0, 10_000]),
}
shards = st.sampled_from([1, 2, 64])


def bounded(examples: int) -> settings:
    return settings(max_examples=examples * LONGER, deadline=None, derandomize=LONGER == 1, database=None)


def live(store: Store, program: Any, batch: int, cache: int) -> None:
    """Every command is decided once, in order, and the projection is a fold of the log."""
    world = World(store, batch, cache)
    for step in program:
        world.do(step)
    check(world.heal())


@bounded(100)
@given(**programs, shards=shards)
def test_whatever_happens_on_memory(program: Any, batch: int, cache: int, shards: int):
    live(MemoryStore(shards), program, batch, cache)


@bounded(30)
@given(**programs, shards=shards)
def test_whatever_happens_on_sqlite(program: Any, batch: int, cache: int, shards: int):
    with tempfile.TemporaryDirectory() as folder, closing(SqliteStore(Path(folder, "any.db"), shards=shards)) as store:
        make_rows(store)
        live(store, program, batch, cache)


@bounded(12)
@given(**programs)
def test_whatever_happens_on_postgres(emptied_databases: EmptiedDatabases, program: Any, batch: int, cache: int):
    with emptied_databases.one() as url, closing(PostgresStore(url)) as store:
        live(store, program, batch, cache)
