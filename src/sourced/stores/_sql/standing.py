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

_PLACE = """
(select m.position from {messages} m where (m.shard, m.position) > (p.shard, p.checkpoint) and m.shard <= p.shard
 order by m.shard, m.position limit 1)
"""  # in the order of one index: a planner would rather go by the position alone, through what is in other shards
_FROM_BEHIND = _PLACE.replace("m.shard, m.position limit", "m.shard desc, m.position desc limit")
_SHARD = "from {messages} m where m.shard = p.shard"
_FIRST = f"{_SHARD} and m.position > p.checkpoint and m.position <= coalesce(p.head, p.last)"
_LAST = f"{_SHARD} and m.position > p.head and m.position >= p.foot and m.position <= p.last"


def _nth(place: str) -> str:
    return place.replace("limit 1", "limit 1 offset :before")


def _progress(wanted: str) -> str:
    """So many of each shard are looked at, and no more: to count a million takes as long as to read them.

    Where they are is written down: a database that puts it in wherever it is mentioned looks for it each time. And what
    is asked of them has no order, lest they be looked for in it.
    """
    wanted = wanted.replace(":reset_at", "p.reset_at")
    return f"""
    with p as materialized (
      select p.shard, p.checkpoint, p.high, p.owner, p.until, p.careful, g.reset_at, {_PLACE} as first,
        {_nth(_PLACE)} as head, {_nth(_FROM_BEHIND)} as foot, {_FROM_BEHIND} as last
      from {{progress}} p join {{groups}} g on g.name = p.group_name
      where p.group_name = :group and exists (select 1 {_SHARD})
    )
    select p.shard, p.checkpoint, p.high,
      (select count(*) {_FIRST} and {wanted}) + (select count(*) {_LAST} and {wanted}),
      (select o.created_at from {{messages}} o where o.position = coalesce(
        (select min(m.position + 0) {_FIRST} and {wanted}), (select min(m.position + 0) {_LAST} and {wanted}))),
      p.owner, p.until, p.careful, exists (select 1 {_SHARD} and m.position > p.head and m.position < p.foot),
      p.first, p.head, p.foot, p.last
    from p order by p.shard
    """


_OF_TYPES, _OF_ANY = _progress(WANTED), _progress(_UNSETTLED)


class Standing(Tables):
    def progress(self, group: str, types: Collection[str] | None = None) -> Op[list[Progress]]:
        asked: dict[str, Any] = {"group": group, "settled": quoted(group), "before": PART - 1}
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
