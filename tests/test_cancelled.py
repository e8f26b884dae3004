"""A task that is cancelled in the middle of a verb leaves all of it or nothing, and its connection to the next one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from sourced import Sourced
from sourced.ops import Op, Statement
from sourced.store import Claim, Store
from sourced.stores.postgres import PostgresStore
from sourced.testing import CrashingStore, VirtualClock
from sourced.testing.shop import AddItem, Cart, Stock
from tests.every_store import Maker
from tests.facts import until
from tests.listings import Added, PerProduct
from tests.stores.meanwhile import waiting_for_locks


class CancellingStore(CrashingStore):
    """Where the nth statement is asked for, the task is cancelled: at whatever it awaits next."""

    cancelled = False
    task: asyncio.Task[None]

    def reached(self, statement: Statement) -> None:
        self.left -= 1
        if self.left == 0:
            self.cancelled = self.task.cancel()


class FarAway(CrashingStore):
    """A store whose answer to a claim is on its way until it is let through."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, at=0)
        self.claimed, self.answer = asyncio.Event(), asyncio.Event()

    def reached(self, statement: Statement) -> None:
        """It never crashes."""

    async def transact_async(self, op: Op[Any], *, reading: bool = False) -> Any:
        found = await Store.transact_async(self, op, reading=reading)
        if isinstance(found, Claim) and found.leases:
            self.claimed.set()
            await self.answer.wait()
        return found


async def executing(app: Sourced) -> None:
    await app.aio.execute(AddItem("tea"), to="c1")


async def appending(app: Sourced) -> None:
    await app.aio.append("c1", [Added("tea"), Added("tea")])


async def in_a_unit(app: Sourced) -> None:
    await app.aio.unit(Cart, Stock).execute(AddItem("tea"), to="c1")


async def in_a_transaction(app: Sourced) -> None:
    async with app.aio.transaction(streams=["c1", "c2"]) as client:
        async with client.transaction() as same:
            await same.execute(AddItem("tea"), to="c1")
        await client.append("c2", Added("tea"))


async def draining(app: Sourced) -> None:
    await app.aio.drain()


def an_app(store: Any, clock: VirtualClock | None = None) -> Sourced:
    app = Sourced(store, clock=clock)
    app.register(Cart, Stock)
    app.register(PerProduct, inline=True)
    return app


def narrow(store: Store) -> Store:
    """With no more than one connection: what is not given back is missed at once."""
    if not isinstance(store, PostgresStore):
        return store
    store.close()
    return PostgresStore(store.url, connections=1, timeout=5)


@pytest.mark.parametrize("verb", [executing, appending, in_a_unit, in_a_transaction, draining])
def test_wherever_it_is_cancelled_it_is_stored_whole_or_not_at_all(
    verb: Callable[[Sourced], Awaitable[None]], new_store: Maker
):
    kept = new_store()
    with contextlib.closing(narrow(kept)) as store:
        asyncio.run(_everywhere(store, verb))


async def _everywhere(store: Store, verb: Callable[[Sourced], Awaitable[None]]) -> None:
    clock = VirtualClock()
    plain = an_app(store, clock)
    places = whole = 0
    for at in range(1, 60, 4 if verb is draining else 1):
        before = await facts(plain)
        if verb is draining:
            await plain.aio.dispatch(AddItem("tea"), to=f"d{at}")
            before = await facts(plain)
        cancelling = CancellingStore(store, at)
        cancelling.task = asyncio.create_task(_awaited(verb(an_app(cancelling, clock))))
        with contextlib.suppress(asyncio.CancelledError):
            await cancelling.task
        after = await facts(plain)
        if verb is draining:
            await plain.aio.drain()
            assert [group.lag for group in (await plain.aio.status()).groups] == [0, 0, 0], f"cancelled at {at}"
            assert set((await facts(plain)).values()) == {places + 1}, "every order once, and all that follows from it"
        else:
            added = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
            assert added in ({}, ADDED[verb]), f"cancelled at {at}"
            whole += bool(added)
        if not cancelling.cancelled:
            break
        places += 1
    assert places
    assert whole or verb is draining


@pytest.mark.parametrize("times", [1, 3])
def test_a_drain_that_is_cancelled_while_it_claims_gives_back_what_it_got(new_store: Maker, times: int):
    """Whoever comes next does not wait for a lease to end, however often the first one was cancelled."""

    async def main(store: Store) -> None:
        clock, away = VirtualClock(), FarAway(store)
        plain = an_app(store, clock)
        await plain.aio.dispatch(AddItem("tea"), to="c1")
        draining = asyncio.create_task(_awaited(an_app(away, clock).aio.drain()))
        await away.claimed.wait()
        for _ in range(times):
            draining.cancel()
            await asyncio.sleep(0)
        away.answer.set()
        with pytest.raises(asyncio.CancelledError):
            await draining
        await plain.aio.drain()
        assert set((await facts(plain)).values()) == {1}
        assert [group.lag for group in (await plain.aio.status()).groups] == [0, 0, 0]

    with contextlib.closing(new_store()) as store:
        asyncio.run(main(store))


DECIDED = {"shop.add_item": 1, "shop.item_added": 1}
ADDED: dict[Any, dict[str, int]] = {
    executing: DECIDED,
    appending: {"list.added": 2, "row tea": 2},
    in_a_unit: DECIDED | {"shop.reserve": 1, "shop.reserved": 1},
    in_a_transaction: DECIDED | {"list.added": 1, "row tea": 1},
}


async def _awaited(work: Awaitable[Any]) -> None:
    await work


async def facts(app: Sourced) -> dict[str, int]:
    """How many messages there are of each type, and what is in the rows."""
    found: dict[str, int] = {}
    for message in await app.aio.read_all():
        found[message.type] = found.get(message.type, 0) + 1
    rows = await app.aio.views(PerProduct).all()
    return found | {f"row {key}": row.count for key, row in rows.items()}


def test_in_a_transaction_of_the_callers_a_verb_that_was_cancelled_leaves_nothing(emptied_database: str):
    """What it waited for is let go, and his transaction goes on."""

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(emptied_database) as connection:
            client = app.aio.using(connection)
            await client.execute(AddItem("tea"), to="c1")
            with psycopg.connect(emptied_database) as other:
                app.using(other).append("s-1", Added("tea"))
                waiting = asyncio.create_task(_awaited(client.append("s-1", Added("mug"))))
                await until(lambda: waiting_for_locks(emptied_database))
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await client.execute(AddItem("mug"), to="c1")
            await connection.commit()
        assert (await app.aio.load(Cart, "c1")).state.items == {"tea": 1, "mug": 1}

    with contextlib.closing(PostgresStore(emptied_database)) as store:
        app = Sourced(store)
        app.register(Cart)
        asyncio.run(main())
