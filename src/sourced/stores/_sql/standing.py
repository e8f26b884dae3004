"""How far groups have come, and how much there is that they have yet to handle."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import msgspec

from sourced.ops import Op
from sourced.store import COUNTED, Progress
from sourced.stores._sql.base import Tables

PART = COUNTED // 2

_UNSETTLED = "(m.settled_by = '' or {instr}(m.settled_by, :settled) = 0 or m.position <= :reset_at)"
WANTED = f"m.type in :types and {_UNSETTLED}"


@cache
def _progress(beyond: str, wanted: str) -> str:
    """The first and the last of each shard are looked at: to count a million takes as long as to read them.

    All of it in the order of the one index that has a shard's messages so; `beyond` is how a database is kept to that.
    Where the places are is written down: a database that puts it in wherever it is mentioned looks for it each time.
    """

    def in_order(what: str, after: str, count: str, *, backwards: bool = False) -> str:
        order = "m.shard desc, m.position desc" if backwards else "m.shard, m.position"
        return f"(select {what} from {{messages}} m where {beyond % after} order by {order} limit {count})"

    row = "m.shard, m.type, m.settled_by, m.position, m.created_at"
    front = in_order(row, "p.checkpoint", ":part")
    rear = in_order(row, "case when p.foot > p.head then p.foot - 1 else p.head end", ":part")
    wanted = wanted.replace(":reset_at", "p.reset_at")
    oldest = f"m where {wanted} order by m.shard, m.position limit 1"
    return f"""
    with p as materialized (
      select p.shard, p.checkpoint, p.high, p.owner, p.until, p.careful, g.reset_at,
        {in_order("m.position", "p.checkpoint", "1")} as first,
        {in_order("m.position", "p.checkpoint", "1 offset :before")} as head,
        {in_order("m.position", "p.checkpoint", "1 offset :before", backwards=True)} as foot,
        {in_order("m.position", "p.checkpoint", "1", backwards=True)} as last
      from {{progress}} p join {{groups}} g on g.name = p.group_name
      where p.group_name = :group and {in_order("1", "0", "1")} is not null
    )
    select p.shard, p.checkpoint, p.high,
      (select count(*) from {front} m where {wanted}) + (select count(*) from {rear} m where {wanted}),
      coalesce((select m.created_at from {front} {oldest}), (select m.created_at from {rear} {oldest})),
      p.owner, p.until, p.careful, {in_order("m.position", "p.head", "1")} < p.foot,
      p.first, p.head, p.foot, p.last
    from p order by p.shard
    """


class Standing(Tables):
    def progress(self, group: str, types: Collection[str] | None = None) -> Op[list[Progress]]:
        asked: dict[str, Any] = {"group": group, "settled": quoted(group), "part": PART, "before": PART - 1}
        if types is not None:
            asked["types"] = types
        text = _progress(self.dialect.words["beyond"], _UNSETTLED if types is None else WANTED)
        rows = yield self.say("progress", text, **asked)
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
