"""`Sourced(url)`: the URL names the store, and its driver is needed for no other."""

import sys
from pathlib import Path

import pytest

from sourced import DefinitionError, Sourced


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("memory://", "MemoryStore"),
        ("sqlite:///{}/shop.db", "SqliteStore"),
        ("file://{}/shop", "FileStore"),
        ("postgresql://nobody@/none", "PostgresStore"),
        ("postgres://nobody@/none", "PostgresStore"),
    ],
)
def test_a_url_names_a_store(url: str, store: str, tmp_path: Path):
    with Sourced(url.format(tmp_path)) as app:
        assert type(app.store).__name__ == store


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "sourced.stores.postgres", raising=False)
    with pytest.raises(DefinitionError, match=r"sourced-py\[postgres\]"):
        Sourced("postgresql://nobody@/none")
    assert Sourced("memory://").status().streams == 0
