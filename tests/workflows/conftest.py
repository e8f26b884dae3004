"""The stores that workflows are tried on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourced.app import store_at
from sourced.store import Store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    else:
        url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'flows.db'}"}[request.param]
    with contextlib.closing(store_at(url)) as opened:
        opened.migrate()
        yield opened
