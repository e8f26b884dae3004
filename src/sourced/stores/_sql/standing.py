"""How far groups have come, and how much there is that they have yet to handle."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from sourced.ops import Op
from sourced.store import COUNTED, Progress
from sourced.stores._sql.base import Tables

PART = COUNTED // 2

_UNSETTLED = "(m.settled_by = '' or {instr}(m.settled_by, :settled) = 0 or m.position <= :reset_at)"
WANTED = f"m.type in :types and {_UNSETTLED}"

_LOG = "from {messages} m where m.shard = p.shard and m.position > p.checkpoint"
_PART = "(select m.type, m.settled_by, m.position, m.created_at from {messages} m where m.shard = p.shard"
_FIRST = f"{_PART} and m.position > p.checkpoint order by m.position limit :part) m"
_LAST = f"{_PART} and m.position > p.head and m.position >= p.foot order by m.position limit :part) m"
_OLDEST = "order by m.position limit 1"


def _progress(wanted: str) -> str:
    """So many of each shard are looked at, and no more: to count a million takes as long as to read them.

    Where they are is written down: a database that puts it in wherever it is mentioned looks for it four times. And the
    parts have a limit, lest they be looked for by their types.
    """
    wanted = wanted.replace(":reset_at", "p.reset_at")
    return f"""
    with p as materialized (
      select p.shard, p.checkpoint, p.high, p.owner, p.until, p.careful, g.reset_at,
        (select m.position {_LOG} order by m.position limit 1) as first,
        (select m.position {_LOG} order by m.position limit 1 offset :before) as head,
        (select m.position {_LOG} order by m.position desc limit 1 offset :before) as foot,
        (select max(m.position) {_LOG}) as last
      from {{progress}} p join {{groups}} g on g.name = p.group_name
      where p.group_name = :group and exists (select 1 from {{messages}} m where m.shard = p.shard)
    )
    select p.shard, p.checkpoint, p.high,
      (select count(*) from {_FIRST} where {wanted}) + (select count(*) from {_LAST} where {wanted}),
      coalesce((select m.created_at from {_FIRST} where {wanted} {_OLDEST}),
        (select m.created_at from {_LAST} where {wanted} {_OLDEST})),
      p.owner, p.until, p.careful,
      exists (select 1 from {{messages}} m where m.shard = p.shard and m.position > p.head and m.position < p.foot),
      p.first, p.head, p.foot, p.last
    from p order by p.shard
    """


_OF_TYPES, _OF_ANY = _progress(WANTED), _progress(_UNSETTLED)


class Standing(Tables):
    def progress(self, group: str, types: Collection[str] | None = None) -> Op[list[Progress]]:
        asked: dict[str, Any] = {"group": group, "settled": quoted(group), "part": PART, "before": PART - 1}
        if types is None:
            rows = yield self.say("progress", _OF_ANY, **asked)
        else:
            rows = yield self.say("progress", _OF_TYPES, **asked, types=types)
        time = self.maybe_time
        return [
            Progress(
                shard, checkpoint, high, _about(found, *places) if more else found, time(oldest), owner, time(until),
                bool(more), careful,
            )
            for shard, checkpoint, high, found, oldest, owner, until, careful, more, *places in rows
        ]  # fmt: skip


def _about(found: int, first: int, head: int, foot: int, last: int) -> int:
    """As many more of what lies between, if that is like what was looked at before it and after it."""
    return round(found * (1 + (foot - head - 1) / (head - first + last - foot + 2)))


def quoted(group: str) -> str:
    """A group's name as a `settled_by` column holds it."""
    return msgspec.json.encode(group).decode()
