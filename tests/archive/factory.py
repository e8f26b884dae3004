"""A small factory whose store holds something of everything: what an archive has to keep."""

from __future__ import annotations

import io
from typing import Any

from msgspec.structs import replace

from sourced import (
    Actor,
    Command,
    Deleted,
    Event,
    Exponential,
    Park,
    Projector,
    Retry,
    Sourced,
    Stop,
    View,
    decide,
    dispatch,
    evolve,
    react,
)
from sourced.archive import Contents, export_to, import_from
from sourced.ops import Op
from sourced.runtime.rebuild import BESIDE
from sourced.store import Store, Straggler, shard_of
from sourced.testing import VirtualClock
from sourced.testing.clock import START


class Order(Command, type="factory.order"):
    n: int


class Ordered(Event, type="factory.ordered"):
    n: int


class Build(Command, type="factory.build"):
    n: int


class Built(Event, type="factory.built"):
    n: int


class Orders(Actor[list[int]], group="orders"):
    def initial(self, stream: str) -> list[int]:
        return []

    @decide
    def order(self, orders: list[int], command: Order):
        yield Ordered(command.n)

    @evolve
    def ordered(self, orders: list[int], event: Ordered):
        orders.append(event.n)

    @react
    def build(self, orders: list[int], event: Ordered):
        yield dispatch(Build(event.n), to=f"machine-{event.n % 7}")
        if event.n % 5 == 0:
            yield dispatch(Build(event.n), to="machine-late", after=3600)


class Machines(Actor[int], group="machines"):
    """Some jobs cannot be done, and one of them never."""

    errors = Retry(times=1, after=60, backoff=Exponential(), then=Park("a machine is jammed"))

    def initial(self, stream: str) -> int:
        return 0

    @decide
    def build(self, built: int, command: Build):
        if command.n % 13 == 6:
            raise OSError(f"no material for {command.n}")
        yield Built(command.n)

    @evolve
    def built(self, built: int, event: Built):
        return built + 1


class Papers(Projector[dict[str, int]], group="papers"):
    """Hears of everything; its data is elsewhere."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"n": 0}

    @evolve
    def heard(self, row: dict[str, int], event: Ordered | Built):
        row["n"] += event.n

    @react
    def rush(self, row: dict[str, int], event: Built):
        if event.n % 11 == 0:
            yield dispatch(Order(100 + event.n), to="order-again")


class Tally(View):
    built: int = 0
    names: list[str] = []


class Tallies(Projector[Tally], group="tallies"):
    """Rows that several streams share, beside the log; some come to an end."""

    def key(self, message: Any) -> str:
        n = message.payload.n
        return f"żółw {n % 4}" if n % 9 else f"short-lived {n}"

    @evolve
    def counted(self, row: Tally, event: Ordered | Built):
        row.built += isinstance(event, Built)
        row.names = sorted([*row.names, f"{type(event).__name__} {event.n}"])
        return row if event.n % 9 or len(row.names) < 2 else Deleted


class Bills(Projector[Tally], group="bills"):
    """Rows in the transaction of the append: what is stored with them has been handled already."""

    @evolve
    def billed(self, row: Tally, event: Ordered):
        row.names.append(str(event.n))


class Strict(Projector[dict[str, int]], group="strict"):
    """Stops at what it does not like."""

    errors = Retry(times=0, then=Stop("ask Ada"))

    def initial(self, stream: str) -> dict[str, int]:
        return {}

    @evolve
    def built(self, row: dict[str, int], event: Built):
        if event.n == 30:
            raise ValueError("thirty!")


class Late(Papers, group="late"):
    start_from = "now"


def factory(store: Store, clock: VirtualClock | None = None, *, late: bool = True) -> Sourced:
    app = Sourced(store, clock=clock or VirtualClock(), batch=6)
    app.register(Orders, Machines, Papers, Strict, Tallies, *([Late] if late else []))
    app.register(Bills, inline=True)
    return app


def busy(store: Store) -> None:
    """Handled in part: streams wait, are parked, were skipped; a group is stopped, one is in the middle of a replay."""
    app = factory(store, late=False)
    for n in range(24):
        app.dispatch(Order(n), to=f"order-{n % 5}")
    app.drain()
    app = factory(store)
    app._engine.clock.advance(61)  # type: ignore[attr-defined]
    for n in range(24, 40):
        app.execute(Order(n), to=f"order-{n % 5}")
    app.drain(limit=50)
    if parked := app.parked.list(Machines):
        app.parked.skip(Machines, parked[0].stream, reason="scrapped")
    app.groups.reset(Papers)
    app.drain(limit=30)
    app.rebuild(Tallies)
    app.drain(limit=20)
    app.dispatch(Order(77), to="order-new", after=7200)
    app.dispatch(Order(40), to="order-1", metadata={"by": "żółw"})


def archive(store: Store) -> bytes:
    file = io.BytesIO()
    export_to(store, file, made_at=START)
    return file.getvalue()


def copied(store: Store, to: Store) -> Contents:
    return import_from(to, io.BytesIO(archive(store)))


def everything(store: Store, *, but: str = "") -> Any:
    """All that has to be the same: positions are told by how many messages there are up to them, in their shard.

    As if there were no messages of the type `but`, which are the last ones.
    """

    def op() -> Op[Any]:
        whole = yield from store.read_all()
        log = [record for record in whole if record.type != but]
        more = [shard_of(record.stream, store.shards) for record in whole if record.type == but]

        def rank(position: int, shard: int | None = None) -> int:
            shards = (shard_of(r.stream, store.shards) for r in log if r.position <= position)
            return sum(shard in (None, each) for each in shards)

        groups = []
        for group in (yield from store.groups()):
            if group.name.endswith(BESIDE):
                continue
            progress = []
            for each in (yield from store.progress(group.name)):
                if rank(len(whole) + log[-1].position, each.shard):
                    pending = each.pending - more.count(each.shard)
                    places = rank(each.checkpoint, each.shard), rank(each.high, each.shard), each.careful
                    progress.append((each.shard, *places, pending, each.oldest if pending else None))
            rows = [
                (row.key, row.body, rank(row.position), row.updated_at)
                for row in (yield from store.page_views(group.name))
            ]
            there = replace(group, start=rank(group.start), reset_at=rank(group.reset_at), view="")
            groups.append((there, progress, rows))
        stragglers: list[Straggler] = yield from store.stragglers()
        waiting = sorted(
            (replace(row, live_after=rank(row.live_after, shard_of(row.stream, store.shards))) for row in stragglers),
            key=repr,
        )
        messages = [replace(record, position=rank) for rank, record in enumerate(log, 1)]
        scheduled = [replace(each, error="") for each in (yield from store.scheduled())]
        return {"log": messages, "groups": sorted(groups, key=repr), "waiting": waiting, "scheduled": scheduled}

    return store.transact(op(), reading=True)


def outcome(store: Store, later: float) -> Any:
    """What becomes of it when it goes on: stream by stream, whatever the ids are of what is new."""
    clock = VirtualClock()
    clock.advance(61 + later)
    app = factory(store, clock)
    for _ in range(4):
        app.drain()
        clock.advance(130)
    streams: dict[str, list[Any]] = {}
    for message in app.read_all():
        streams.setdefault(message.stream, []).append((message.type, message.payload, message.metadata))
    parked = sorted((row.group, row.stream, row.from_seq, row.attempts, row.error) for row in app.parked.list())
    return (
        streams,
        parked,
        app.views(Tallies).all(),
        app.views(Bills).all(),
        sorted((group.name, group.status, group.lag) for group in app.groups.list()),
    )
