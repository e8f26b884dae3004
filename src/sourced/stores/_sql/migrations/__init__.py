"""The tables, as numbered files that are applied once; applied by us, or by the user's own migration tool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import NamedTuple

from sourced.stores._sql.dialect import named


class Migration(NamedTuple):
    """One step from one shape of the tables to the next."""

    number: int
    name: str
    sql: str


def migrations(database: str, *, prefix: str, schema: str | None, shards: int) -> Iterator[Migration]:
    """All of a database's steps, in order; each one also writes down that it was made."""
    found = sorted(each.name for each in (files(__name__) / database).iterdir() if each.name.endswith(".sql"))
    for file in found:
        number, _, name = file.removesuffix(".sql").partition("_")
        text = (files(__name__) / database / file).read_text("utf-8")
        noted = f"insert into {{migrations}} (number, name, shards) values ({int(number)}, '{name}', {shards});"
        yield Migration(int(number), name, named(f"{text}\n{noted}\n", prefix, schema, _NO_WORDS))


_NO_WORDS: Mapping[str, str] = {}
