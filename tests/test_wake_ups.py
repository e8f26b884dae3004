"""Wake-ups between processes: what one app commits, another one on the same store hears of."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg import sql

from sourced import Sourced
from sourced.notifiers.relayed import BREATH
from sourced.stores._sqlite.relay import SqliteRelay
from sourced.stores.sqlite import SqliteStore
from sourced.testing.shop import AddItem, Cart, Reserve, Stock
from tests.facts import PATIENCE, eventually


@pytest.fixture(params=["sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Sourced]]:
    """Apps that share a store, as processes do."""
    with contextlib.ExitStack() as apps:
        url = f"sqlite:///{tmp_path}/shop.db"
        if request.param == "postgres":
            url = request.getfixturevalue("postgres_url")
            apps.enter_context(Sourced(url)).migrate()

        def one_more() -> Sourced:
            app = apps.enter_context(Sourced(url))
            app.register(Cart)
            return app

        yield one_more


def heard(listener: Any) -> bool:
    return bool(listener.wait(PATIENCE))


def test_what_one_commits_the_other_hears_of(make: Callable[[], Sourced]):
    here, there = make(), make()
    with here._engine.notifier.listen() as listener:
        assert heard(listener)  # whoever begins to listen looks first: who knows what came before
        there.dispatch(AddItem("tea"), to="c1")
        assert heard(listener)


def test_nobody_wakes_himself_twice(postgres_url: str):
    """On PostgreSQL, where a process hears its own notes come back: the next thing it hears of is somebody else's."""
    with Sourced(postgres_url) as app, Sourced(postgres_url) as other:
        app.migrate()
        app.register(Cart)
        other.register(Stock)
        with app._engine.notifier.listen() as here, other._engine.notifier.listen() as there:
            for each in (here, there):
                assert heard(each)
                each.news()
            app.dispatch(AddItem("tea"), to="c1")
            for each in (here, there):
                assert heard(each)
                assert each.news() == {"shop.add_item"}
            other.dispatch(Reserve("tea", 1), to="stock-tea")
            assert heard(here)
            assert here.news() == {"shop.reserve"}


def test_a_listener_whose_connection_is_killed_looks_and_listens_again(postgres_url: str):
    """J167. What was told while it was deaf it finds by looking."""
    with Sourced(postgres_url) as here, Sourced(postgres_url) as there:
        here.migrate()
        there.register(Cart)
        with here._engine.notifier.listen() as listener:
            assert heard(listener)
            with psycopg.connect(postgres_url, autocommit=True) as admin:
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sourced wake-ups'"
                )
            assert heard(listener)  # it is back
            there.dispatch(AddItem("tea"), to="c1")
            assert heard(listener)


def test_who_stops_listening_leaves_no_thread_behind(make: Callable[[], Sourced]):
    before = set(threading.enumerate())
    app = make()
    with app._engine.notifier.listen() as listener:
        assert heard(listener)
        assert "sourced-ears" in {thread.name for thread in threading.enumerate()}
    assert "sourced-ears" not in {thread.name for thread in set(threading.enumerate()) - before}
    app.dispatch(AddItem("tea"), to="c1")
    app.close()
    assert set(threading.enumerate()) <= before


def test_thirty_two_writers_are_told_of_in_few_words(postgres_url: str):
    """A NOTIFY holds up everybody who commits, so what comes together is told as one; nothing that came is left out."""
    told: list[set[str]] = []
    with (
        Sourced(postgres_url) as app,
        psycopg.connect(postgres_url, autocommit=True) as raw,
        Sourced(postgres_url) as there,
        there._engine.notifier.listen() as listener,
    ):
        app.migrate()
        app.register(Cart)
        assert heard(listener)  # or nobody would be told
        raw.execute(sql.SQL("listen {}").format(sql.Identifier(app.store.relay()._channel)))  # type: ignore[union-attr]
        began = monotonic()
        with ThreadPoolExecutor(32) as writers:
            list(writers.map(lambda n: app.execute(AddItem("tea"), to=f"c{n}"), range(640)))
        seconds = monotonic() - began
        while "shop.item_added" not in set().union(*told):
            told += [set(json.loads(each.payload)[1]) for each in raw.notifies(timeout=0.2)]
        told += [set(json.loads(each.payload)[1]) for each in raw.notifies(timeout=0.2)]
    assert set().union(*told) == {"shop.add_item", "shop.item_added"}
    assert 1 <= len(told) <= 2 + seconds / BREATH
    assert len(told) < 640 / 2


def test_on_postgres_nobody_is_told_where_nobody_listens(postgres_url: str):
    """NOTIFY holds a lock of the whole cluster while it commits; who begins to listen looks first."""
    with Sourced(postgres_url) as app, psycopg.connect(postgres_url, autocommit=True) as outsider:
        app.migrate()
        relay = app.store.relay()
        assert relay is not None
        outsider.execute("listen sourced_")

        def overheard() -> list[str]:
            outsider.execute("notify sourced_, 'so far'")
            return [each.payload for each in outsider.notifies(timeout=0)][:-1]

        relay.tell({"cart.item_added"})
        assert overheard() == []
        with app._engine.notifier.listen() as listener:
            assert heard(listener)
            relay.tell({"cart.item_added"})
            assert [json.loads(each)[1] for each in overheard()] == [["cart.item_added"]]
        eventually(lambda: not told(relay, overheard))


def told(relay: Any, overheard: Callable[[], list[str]]) -> bool:
    relay.tell({"cart.item_added"})
    return bool(overheard())


@pytest.mark.parametrize("log", ["watched", "never written to", "not there"])
def test_commits_are_heard_of_whether_the_kernel_tells_of_them_or_not(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On SQLite: a file system may keep to itself what somebody has written elsewhere; that is found out."""
    monkeypatch.setattr("sourced.stores._sqlite.relay.WAKEFUL", 0)
    with contextlib.closing(SqliteStore(tmp_path / "shop.db")) as store, Sourced(store) as app:
        app.register(Cart)
        path = store.path if log == "watched" else tmp_path / "elsewhere.db"
        if log == "never written to":
            Path(f"{path}-wal").touch()
        relay, deaf = SqliteRelay(store, path, lambda: store._opened(PATIENCE)), threading.Event()
        with contextlib.closing(store._opened(PATIENCE)) as raw, ThreadPoolExecutor(1) as looking:
            commits = relay._commits(raw, deaf)
            next(commits)
            watch, waits = relay._watches[0], threading.Event()
            wait = watch.wait

            def waiting(seconds: float) -> bool:
                waits.set()
                return wait(seconds)

            monkeypatch.setattr(watch, "wait", waiting)

            def one_more() -> bool:
                """Comes while somebody waits to be told; what is left of the one before is heard of first."""
                waits.clear()
                heard = looking.submit(next, commits)
                while not waits.is_set():
                    eventually(lambda: waits.is_set() or heard.done())  # noqa: B023
                    if not waits.is_set():
                        heard = looking.submit(next, commits)
                app.dispatch(AddItem("tea"), to="c1")
                return heard.result(PATIENCE) is None

            try:
                assert all(one_more() for _ in range(4))
                assert watch.tells == (log == "watched" and sys.platform == "linux")
            finally:
                deaf.set()
                relay.rouse()
