"""What rounds and readers ask, in the words of PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from sourced.ops import Op, Statement
from sourced.store import Claim, Equal, Group, Lease, Straggler
from sourced.stores._postgres.arrays import Bigints, Integers
from sourced.stores._sql import SqlStore
from sourced.stores._sql.rounds import WINDOW
from sourced.stores._sql.standing import WANTED, quoted

_PENDING = f"""
select r.shard, r.upto, {{record}} from (
  select e.shard, e.checkpoint, e.share, least(e.checkpoint + {WINDOW},
    coalesce((select max(t.position) from {{messages}} t where t.shard = e.shard), e.checkpoint)) as upto
  from each(e: shard integer, checkpoint bigint, share integer) offset 0
) r left join lateral (
  select m.* from {{messages}} m
  where m.shard = r.shard and m.position > r.checkpoint and m.position <= r.upto
    and {WANTED.replace(":reset_at", "(select g.reset_at from {groups} g where g.name = :group)")}
    and not exists (select 1 from {{stragglers}} s where s.group_name = :group and s.stream = m.stream offset 0)
  order by m.position limit r.share
) m on true order by r.shard, m.position
"""
# Each piece by itself, along the index of its stream: the planner would rather read and sort the log than look things
# up 500 times, and while it has no statistics it brings in other indexes, which is to read all of them.
_STRAGGLING = f"""
select {{record}}, r.n
from each(r: group_name text, settled text, stream text, from_seq integer, upto bigint)
join {{groups}} g on g.name = r.group_name cross join lateral (
  select m.* from (
    select m.* from {{messages}} m where m.stream = r.stream and m.seq >= r.from_seq order by m.seq offset 0
  ) m
  where m.position > g.start and m.position <= r.upto
    and {WANTED.replace(":settled", "r.settled").replace(":reset_at", "g.reset_at")}
  order by m.seq limit :limit
) m order by r.n, m.seq
"""
_CLAIM = """
select c.status, c.start, c.epoch, c.reset_at, c.reason, c.error, c.stopped_by, c.stopped_at, c.view, c.shards,
  c.tokens, c.checkpoints, c.highs, c.carefuls, c.due
from {claim}(cast(:group as text), cast(:owner as text), cast(:now as timestamptz), cast(:until as timestamptz),
  cast(:limit as integer), cast(:room as integer)) c
"""
_read_due = msgspec.json.Decoder(tuple[Straggler, ...]).decode


class Rounds(SqlStore):
    HISTORIES = """
    select {record}, r.n from each(r: stream text, after bigint, upto bigint) cross join lateral (
      select m.* from {messages} m where m.stream = r.stream and m.seq > r.after and m.seq <= r.upto order by m.seq
    ) m order by r.n, m.seq
    """

    HEADS = """
    select r.stream, m.seq, m.created_at from each(r: stream text) cross join lateral (
      select l.seq, l.created_at from {messages} l where l.stream = r.stream order by l.seq desc limit 1
    ) m
    """

    def typed_rows(
        self, types: Collection[str], what: str, way: str, order: str, also: str, asked: Mapping[str, Any]
    ) -> Statement:
        """Worded so that there is but one way: the planner thinks little of rare types, and would read all the log."""
        text = f"""
        select {what} from each(t: name text) cross join lateral (
          select m.* from {{messages}} m
          where (m.type, m.position) {way} (t.name, :after) and m.type {"<=" if way == ">" else ">="} t.name {also}
          order by m.type {order}, m.position {order} limit :limit
        ) m order by m.position {order} limit :limit
        """
        return self.say("read all", text, t=[(name,) for name in types], **asked)

    def claim(
        self, group: str, owner: str, *, now: datetime, until: datetime, limit: int, most: int | None = None
    ) -> Op[Claim]:
        """One statement, and so a transaction by itself."""
        room = limit if most is None else min(limit, most)
        said = self.say("claim", _CLAIM, group=group, owner=owner, now=now, until=until, limit=limit, room=room)
        ((status, start, epoch, reset_at, reason, error, by, at, view, *leases, due),) = yield said._replace(whole=True)
        if status is None:
            return Claim(Group(group))
        found = Group(group, status, start, epoch, reset_at, reason, error, by, at, view)
        if leases[0] is None:
            return Claim(found)
        return Claim(found, tuple(map(Lease, *leases)), _read_due(due) if due else ())

    def fence(self, claim: Claim) -> Op[None]:
        """Nobody waits for the answer: where it does not hold, everything that follows fails."""
        yield self.tell(
            "fence",
            """
            select {fence}(cast(:group as text), cast(:epoch as integer), cast(:shards as integer[]),
              cast(:tokens as bigint[]))
            """,
            group=claim.group.name,
            epoch=claim.group.epoch,
            shards=Integers(lease.shard for lease in claim.leases),
            tokens=Bigints(lease.token for lease in claim.leases),
        )

    def reserve(self, streams: Collection[str], group: str | None = None) -> Op[None]:
        """A group's shards first of all: rounds hold theirs before they append."""
        if group is not None:
            yield self.hold_shards(group)._replace(silent=True)
        shards = Integers(sorted({self.shard(stream) for stream in streams}))
        yield self.tell("reserve", "select {lock_shards}(cast(:shards as integer[]))", shards=shards)

    def pending_rows(self, group: str, shares: Sequence[tuple[int, int, int]], types: Collection[str]) -> Statement:
        return self.say("pending", _PENDING, group=group, e=shares, types=types, settled=quoted(group))

    def straggling_rows(self, asked: Sequence[tuple[Straggler, int]], types: Collection[str], limit: int) -> Statement:
        rows = [(each.group, quoted(each.group), each.stream, each.from_seq, upto) for each, upto in asked]
        return self.say("straggling", _STRAGGLING, r=rows, types=types, limit=limit)

    def holds(self, equal: Equal, name: str, values: dict[str, Any]) -> str:
        """By containment, which an index serves whatever the fields: `using gin ((body::jsonb) jsonb_path_ops)`."""
        values[name] = msgspec.json.encode({equal.field: equal.value}).decode()
        held = f"v.body::jsonb @> (:{name}::text)::jsonb"
        if not equal.or_missing:
            return held
        values[f"{name}_field"] = equal.field
        return f"({held} or not v.body::jsonb ? :{name}_field::text)"
