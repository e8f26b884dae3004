"""How SQLite hears a statement and hands over its rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from sourced.stores._sql.dialect import Arguments, Query, Rows, lists_as, rows_as

_json = msgspec.json.Encoder().encode
_numbers = msgspec.json.Decoder(list[int]).decode


class SqliteDialect:
    """Lists and rows are handed over as JSON, times as text that sorts."""

    words: Mapping[str, str] = {
        "beyond": "m.shard = p.shard and m.position > %s", "greatest": "max", "instr": "instr",
        "joined": "group_concat(m.payload)", "lock": "", "numbers": "json_group_array", "share": "", "skip_locked": "",
    }  # fmt: skip

    def query(self, text: str, lists: Collection[str], rows: Rows) -> Query:
        def table(name: str) -> str:
            columns = ", ".join(f"value ->> {at} as {column}" for at, (column, _) in enumerate(rows[name]))
            return f"(select {columns}, key + 1 as n from json_each(:{name})) as {name}"

        times = {
            name: [at for at, (_, kind) in enumerate(columns) if kind == "timestamptz"]
            for name, columns in rows.items()
        }

        def bind(arguments: Arguments) -> dict[str, Any]:
            bound: dict[str, Any] = {}
            for name, value in arguments.items():
                if name in rows:
                    bound[name] = _json([_timed(row, times[name]) for row in value]).decode()
                elif name in lists:
                    bound[name] = _json(list(value)).decode()
                else:
                    bound[name] = iso(value) if isinstance(value, datetime) else value
            return bound

        whole = lists_as(text, lambda name: f"in (select value from json_each(:{name}))")
        return Query(rows_as(whole, table), bind)

    def time(self, value: Any) -> datetime:
        return datetime.fromisoformat(value)

    def numbers(self, value: Any) -> Sequence[int]:
        return _numbers(value)


def iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _timed(row: Sequence[Any], times: Sequence[int]) -> Sequence[Any]:
    if not times:
        return row
    return [iso(value) if at in times and value is not None else value for at, value in enumerate(row)]
