"""Wake-ups between processes: what one app commits, another one on the same store hears of."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sourced import Sourced
from sourced.testing.shop import AddItem, Cart


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
    return bool(listener.wait(10))


def test_what_one_commits_the_other_hears_of(make: Callable[[], Sourced]):
    here, there = make(), make()
    with here._engine.notifier.listen() as listener:
        assert heard(listener)  # whoever begins to listen looks first: who knows what came before
        there.dispatch(AddItem("tea"), to="c1")
        assert heard(listener)


def test_nobody_wakes_himself_twice(postgres_url: str):
    """On PostgreSQL, where a process hears its own notes come back."""
    with Sourced(postgres_url) as app:
        app.migrate()
        app.register(Cart)
        with app._engine.notifier.listen() as listener:
            assert heard(listener)
            app.dispatch(AddItem("tea"), to="c1")
            assert heard(listener)
            assert not listener.wait(0.1)


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
