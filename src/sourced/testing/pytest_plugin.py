"""Fixtures for pytest: say `pytest_plugins = ["sourced.testing.pytest_plugin"]` and ask for `postgres_url`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sourced.testing.postgres.binaries import WISH, NoPostgres, find_binaries
from sourced.testing.postgres.choice import postgres_for_tests
from sourced.testing.postgres.databases import Postgres, fresh_database, server_version

USED = pytest.StashKey[str]()
TOLD = "sourced_postgres"  # what a worker of pytest-xdist used, in what it tells the process that started it


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """An empty database, this test's own."""
    with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[Postgres]:
    """The server of this session, started when the first test asks for it."""
    with contextlib.ExitStack() as stack:
        with _or_skip(pytestconfig):
            server = stack.enter_context(postgres_for_tests())
        pytestconfig.stash[USED] = server_version(server)
        yield server


@pytest.fixture(scope="session")
def postgres_binaries(pytestconfig: pytest.Config) -> Path:
    """For a `TempPostgres` of your own, to stop and to crash: its programs."""
    with _or_skip(pytestconfig):
        return find_binaries()


def pytest_sessionfinish(session: pytest.Session) -> None:
    told: dict[str, str] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told[TOLD] = session.config.stash.get(USED, "")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist is through; one that crashed has told nothing."""
    if used := getattr(node, "workeroutput", {}).get(TOLD):
        node.config.stash[USED] = used


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what the tests ran with, if any asked."""
    used = terminalreporter.config.stash.get(USED, None)
    if used is not None:
        terminalreporter.write_line(f"PostgreSQL: {used}")


@contextlib.contextmanager
def _or_skip(config: pytest.Config) -> Iterator[None]:
    """Without a server a person goes on and is told; CI, which would stay green without having tested, fails."""
    try:
        yield
    except NoPostgres as none:
        config.stash[USED] = f"not used ({none})"
        if os.environ.get("CI") == "true" and os.environ.get(WISH) != "off":
            pytest.fail(str(none), pytrace=False)
        pytest.skip(str(none))
