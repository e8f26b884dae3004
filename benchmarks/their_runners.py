"""`eventsourcing` at the workers' work in a database: a projection that tracks its position, and a system."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event as Flag
from typing import Any
from uuid import UUID

from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.sqlite import SQLiteDatastore, SQLiteTrackingRecorder
from eventsourcing.system import NewSingleThreadedRunner
from eventsourcing.utils import get_topic
from psycopg.sql import SQL, Identifier

from benchmarks.measure import Trial
from benchmarks.places import Database
from benchmarks.theirs import SYSTEM, Cart, Orders, Reservations, Shop

TABLE = "create table if not exists tallies (cart uuid primary key, items integer not null)"
COUNT = "insert into {} values ({}, 1) on conflict (cart) do update set items = {}.items + 1"


class PostgresTallies(PostgresTrackingRecorder):
    """How many items each cart has got, counted in the same transaction as the position: each is counted once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.through = Flag()
        self.expected = 0
        table = SQL("{}.tallies").format(Identifier(self.datastore.schema))
        self.sql_create_statements.append(SQL(TABLE.replace("tallies", "{}")).format(table))
        self._count = SQL(COUNT).format(table, SQL("%s"), SQL("tallies"))

    def count(self, cart: UUID, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(self._count, (cart,), prepare=True)
        if tracking.notification_id == self.expected:
            self.through.set()

    def total(self) -> int:
        with self.datastore.transaction() as cursor:
            ((found,),) = (row.values() for row in cursor.execute("select sum(items) from tallies").fetchall())
            return int(found)


class PostgresProjection(Projection[PostgresTallies]):
    topics = (get_topic(Cart.ItemAdded),)  # type: ignore[attr-defined]

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        raise NotImplementedError

    @process_event.register
    def item_added(self, domain_event: Cart.ItemAdded, tracking: Tracking) -> None:  # type: ignore[name-defined]
        self.view.count(domain_event.originator_id, tracking)


class SqliteTallies(SQLiteTrackingRecorder):
    """The same; their SQLite recorder offers no subscription, so who uses it asks for what comes next."""

    def construct_create_table_statements(self) -> list[str]:
        return [*super().construct_create_table_statements(), TABLE]

    def count(self, cart: UUID, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(COUNT.format("tallies", "?", "tallies"), (str(cart),))

    def total(self) -> int:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute("select sum(items) from tallies")
            return int(cursor.fetchone()[0])


def catching_up(database: Database, events: int, streams: int) -> Trial:
    env = dict(database.environment())
    shop, filled = Shop(env=env), 0
    for number in range(streams):
        cart = Cart()
        for _ in range(events // streams + (number < events % streams)):
            cart.add_item("p1", 1000, 2)
        shop.save(cart)
        filled = shop.recorder.max_notification_id() or 0
    counted: list[int] = []
    work = (_on_postgres if "POSTGRES_DBNAME" in env else _on_sqlite)(shop, env, filled, counted)

    def tidy() -> None:
        shop.close()
        database.close()

    return Trial(work, lambda: sum(counted), tidy)


def _on_postgres(shop: Shop, env: dict[str, str], filled: int, counted: list[int]) -> Callable[[], None]:
    def work() -> None:
        with ProjectionRunner(
            application_class=Shop, projection_class=PostgresProjection, view_class=PostgresTallies, env=env
        ) as runner:
            view: Any = runner.view
            view.expected = filled
            if not view.has_tracking_id("Shop", filled):
                while not (view.through.wait(0.2) or runner.is_interrupted.is_set()):
                    pass  # a runner that failed says so when it is left
            counted.append(view.total())

    return work


def _on_sqlite(shop: Shop, env: dict[str, str], filled: int, counted: list[int]) -> Callable[[], None]:
    def work() -> None:
        view = SqliteTallies(SQLiteDatastore(env["SQLITE_DBNAME"]))
        view.create_table()
        start = 1
        while start <= filled:
            for notification in shop.recorder.select_notifications(start=start, limit=500):
                event = shop.mapper.to_domain_event(notification)
                if isinstance(event, Cart.ItemAdded):  # type: ignore[attr-defined]
                    view.count(event.originator_id, Tracking("Shop", notification.id))
                start = notification.id + 1
        counted.append(view.total())

    return work


def flows(database: Database, count: int) -> Trial:
    """On the quickest of their runners, which hands an event over as it was saved."""
    env = dict(database.environment())
    if "SQLITE_DBNAME" in env:  # a file for each of the two
        env |= {f"{name}_SQLITE_DBNAME": f"{env['SQLITE_DBNAME']}-{name}" for name in ("ORDERS", "RESERVATIONS")}
    runner = NewSingleThreadedRunner(SYSTEM, env=env)
    runner.start()
    orders, reservations = runner.get(Orders), runner.get(Reservations)

    def work() -> None:
        for _ in range(count):
            orders.place("p1", 2)

    def tidy() -> None:
        runner.stop()
        database.close()

    return Trial(work, lambda: reservations.recorder.max_notification_id() or 0, tidy)
