"""A connection of the caller's: whether it is one to the store's own file, and may be written to in his transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TypeAlias

from sourced.errors import DefinitionError
from sourced.stores._borrowed import refused

Raw: TypeAlias = sqlite3.Connection

JOINABLE = "a sqlite3 Connection, or SQLAlchemy's or Django's over sqlite3 (aiosqlite lives in a thread of its own)"


def theirs(path: Path, connection: object, raw: object) -> Raw:
    if not isinstance(raw, sqlite3.Connection):
        raise refused(connection, raw, JOINABLE)
    if raw.text_factory is not str:
        raise DefinitionError(f"using(connection): expected one whose text_factory is str, found {raw.text_factory!r}")
    cursor = raw.cursor()
    cursor.row_factory = None
    files = {name: file for _, name, file in cursor.execute("pragma database_list")}
    if not files["main"] or not path.exists() or not path.samefile(files["main"]):
        found = repr(files["main"]) if files["main"] else "a database in memory"
        raise DefinitionError(f"using(connection): expected a connection to {str(path)!r}, found one to {found}")
    return raw


def refuse_autocommit(raw: Raw) -> None:
    """A transaction that we begin there is one that nobody would think of committing."""
    own = getattr(raw, "autocommit", -1)  # since Python 3.12; -1: as `isolation_level` says
    if not raw.in_transaction and (own is True or (own == -1 and raw.isolation_level is None)):
        raise DefinitionError(
            "using(connection): it commits every statement by itself; execute 'begin immediate' first, "
            "or connect without autocommit"
        )
