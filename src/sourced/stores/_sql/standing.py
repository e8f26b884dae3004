"""How far groups have come, and how much there is that they have yet to handle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec.structs import replace

from sourced.ops import Op
from sourced.store import COUNTED, RARE, Progress
from sourced.stores._sql.log import Log

PART = COUNTED // 2

_UNSETTLED = "(m.settled_by = '' or {instr}(m.settled_by, :settled) = 0 or m.position <= :reset_at)"
WANTED = f"m.type in :types and {_UNSETTLED}"


class Standing(Log):
    def progress(self, group: str, types: Collection[str] | None = None) -> Op[list[Progress]]:
        """What is rare is counted wherever it is; else the first and the last messages of each shard are looked at."""
        rows = yield self.say("standing", _standing(self.dialect.words["beyond"]), group=group)
        found, behind, settled = dict[int, Progress](), dict[int, Progress](), {"settled": quoted(group)}
        for shard, checkpoint, high, owner, until, careful, last, settled["reset_at"] in rows:
            found[shard] = Progress(shard, checkpoint, high, 0, None, owner, self.maybe_time(until), False, careful)
            if last > checkpoint:
                behind[shard] = found[shard]
        if behind:
            counted = None if types is None else (yield from self._counted(behind, types, settled))
            found |= (yield from self._sampled(group, behind, types, settled)) if counted is None else counted
        return [*found.values()]

    def _counted(
        self, behind: Mapping[int, Progress], types: Collection[str], settled: Mapping[str, Any]
    ) -> Op[Mapping[int, Progress] | None]:
        """What every message of these types says of its shard; nothing where there are more than a look is worth."""
        asked = {"after": min(each.checkpoint for each in behind.values()), "limit": RARE + 1, **settled}
        what = f"m.shard, {_UNSETTLED}, m.created_at, m.position"
        rows = yield self.typed_rows({*types}, what, ">", "asc", "", asked)
        if len(rows) > RARE:
            return None
        found = dict(behind)
        for shard, unsettled, created_at, position in rows:
            each = found.get(shard)
            if each is not None and unsettled and position > each.checkpoint:
                oldest = each.oldest or self.dialect.time(created_at)
                found[shard] = replace(each, pending=each.pending + 1, oldest=oldest)
        return found

    def _sampled(
        self, group: str, behind: Mapping[int, Progress], types: Collection[str] | None, settled: Mapping[str, Any]
    ) -> Op[Mapping[int, Progress]]:
        asked: dict[str, Any] = {"group": group, "shards": [*behind], "part": PART, "before": PART - 1, **settled}
        if types is not None:
            asked["types"] = types
        text = _sample(self.dialect.words["beyond"], _UNSETTLED if types is None else WANTED)
        rows = yield self.say("progress", text, **asked)
        return {
            shard: replace(
                behind[shard], pending=_about(found, *places) if more else found, oldest=self.maybe_time(oldest),
                estimated=bool(more),
            )
            for shard, found, oldest, more, *places in rows
        }  # fmt: skip


def _in_order(beyond: str, what: str, after: str, count: str = "1", *, backwards: bool = False) -> str:
    """Of a shard, in the order of the one index that has its messages so; `beyond` keeps a database to that."""
    order = "m.shard desc, m.position desc" if backwards else "m.shard, m.position"
    return f"(select {what} from {{messages}} m where {beyond % after} order by {order} limit {count})"


@cache
def _standing(beyond: str) -> str:
    return f"""
    with p as materialized (
      select p.shard, p.checkpoint, p.high, p.owner, p.until, p.careful, g.reset_at,
        {_in_order(beyond, "m.position", "0", backwards=True)} as last
      from {{progress}} p join {{groups}} g on g.name = p.group_name where p.group_name = :group
    )
    select p.shard, p.checkpoint, p.high, p.owner, p.until, p.careful, p.last, p.reset_at
    from p where p.last is not null order by p.shard
    """


@cache
def _sample(beyond: str, wanted: str) -> str:
    """The first and the last of each shard are looked at: to count a million takes as long as to read them.

    Where the places are is written down: a database that puts it in wherever it is mentioned looks for it each time.
    """
    row = "m.shard, m.type, m.settled_by, m.position, m.created_at"
    front = _in_order(beyond, row, "p.checkpoint", ":part")
    rear = _in_order(beyond, row, "case when p.foot > p.head then p.foot - 1 else p.head end", ":part")
    oldest = f"m where {wanted} order by m.shard, m.position limit 1"
    return f"""
    with p as materialized (
      select p.shard, p.checkpoint,
        {_in_order(beyond, "m.position", "p.checkpoint")} as first,
        {_in_order(beyond, "m.position", "p.checkpoint", "1 offset :before")} as head,
        {_in_order(beyond, "m.position", "p.checkpoint", "1 offset :before", backwards=True)} as foot,
        {_in_order(beyond, "m.position", "p.checkpoint", backwards=True)} as last
      from {{progress}} p where p.group_name = :group and p.shard in :shards
    )
    select p.shard,
      (select count(*) from {front} m where {wanted}) + (select count(*) from {rear} m where {wanted}),
      coalesce((select m.created_at from {front} {oldest}), (select m.created_at from {rear} {oldest})),
      {_in_order(beyond, "m.position", "p.head")} < p.foot, p.first, p.head, p.foot, p.last
    from p
    """


def _about(found: int, first: int, head: int, foot: int, last: int) -> int:
    """As many more of what lies between, if that is like what was looked at before it and after it."""
    return round(found * (1 + (foot - head - 1) / (head - first + last - foot + 2)))


def quoted(group: str) -> str:
    """A group's name as a `settled_by` column holds it."""
    return msgspec.json.encode(group).decode()
