"""SQL as we write it, once, and how a database wants to hear it: names of tables, lists, rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from sourced.codec import Record
from sourced.errors import DefinitionError
from sourced.traces import spelled_out

Arguments: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]  # by name: their columns and the columns' types

COLUMNS = (
    "id", "stream", "seq", "position", "type", "version", "payload", "metadata", "causation_id", "correlation_id",
    "created_at", "settled_by",
)  # fmt: skip

_NAME = re.compile(r"\{(\.?)(\w+)\}")
_EACH = re.compile(r"\beach\((\w+): ([^)]*)\)")
_LIST = re.compile(r"\bin :(\w+)")


class Query(NamedTuple):
    """A statement as one database hears it, and how its arguments are handed over."""

    text: str
    bind: Callable[[Arguments], Any]


class Dialect(Protocol):
    """What databases say differently.

    In the texts `{messages}` is a table, `{.messages}` its bare name as indexes have it, `:name` an argument,
    `in :names` a list, and `each(m: shard integer, high bigint)` a table `m` made of rows that are handed over, with
    their order in a column `n`.
    """

    words: Mapping[str, str]  # `{word}`s that are no tables

    def query(self, text: str, lists: Collection[str], rows: Rows) -> Query: ...

    def time(self, value: Any) -> datetime: ...

    def numbers(self, value: Any) -> Sequence[int]:
        """What `{numbers}(…)` has put together."""
        ...


def named(text: str, prefix: str, schema: str | None, words: Mapping[str, str]) -> str:
    """The text with tables named as this installation names them."""

    def name(match: re.Match[str]) -> str:
        bare, word = match.groups()
        if word in words:
            return words[word]
        return f'"{schema}"."{prefix}{word}"' if schema and not bare else f'"{prefix}{word}"'

    return _NAME.sub(name, text)


def compiled(text: str, dialect: Dialect, prefix: str, schema: str | None) -> Query:
    words = {"record": ", ".join(f"m.{column}" for column in COLUMNS), **dialect.words}
    whole = named(text, prefix, schema, words)
    rows = {}
    for each in _EACH.finditer(whole):
        columns = [column.strip().partition(" ") for column in each[2].split(",")]
        rows[each[1]] = [(column, kind) for column, _, kind in columns]
    return dialect.query(whole, set(_LIST.findall(whole)), rows)


def lists_as(text: str, wording: Callable[[str], str]) -> str:
    return _LIST.sub(lambda match: wording(match[1]), text)


def rows_as(text: str, wording: Callable[[str], str]) -> str:
    return _EACH.sub(lambda match: wording(match[1]), text)


def check_name(what: str, name: str) -> None:
    """Names go into statements as they are, so only plain ones may."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,30}", name):
        raise DefinitionError(f"{what}: expected a letter, then letters, digits and _, at most 31, found {name!r}")


def storable(text: str) -> str:
    """What an exception says may hold what no database takes as text."""
    return spelled_out(text).replace("\0", "\\0")


# -- records in rows

_encode = msgspec.json.Encoder().encode
_groups = msgspec.json.Decoder(tuple[str, ...]).decode


def settled(text: str) -> tuple[str, ...]:
    """The groups in a `settled_by` column, which is empty more often than not."""
    return _groups(text) if text else ()


def unsettled(groups: Sequence[str]) -> str:
    return _encode(groups).decode() if groups else ""


def own_values(record: Record) -> tuple[Any, ...]:
    """What a record brings along, without its place: the columns from `stream` on, but for seq and position."""
    return (
        record.stream, record.id, record.type, record.version, record.payload, record.metadata, record.causation_id,
        record.correlation_id, record.created_at, unsettled(record.settled_by),
    )  # fmt: skip
