"""Workers inside a web server's process: they begin and end with it, and nothing is lost or left behind."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourced import Sourced
from tests.facts import PATIENCE
from tests.integrations.web import Answered, Ask, Desk, desk

ROOT = Path(__file__).parents[2]
CASES = [("starlette", "sqlite"), ("starlette", "postgres"), ("fastapi", "sqlite"), ("litestar", "sqlite")]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def app(url: str) -> Iterator[Sourced]:
    with desk(url) as app:
        app.migrate()
        yield app


@contextlib.contextmanager
def serving(framework: str, url: str, door: int) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A uvicorn of its own, and where it listens."""
    command = [sys.executable, "-m", "uvicorn", "--factory", f"tests.integrations.web:{framework}", "--port", "0"]
    environment = {**os.environ, "SHOP": url, "DOOR": str(door)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield server, until(server, r"running on (http://\S+)")
    finally:
        server.kill()
        server.communicate()


def until(server: "subprocess.Popen[str]", pattern: str) -> str:
    assert server.stderr is not None
    printed = []
    for line in server.stderr:
        printed.append(line)
        if found := re.search(pattern, line):
            return found.group(found.lastindex or 0)
    raise AssertionError("".join(printed))


def answered(app: Sourced) -> list[str]:
    return [message.payload.text for message in app.read_all(types=[Answered])]


@pytest.mark.parametrize(("framework", "url"), CASES, indirect=["url"])
def test_sigterm_ends_the_rounds_in_hand_and_leaves_nothing_behind(framework: str, url: str, app: Sourced):
    """J180. The message in hand is settled once, those behind it wait for another worker, the leases are free."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(PATIENCE)
        with serving(framework, url, door.getsockname()[1]) as (server, address):
            asked = urllib.request.urlopen(address, data=b"slow quick quicker", timeout=PATIENCE)
            assert asked.read() == b"3"
            at_the_door, _ = door.accept()
            assert [worker.pid for worker in app.workers()] == [server.pid]
            assert any(each.owner for each in app.groups.get(Desk).progress)
            server.send_signal(signal.SIGTERM)
            until(server, "Waiting for application shutdown")
            assert server.poll() is None
            assert answered(app) == []
            at_the_door.close()
            assert server.wait(PATIENCE) in (0, -signal.SIGTERM)  # uvicorn ends as one who was told to
    assert app.workers() == []
    assert [each.owner for each in app.groups.get(Desk).progress] == [""]
    assert answered(app)[:1] == ["slow"]
    app.drain()
    assert answered(app) == ["slow", "quick", "quicker"]
    assert app.groups.get(Desk).stragglers == ()


def test_what_a_request_stores_is_handled_in_the_same_process(tmp_path: Path):
    """Whoever answers with what was done waits for it."""
    app = desk(f"sqlite:///{tmp_path}/shop.db")
    with app, serving("starlette", f"sqlite:///{tmp_path}/shop.db", 0) as (server, address):
        urllib.request.urlopen(address, data=b"quick", timeout=PATIENCE).close()
        app.wait_for(app.read_all(types=[Ask])[0], timeout=PATIENCE)
        assert answered(app) == ["quick"]
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE)
