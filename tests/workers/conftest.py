"""What the tests of workers share: one app on every store, and apps that share a store as processes do."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sourced import Sourced
from sourced.stores.memory import MemoryStore


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Sourced]]:
    """Apps on one store; in memory they share the object, elsewhere only the database."""
    with contextlib.ExitStack() as apps:
        store: Any = f"sqlite:///{tmp_path}/works.db"
        if request.param == "postgres":
            store = request.getfixturevalue("emptied_database")
        elif request.param == "memory":
            store = MemoryStore()
        yield lambda **options: apps.enter_context(Sourced(store, **options))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that processes share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/works.db"
    url: str = request.getfixturevalue("emptied_database")
    return url
