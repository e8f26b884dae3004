"""What the operations of a store over tables are written with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sourced.codec import Record
from sourced.ops import Statement
from sourced.store import SHARDS, Store, shard_of
from sourced.stores._sql.dialect import Dialect, Query, check_name, compiled, settled

_record: Any = Record

ALL = 2**62  # as a limit: none


class Tables(Store):
    """Statements over tables of this installation's names, and the rows that come back."""

    def __init__(self, dialect: Dialect, *, prefix: str, schema: str | None = None, shards: int = SHARDS) -> None:
        check_name("prefix", prefix)
        if schema is not None:
            check_name("schema", schema)
        self.dialect = dialect
        self.prefix = prefix
        self.schema = schema
        self.shards = shards
        self._queries: dict[str, Query] = {}

    def say(self, verb: str, text: str, **arguments: Any) -> Statement:
        return Statement(verb, self.query(text), (arguments,))

    def tell(self, verb: str, text: str, **arguments: Any) -> Statement:
        """A statement whose rows nobody looks at."""
        return Statement(verb, self.query(text), (arguments,), silent=True)

    def query(self, text: str) -> Query:
        query = self._queries.get(text)
        if query is None:
            query = self._queries[text] = compiled(text, self.dialect, self.prefix, self.schema)
        return query

    def shard(self, stream: str) -> int:
        return shard_of(stream, self.shards)

    def records(self, rows: Sequence[Any]) -> list[Record]:
        """Rows of `{record}` columns."""
        time = self.dialect.time
        return [_record(*row[:10], time(row[10]), settled(row[11])) for row in rows]

    def pieces(self, rows: Sequence[Any], count: int) -> list[Sequence[Record]]:
        """Rows of several pieces, each row ended by the number of its piece."""
        pieces: list[list[Record]] = [[] for _ in range(count)]
        for row, record in zip(rows, self.records(rows), strict=True):
            pieces[row[12] - 1].append(record)
        return [*pieces]

    def maybe_time(self, value: Any) -> datetime | None:
        return None if value is None else self.dialect.time(value)
