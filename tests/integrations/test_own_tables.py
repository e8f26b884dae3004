"""Rows in tables of one's own, by raw SQL, SQLAlchemy and Django: exactly once, whenever the process dies."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, cast

import django.db.models
import django.db.transaction
import pytest
from django.apps import apps
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sourced import Batch, DefinitionError, Event, Message, Park, Projector, Sourced, evolve, sync
from sourced.errors import NeedsAwait
from sourced.integrations.django import models_in
from sourced.integrations.sqlalchemy import async_session_in, session_in
from sourced.store import Store
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing import Crash, CrashingStore, VirtualClock


class Sold(Event, type="own.sold"):
    product: str
    price: int


connections: Any = django.db.connections
models: Any = django.db.models
transaction: Any = django.db.transaction

TABLE = "create table sales (product text primary key, total integer not null, updated_at {time}, facts {json})"

if not settings.configured:
    settings.configure(USE_TZ=True)
if not apps.ready:
    django.setup()


class Base(DeclarativeBase): ...


class SaleRow(Base):
    __tablename__ = "sales"
    product: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int]


class Sale(models.Model):  # type: ignore[misc]
    product = models.TextField(primary_key=True)
    total = models.IntegerField()
    updated_at = models.DateTimeField(null=True)
    facts = models.JSONField(null=True)

    class Meta:
        app_label = "own_tables"
        db_table = "sales"


class BySql(Projector[int], group="sales"):
    """A statement that adds is all it takes: nothing is loaded."""

    def key(self, message: Message[Sold]) -> str:
        return message.payload.product

    def initial(self, stream: str) -> int:
        return 0

    @evolve
    def sold(self, new: int, event: Sold) -> int:
        return new + event.price

    @sync
    def save(self, new: int, batch: Batch, tx: Any) -> None:
        mark = "?" if isinstance(tx, sqlite3.Connection) else "%s"
        tx.execute(
            f"insert into sales (product, total) values ({mark}, {mark}) "
            f"on conflict (product) do update set total = sales.total + excluded.total",
            (batch.key, new),
        )


class BySqlAlchemy(Projector[SaleRow], group="sales"):
    """A mapped object is loaded, changed and merged."""

    def key(self, message: Message[Sold]) -> str:
        return message.payload.product

    def initial(self, stream: str) -> SaleRow:
        return SaleRow(product=stream, total=0)

    def load(self, key: str, tx: Any) -> SaleRow | None:
        with session_in(tx) as session:
            return session.get(SaleRow, key)

    @evolve
    def sold(self, row: SaleRow, event: Sold) -> None:
        row.total += event.price

    @sync
    def save(self, row: SaleRow, batch: Batch, tx: Any) -> None:
        with session_in(tx) as session:
            session.merge(row)


class ByDjango(Projector[Sale], group="sales"):
    """A model is loaded, changed and saved."""

    def key(self, message: Message[Sold]) -> str:
        return message.payload.product

    def initial(self, stream: str) -> Sale:
        return Sale(product=stream, total=0)

    def load(self, key: str, tx: Any) -> Sale | None:
        with models_in(tx):
            return Sale.objects.filter(product=key).first()

    @evolve
    def sold(self, row: Sale, event: Message[Sold]) -> None:
        row.total += event.payload.price
        row.updated_at = event.created_at
        row.facts = {"last": event.payload.price}

    @sync
    def save(self, row: Sale, batch: Batch, tx: Any) -> None:
        with models_in(tx), transaction.atomic():
            row.save(force_insert=False)


KINDS = [BySql, BySqlAlchemy, ByDjango]


@pytest.fixture
def shop(store: Store) -> Iterator[Store]:
    """A store in a database with a table of ours, which Django knows."""
    if isinstance(store, MemoryStore):
        pytest.skip("it keeps nothing in a database")
    if isinstance(store, PostgresStore):
        statement = TABLE.format(time="timestamptz", json="jsonb")
        parts = conninfo_to_dict(store.url)
        database: dict[str, Any] = {
            "ENGINE": "django.db.backends.postgresql", "NAME": parts["dbname"], "USER": parts.get("user", ""),
            "HOST": parts.get("host", ""), "PORT": str(parts.get("port", "")),
        }  # fmt: skip
    else:
        assert isinstance(store, SqliteStore)
        statement = TABLE.format(time="datetime", json="text")
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": store.path}
    with store.transaction() as connection:
        connection.tx.execute(statement)
    connections.settings = connections.configure_settings({"default": database})
    if hasattr(connections._connections, "default"):
        del connections["default"]
    yield store
    connections["default"].close()
    del connections["default"]
    with store.transaction() as connection:
        connection.tx.execute("drop table sales")


def rows(store: Any) -> dict[str, int]:
    with getattr(store, "store", store).transaction() as connection:
        return dict(connection.tx.execute("select product, total from sales order by product").fetchall())


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_written_once_wherever_the_process_dies(kind: Any, shop: Store):
    """H145. At every other statement, between the row and the commit too; the next process goes on from there."""
    app = Sourced(shop, clock=VirtualClock())
    app.register(kind)
    sold, at, crashes = 0, 0, 0
    while True:
        at += 2
        app.append(f"cart-{at % 2}", [Sold("tea", 3), Sold("mug", 4), Sold("tea", 1)])
        sold += 1
        store: Any = CrashingStore(shop, at)
        dying = Sourced(store, clock=VirtualClock())
        dying.register(kind)
        with contextlib.suppress(Crash):
            dying.drain(raise_errors=True)
            break
        crashes += 1
        assert rows(shop) in ({}, *({"mug": 4 * n, "tea": 4 * n} for n in range(sold + 1)))
        healed = Sourced(shop, clock=VirtualClock(app._engine.clock.now()))
        healed._engine.clock.advance(60 * at)  # type: ignore[attr-defined]
        healed.register(kind)
        for _ in range(3):
            healed.drain(raise_errors=True)
        assert rows(shop) == {"mug": 4 * sold, "tea": 4 * sold}
    assert crashes >= 4


@pytest.mark.parametrize("kind", KINDS)
def test_inline_they_are_written_with_the_append(kind: Any, shop: Store):
    app = Sourced(shop)
    app.register(kind, inline=True)
    app.append("cart-1", [Sold("tea", 3), Sold("mug", 4)])
    with contextlib.suppress(ZeroDivisionError), app.transaction() as tx:
        tx.append("cart-2", Sold("tea", 5))
        raise ZeroDivisionError
    app.append("cart-2", Sold("tea", 6))
    assert rows(shop) == {"mug": 4, "tea": 9}


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_writes_them_in_its_threads(kind: Any, shop: Store):
    app = Sourced(shop)
    app.register(kind)

    async def story() -> None:
        async with app.running():
            for number in range(10):
                await app.aio.dispatch(Sold("tea", number), to=f"cart-{number % 3}")
            for message in await app.aio.read_all(types=[Sold]):
                await app.aio.wait_for(message)

    asyncio.run(story())
    assert rows(shop) == {"tea": 45}


@contextlib.contextmanager
def begun(store: Store) -> Iterator[Any]:
    """A transaction as blocks of code are handed it."""
    with store.transaction() as connection:
        connection.call(lambda tx: None)
        yield connection.tx


def test_values_are_what_the_orm_takes_them_for(shop: Store):
    """Times with their zone, JSON as what it holds, on a connection that reads them in its own way."""
    app = Sourced(shop)
    app.register(ByDjango)
    message = app.append("cart-1", Sold("tea", 3))[0]
    app.drain(raise_errors=True)
    with begun(shop) as tx, models_in(tx):
        found = Sale.objects.get(product="tea")
        assert (found.updated_at, found.facts) == (message.created_at, {"last": 3})
        assert list(Sale.objects.filter(updated_at=message.created_at, facts__last=3).iterator()) == [found]
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            Sale.objects.update(total=0)
            raise ZeroDivisionError
        assert Sale.objects.get(product="tea").total == 3
    assert connections["default"].connection is not tx


def test_what_a_session_rolls_back_is_taken_back_and_no_more(shop: Store):
    with begun(shop) as tx:
        tx.execute("insert into sales (product, total) values ('tea', 1)")
        with session_in(tx) as session:
            session.add(SaleRow(product="mug", total=2))
            session.flush()
            session.rollback()
            session.add(SaleRow(product="jam", total=3))
            assert [row.product for row in session.scalars(select(SaleRow).order_by(SaleRow.product))] == ["jam", "tea"]
    assert rows(shop) == {"jam": 3, "tea": 1}
    with contextlib.suppress(ZeroDivisionError), begun(shop) as tx:
        with session_in(tx) as session:
            session.add(SaleRow(product="ink", total=1))
        raise ZeroDivisionError
    assert rows(shop) == {"jam": 3, "tea": 1}


class Awaited(Projector[SaleRow], group="sales"):
    key, sold = BySqlAlchemy.key, BySqlAlchemy.sold

    def initial(self, stream: str) -> SaleRow:
        return SaleRow(product=stream, total=0)

    async def load(self, key: str, tx: Any) -> Any:
        async with async_session_in(tx) as session:
            return await session.get(SaleRow, key)

    @sync
    async def save(self, row: SaleRow, batch: Batch, tx: Any) -> None:
        async with async_session_in(tx) as session:
            await session.merge(row)


def test_sessions_in_transactions_that_are_awaited(shop: Store):
    async def story() -> None:
        app = Sourced(shop)
        app.register(Awaited)
        async with app.running():
            for number in range(5):
                await app.aio.wait_for(await app.aio.dispatch(Sold("tea", number), to=f"cart-{number}"))
        with pytest.raises(ZeroDivisionError):
            async with shop.transaction_async() as connection:
                await cast("Any", connection).call(forgotten)

    async def forgotten(tx: Any) -> None:
        async with async_session_in(tx) as session:
            session.add(SaleRow(product="mug", total=1))
            await session.flush()
            await session.rollback()
            session.add(SaleRow(product="ink", total=1))
        raise ZeroDivisionError

    if not isinstance(shop, PostgresStore):
        pytest.skip("its transactions are awaited nowhere")
    asyncio.run(story())
    assert rows(shop) == {"tea": 10}


def test_what_is_no_transaction_of_such_a_store_is_refused(shop: Store):
    with MemoryStore().transaction() as connection:
        refused(r"found sourced\..*MemoryConnection", session_in, connection.tx)
        refused(r"found sourced\..*MemoryConnection", models_in, connection.tx)
    with closing(sqlite3.connect(":memory:")) as raw:
        if isinstance(shop, PostgresStore):
            refused("that database is PostgreSQL", models_in, raw)
        with pytest.raises(DefinitionError, match=r"expected a psycopg AsyncConnection, found sqlite3\.Connection"):
            asyncio.run(async_session_in(raw).__aenter__())


def test_a_transaction_that_is_awaited_is_told_from_one_that_is_not(shop: Store):
    async def story() -> None:
        async with shop.transaction_async() as connection:
            refused("async_session_in", session_in, connection.tx, NeedsAwait)
            refused("make the block a plain method", models_in, connection.tx, NeedsAwait)

    if not isinstance(shop, PostgresStore):
        pytest.skip("its transactions are awaited nowhere")
    asyncio.run(story())


def refused(why: str, lending: Any, tx: Any, error: type[Exception] = DefinitionError) -> None:
    with pytest.raises(error, match=why):
        lending(tx).__enter__()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_rows_are_not_lost_where_nobody_awaits_what_writes_them(shop: Store):
    """A block that is no `async def` wrote nothing there, and its messages counted as handled."""
    app = Sourced(shop, errors=Park())
    app.register(BySql)
    app.append("cart-1", [Sold("tea", 3), Sold("tea", 4)])

    async def drained() -> None:
        await app.aio.drain()

    asyncio.run(drained())
    if isinstance(shop, PostgresStore):
        (parked,) = app.parked.list()
        assert re.search(r"BySql\.save: .*AsyncConnection.* expected `async def`", parked.error)
        assert rows(shop) == {}
        app.parked.retry(BySql)
        app.drain()
    assert rows(shop) == {"tea": 7}
