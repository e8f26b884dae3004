"""How PostgreSQL takes lists and rows: as arrays, in binary, which is several times faster than as text."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sourced.stores._postgres.arrays import ARRAYS, Bigints, Texts
from sourced.stores._sql.dialect import Arguments, Query, Rows, lists_as, rows_as

_ARGUMENT = re.compile(r"(?<!:):(\w+)")


class PostgresDialect:
    words: Mapping[str, str] = {
        "greatest": "greatest", "instr": "strpos", "joined": "string_agg(m.payload, ',')",
        "lock": "for update", "numbers": "array_agg", "share": "for share", "skip_locked": "for update skip locked",
        # Compared as one, they leave it no other index; it would go by positions alone, through all other shards, or by
        # types, most of all while a log is being filled and there are no statistics of it.
        "beyond": "(m.shard, m.position) > (p.shard, %s) and m.shard <= p.shard",
    }  # fmt: skip

    def query(self, text: str, lists: Collection[str], rows: Rows) -> Query:
        """Arguments are numbered, in the order in which the text mentions them first."""
        numbers: dict[str, int] = {}

        def table(name: str) -> str:
            arrays = [f":{name}_{at}::{kind}[]" for at, (_, kind) in enumerate(rows[name])]
            columns = [f"unnest({array}) as {column}" for array, (column, _) in zip(arrays, rows[name], strict=True)]
            return f"(select {', '.join(columns)}, generate_subscripts({arrays[0]}, 1)::bigint as n) as {name}"

        def number(argument: re.Match[str]) -> str:
            return f"${numbers.setdefault(argument[1], len(numbers) + 1)}"

        def bind(arguments: Arguments) -> list[Any]:
            if not rows:
                return [_listed(arguments[name]) if name in lists else arguments[name] for name in numbers]
            bound: dict[str, Any] = {}
            for name, value in arguments.items():
                if name in rows:
                    columns = [*zip(*value, strict=True)] or [()] * len(rows[name])
                    kinds = [ARRAYS.get(kind, list) for _, kind in rows[name]]
                    bound.update((f"{name}_{at}", kinds[at](column)) for at, column in enumerate(columns))
                else:
                    bound[name] = _listed(value) if name in lists else value
            return [bound[name] for name in numbers]

        whole = rows_as(lists_as(text, lambda name: f"= any (:{name})"), table)
        return Query(_ARGUMENT.sub(number, whole), bind)

    def time(self, value: Any) -> datetime:
        time: datetime = value
        return time if time.tzinfo is UTC else time.astimezone(UTC)

    def numbers(self, value: Any) -> Sequence[int]:
        numbers: Sequence[int] = value
        return numbers


def _listed(values: Collection[Any]) -> Collection[Any]:
    """The values of a list are all of one kind."""
    first = next(iter(values), None)
    if isinstance(first, str):
        return Texts(values)
    return Bigints(values) if isinstance(first, int) else list(values)
