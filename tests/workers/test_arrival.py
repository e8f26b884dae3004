"""A worker that is started before its database waits for it: so long, saying what for, and until it is told to end."""

import asyncio
import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from sourced import Sourced
from sourced.cli.program import program
from sourced.errors import DefinitionError, Unavailable
from sourced.stores._postgres.dialing import lasts
from sourced.stores.postgres import PostgresStore
from tests.facts import PATIENCE, until
from tests.runtime.listener import Noted, handled
from tests.stores.lines import Line
from tests.workers.crew import on_a_loop
from tests.workers.works import made

ROOT = Path(__file__).parents[2]


@pytest.fixture
def away(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The URL of a database that nobody can reach yet, and what lets everybody reach it."""
    with contextlib.closing(PostgresStore(postgres_url)) as store, contextlib.ExitStack() as stack:
        store.migrate()
        folder = str(tmp_path_factory.mktemp("l"))
        url = postgres_url + ("&" if "?" in postgres_url else "?") + f"host={folder}"
        yield url, lambda: stack.enter_context(contextlib.closing(Line(make_conninfo(postgres_url), folder)))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Callable[[], Any]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        yield lambda: other.execute("rollback")


def waits_and_works(app: Sourced, caplog: pytest.LogCaptureFixture, come: Callable[[], Any]) -> None:
    async def scenario() -> None:
        ended = asyncio.Event()

        async def at_work() -> None:
            async with app.running(wait=PATIENCE):
                await ended.wait()

        working = asyncio.create_task(at_work())
        await until(lambda: "the store is waited for, for " in caplog.text)
        come()
        await until(lambda: "the store is there" in caplog.text)
        await app.aio.append("s", Noted("1"))
        await until(lambda: handled(app, "1") == [1])
        ended.set()
        await working

    on_a_loop(scenario())


def test_a_server_that_is_not_there_is_waited_for(away: Any, caplog: pytest.LogCaptureFixture):
    url, come = away
    with made(url, "plain") as app:
        waits_and_works(app, caplog, come)


def test_a_file_that_somebody_has_locked_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "shop.db"
    with made(f"sqlite:///{path}", "plain", timeout=0.01) as app, locked(path) as release:
        waits_and_works(app, caplog, release)


def test_it_is_not_waited_for_any_longer_than_that(away: Any):
    async def scenario(app: Sourced) -> None:
        with pytest.raises(Unavailable, match="No such file"):
            async with app.running(wait=0.15):
                pass

    with made(away[0], "plain") as app:
        on_a_loop(scenario(app))
        with pytest.raises(DefinitionError, match="wait: expected a time from 0"):
            app.run(wait=-1)


@pytest.mark.parametrize(("right", "said"), [("/sourced_test_[^?]*", "database"), ("//[^@]*@", "role")])
def test_what_does_not_pass_by_itself_is_told_at_once(
    postgres_url: str, caplog: pytest.LogCaptureFixture, right: str, said: str
):
    wrong = re.sub(right, {"database": "/nobody", "role": "//nobody@"}[said], postgres_url)
    with made(wrong, "plain") as app, pytest.raises(Unavailable, match=f'{said} "nobody" does not exist'):
        app.run(wait=PATIENCE)
    assert "waited for" not in caplog.text


@pytest.mark.parametrize(
    ("said", "lasting"),
    [
        ('FATAL: password authentication failed for user "shop"', True),
        ("fe_sendauth: no password supplied", True),
        ('FATAL: no pg_hba.conf entry for host "10.0.0.7", user "shop", database "shop", no encryption', True),
        ('FATAL: role "shop" is not permitted to log in', True),
        ('FATAL: database "shop" is not currently accepting connections', True),
        ("server does not support SSL, but SSL was required", True),
        ("FATAL: the database system is starting up", False),
        ("FATAL: sorry, too many clients already", False),
        ('connection to server at "db", port 5432 failed: Connection refused', False),
        ('could not translate host name "db" to address: Name or service not known', False),
    ],
)
def test_what_servers_say_is_told_apart(said: str, lasting: bool):
    assert lasts(said) == lasting


# -- the command


@pytest.fixture
def shop(away: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    code = f"import sys; sys.path.append({str(ROOT)!r})\nfrom tests.workers.works import made\n"
    (tmp_path / "early.py").write_text(f"{code}app = made({away[0]!r}, 'plain')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "early", raising=False)
    yield "early:app"
    if early := sys.modules.pop("early", None):
        early.app.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_waits_ends_as_soon_as_it_is_told(shop: str, processes: int):
    command = [sys.executable, "-m", "sourced", "worker", shop, "--processes", str(processes)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr
        try:
            first = worker.stderr.readline()
            worker.send_signal(signal.SIGTERM)
            assert (worker.wait(PATIENCE), "the store is waited for, for 60 s more: PostgreSQL" in first) == (0, True)
        finally:
            worker.kill()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_is_to_wait_for_nobody_ends_with_1(shop: str, processes: int):
    result = CliRunner().invoke(program, ["worker", shop, "--wait", "0", f"--processes={processes}"])
    assert (result.exit_code, result.stderr.startswith("Unavailable: PostgreSQL ")) == (1, True)
