"""What a file holds of our tables: looked for without a trace, and made."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sourced.errors import SchemaMismatch
from sourced.stores._sql.migrations import Made, Migration


def steps_made(execute: Callable[..., sqlite3.Cursor], table: str) -> list[Made]:
    """Tables that were made before there were fingerprints have no column for them."""
    if not execute("select 1 from sqlite_master where name = ?", (table,)).fetchone():
        return []
    rows = execute(f'select * from "{table}" order by number')
    names = [name for name, *_ in rows.description]
    found = (dict(zip(names, row, strict=True)) for row in rows)
    return [Made(each["number"], each["shards"], each.get("fingerprint", "")) for each in found]


def refuse_without_tables(store: str, path: Path, table: str, steps: Sequence[Migration]) -> None:
    """Who only looks makes nothing: no file, no table, nor a log beside somebody else's database."""
    with closing(_for_reading(path)) as raw:
        made = steps_made(raw.execute, table)
    if len(made) < len(steps):
        raise SchemaMismatch(
            store, expected=f"tables of version {len(steps)}", found=f"version {len(made)}" if made else "none",
            hint="if this is the right file, `sourced migrate`, or a program that opens it, makes them",
        )  # fmt: skip


def _for_reading(path: Path) -> sqlite3.Connection:
    """Where there is no log beside it, nobody has it open, and to read it as it lies leaves none behind."""
    how = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)


def statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def make(raw: Any, steps: Sequence[Migration]) -> None:
    for step in steps:
        for statement in statements(step.sql):
            raw.execute(statement)
