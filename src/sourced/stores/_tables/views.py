"""The rows that projectors keep here."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from sourced.store import Equal, ViewRow
from sourced.stores._tables.base import Base
from sourced.view import NOTHING, first_revision

_key = attrgetter("key")
_changed: Any = msgspec.structs.replace


class Views(Base):
    def some_of_view(self, group: str, keys: Collection[str]) -> dict[str, ViewRow]:
        rows = self.view(group)
        return {key: rows[key] for key in keys if key in rows}

    def hold_view(self, group: str, revisions: Mapping[str, int]) -> list[str]:
        """There is one transaction at a time, so nobody has to be kept from anything."""
        there = self.view(group)
        return [key for key, revision in revisions.items() if revision != (there[key].revision if key in there else 0)]

    def save_view(self, group: str, rows: Sequence[ViewRow]) -> None:
        there = self.view(group)
        for row in rows:
            known = there.get(row.key)
            if row.body is not None:
                revision = known.revision + 1 if known else first_revision()
                self.put(there, row.key, _changed(row, revision=revision))
            elif known:
                self.drop(there, row.key)

    def page_of_view(self, group: str, after: str, limit: int | None, equal: Sequence[Equal]) -> list[ViewRow]:
        rows = self.view(group)
        wanted = (row for key, row in rows.items() if key > after and row.body != NOTHING and _holds(row, equal))
        return sorted(wanted, key=_key) if limit is None else heapq.nsmallest(limit, wanted, key=_key)

    def count_view(self, group: str, equal: Sequence[Equal]) -> int:
        return sum(1 for row in self.view(group).values() if row.body != NOTHING and _holds(row, equal))

    def drop_view(self, group: str, limit: int | None) -> int:
        rows = self.view(group)
        keys = list(itertools.islice(rows, limit))
        for key in keys:
            self.drop(rows, key)
        return len(keys)


def _holds(row: ViewRow, equal: Sequence[Equal]) -> bool:
    data = msgspec.json.decode(row.body or NOTHING) if equal else {}
    return all(_same(data[each.field], each.value) if each.field in data else each.or_missing for each in equal)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
