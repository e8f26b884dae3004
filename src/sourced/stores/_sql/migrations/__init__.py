"""The tables, as numbered files that are applied once; applied by us, or by the user's own migration tool."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

from sourced.errors import SchemaMismatch
from sourced.stores._sql.dialect import named


class Migration(NamedTuple):
    """One step from one shape of the tables to the next."""

    number: int
    name: str
    sql: str
    fingerprint: str


class Made(NamedTuple):
    """What a database says of a step that was made there."""

    number: int
    shards: int
    fingerprint: str


def migrations(database: str, *, prefix: str, schema: str | None, shards: int) -> Iterator[Migration]:
    """All of a database's steps, in order; each one also writes down that it was made."""
    found = sorted(each.name for each in (files(__name__) / database).iterdir() if each.name.endswith(".sql"))
    for file in found:
        number, _, name = file.removesuffix(".sql").partition("_")
        text = (files(__name__) / database / file).read_text("utf-8")
        own = _fingerprint(text)
        values = f"({int(number)}, '{name}', {shards}, '{own}')"
        noted = f"insert into {{migrations}} (number, name, shards, fingerprint) values {values};"
        yield Migration(int(number), name, named(f"{text}\n{noted}\n", prefix, schema, _NO_WORDS), own)


def refuse_others(store: str, made: Sequence[Made], steps: Sequence[Migration], shards: int) -> None:
    """Tables that another version, or other code under the same number, has made, or for another number of shards."""
    if made and made[-1].number > len(steps):
        raise SchemaMismatch(
            store, expected=f"tables of version {len(steps)}", found=f"version {made[-1].number}",
            hint="a newer version of Sourced has been here: update this one",
        )  # fmt: skip
    for there, step in zip(made, steps, strict=False):
        if there.fingerprint != step.fingerprint:
            raise SchemaMismatch(
                store, expected=f"step {step.number} as {step.fingerprint}", found=there.fingerprint or "an older one",
                hint="its text has changed since, before a release: export with the code that made these tables, and "
                "import into new ones, or drop them",
            )  # fmt: skip
    if made and made[0].shards != shards:
        raise SchemaMismatch(
            store, expected=f"{shards} shards", found=str(made[0].shards),
            hint=f"their number is fixed when the tables are made: open it with shards={made[0].shards}",
        )  # fmt: skip


def _fingerprint(text: str) -> str:
    """Of what it does: comments and the way it is laid out may change."""
    words = re.sub(r"--.*", "", text).split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]


_NO_WORDS: Mapping[str, str] = {}
