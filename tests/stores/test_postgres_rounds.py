"""PostgreSQL: rounds and workers that lose their sessions, answers and servers do everything once all the same."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sourced import Batch, Delivery, Park, Sourced, Sync, sync
from sourced.actions import Actions
from sourced.errors import ConnectionLost, Unavailable
from sourced.stores.postgres import PostgresStore
from sourced.testing import VirtualClock
from sourced.testing.postgres import TempPostgres
from sourced.testing.shop import AddItem, Cart, ItemAdded, Stock
from tests.every_store import install_all
from tests.facts import eventually
from tests.rows import Sales, put, table
from tests.runtime.listener import Listener, Noted, echo, handled
from tests.stores.lines import line_to
from tests.stores.meanwhile import terminate

Drain = Callable[[Sourced], int]


def blocking(app: Sourced) -> int:
    return app.drain()


def awaiting(app: Sourced) -> int:
    return asyncio.run(app.aio.drain())


both_sides = pytest.mark.parametrize("drain", [blocking, awaiting])


@pytest.fixture
def store(emptied_databases: Any):
    with emptied_databases.one() as url, contextlib.closing(PostgresStore(url)) as store:
        yield store


class Once:
    """Does something the first time, and notes what came of the times after it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work: Callable[[], object] | None = work

    def __call__(self) -> None:
        work, self.work = self.work, None
        if work is not None:
            work()


@both_sides
def test_sessions_that_end_while_a_round_hands_out_its_messages_do_not_matter(store: PostgresStore, drain: Drain):
    """What was claimed is still claimed: the round goes on with new connections, and stores what it has."""
    end_all = Once(lambda: terminate(store.url))

    def answer(delivery: Delivery) -> Actions:
        end_all()
        return echo(delivery)

    app, listener = Sourced(store, clock=VirtualClock()), Listener(answer)
    app.register(listener)
    app.append("s", [Noted("1"), Noted("2")])
    assert drain(app) == 2
    assert (listener.texts, handled(app, "1", "2")) == (["1", "2"], [1, 1])
    assert app.groups.get(listener).stragglers == ()


@both_sides
def test_a_round_whose_session_ends_while_it_settles_is_done_again_and_blames_nobody(
    store: PostgresStore, drain: Drain
):
    """Nothing of it is stored, neither messages nor rows, no attempt is counted; then all of it, once."""
    end_all = Once(lambda: terminate(store.url))

    def answer(delivery: Delivery) -> Actions:
        def row(tx: Any) -> Any:
            written = put(tx, "rows", delivery.message.payload.text, True)
            end_all()
            return written

        (sent,) = echo(delivery)  # type: ignore[misc]
        return sent, Sync(row)

    app, listener = Sourced(store, clock=VirtualClock(), errors=Park()), Listener(answer)
    app.register(listener)
    app.append("s", [Noted("1"), Noted("2")])
    app.append("t", Noted("3"))
    with contextlib.suppress(Unavailable):
        drain(app)
    assert app.parked.list() == []
    app._engine.clock.advance(31)  # type: ignore[attr-defined]
    drain(app)
    assert handled(app, "1", "2", "3") == [1, 1, 1]
    assert table(store, "rows") == {"1": True, "2": True, "3": True}
    info = app.groups.get(listener)
    assert (info.lag, info.stragglers) == (0, ())


@both_sides
@pytest.mark.parametrize("where", ["load", "save"])
def test_a_session_that_ends_under_the_hands_of_a_projector_is_not_its_messages_fault(
    store: PostgresStore, drain: Drain, where: str
):
    """Its own statement is the one that fails, and the stream is neither parked nor counted twice."""
    end_all = Once(lambda: terminate(store.url))

    class Unlucky(Sales, group="unlucky"):
        def load(self, key: str, tx: Any) -> Any:
            if where == "load":
                end_all()
            return super().load(key, tx)

        @sync
        def save(self, row: dict[str, int], batch: Batch, tx: Any) -> Any:
            if where == "save":
                end_all()
            return super().save(row, batch, tx)

    app = Sourced(store, clock=VirtualClock(), errors=Park())
    app.register(Unlucky)
    app.append("s", ItemAdded("pen", 1))
    app.append("t", ItemAdded("pen", 2))
    with pytest.raises(ConnectionLost, match="the connection was lost"):
        drain(app)
    assert (app.parked.list(), table(store, "sales")) == ([], {})
    drain(app)
    assert table(store, "sales") == {"s": {"items": 1}, "t": {"items": 2}}


@both_sides
def test_a_round_that_is_never_told_that_it_has_settled_is_not_done_again(store: PostgresStore, drain: Drain):
    with line_to(store.url) as line, contextlib.closing(PostgresStore(line.url)) as far:
        cut = Once(lambda: line.cut_after(b"commit"))

        def answer(delivery: Delivery) -> Actions:
            cut()
            return echo(delivery)

        app, listener = Sourced(far, clock=VirtualClock()), Listener(answer)
        app.register(listener)
        app.append("s", [Noted("1"), Noted("2")])
        with contextlib.suppress(Unavailable):
            drain(app)
        assert line.cuts == 1
        app._engine.clock.advance(31)  # type: ignore[attr-defined]
        drain(app)
        assert (listener.texts, handled(app, "1", "2")) == (["1", "2"], [1, 1])
        assert app.groups.get(listener).stragglers == ()


class Told(Sales, group="told"):
    """A projection that notes how often each message was counted."""

    @sync
    async def note(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        for message in batch.events:
            if (written := put(tx, "counted", message.id, batch.stream)) is not None:
                await written


def test_workers_go_on_when_sessions_end_and_the_server_goes_down_and_up(postgres_binaries: Path):
    """Every order is decided, reserved and counted once, whatever was going on in the workers when it happened."""
    with TempPostgres(postgres_binaries) as server:
        install_all(server.url())
        with Sourced(server.url()) as app:
            app.register(Cart, Stock, Told)
            carts = [f"cart-{n}" for n in range(5)]

            async def order(count: int) -> None:
                for n in range(count):
                    await app.aio.dispatch(AddItem("pen"), to=carts[n % 5])

            async def main() -> None:
                async with app.running():
                    for trouble in (lambda: terminate(server.url()), server.kill9, lambda: terminate(server.url())):
                        await order(20)
                        await asyncio.to_thread(trouble)
                        await asyncio.to_thread(server.start)
                    await order(20)
                    await asyncio.to_thread(eventually, lambda: not behind(app))

            asyncio.run(main())
            assert app.parked.list() == []
            assert sum(sum(app.load(Cart, cart).state.items.values()) for cart in carts) == 80
            assert app.load(Stock, "stock-pen").state.reserved == 80
            assert sum(row["items"] for row in table(app.store, "sales").values()) == 80
            assert len(table(app.store, "counted")) == 80


def behind(app: Sourced) -> bool:
    return any(info.lag or info.stragglers for info in app.groups.list())
