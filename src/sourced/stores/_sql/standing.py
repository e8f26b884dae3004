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


def _in_order(what: str, after: str, count: str, *, backwards: bool = False) -> str:
    """So many of a shard's messages, in the order of the one index that has them so.

    Whatever a planner knows or believes of the log, and while it is filled it knows nothing: it would also go by the
    position alone, through what is in all other shards, or by their types. So there is a limit, and a shard and a
    position are compared as one.
    """
    order = "m.shard desc, m.position desc" if backwards else "m.shard, m.position"
    return f"""
    (select {what} from {{messages}} m
     where (m.shard, m.position) > (p.shard, {after}) and m.shard <= p.shard order by {order} limit {count})
    """


_ROW = "m.type, m.settled_by, m.position, m.created_at"
_FIRST = _in_order("m.position", "p.checkpoint", "1")
_HEAD = _in_order("m.position", "p.checkpoint", "1 offset :before")
_FOOT = _in_order("m.position", "p.checkpoint", "1 offset :before", backwards=True)
_LAST = _in_order("m.position", "p.checkpoint", "1", backwards=True)
_FRONT = _in_order(_ROW, "p.checkpoint", ":part") + "m"
_REAR = _in_order(_ROW, "case when p.foot > p.head then p.foot - 1 else p.head end", ":part") + "m"
_NEXT = _in_order("m.position", "p.head", "1")


def _progress(wanted: str) -> str:
    """The first and the last of each shard are looked at: to count a million takes as long as to read them.

    Where they are is written down: a database that puts it in wherever it is mentioned looks for it each time.
    """
    wanted = wanted.replace(":reset_at", "p.reset_at")
    oldest = f"where {wanted} order by m.position limit 1"
    return f"""
    with p as materialized (
      select p.shard, p.checkpoint, p.high, p.owner, p.until, p.careful, g.reset_at,
        {_FIRST} as first, {_HEAD} as head, {_FOOT} as foot, {_LAST} as last
      from {{progress}} p join {{groups}} g on g.name = p.group_name
      where p.group_name = :group and {_in_order("1", "0", "1")} is not null
    )
    select p.shard, p.checkpoint, p.high,
      (select count(*) from {_FRONT} where {wanted}) + (select count(*) from {_REAR} where {wanted}),
      coalesce((select m.created_at from {_FRONT} {oldest}), (select m.created_at from {_REAR} {oldest})),
      p.owner, p.until, p.careful, {_NEXT} < p.foot,
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
