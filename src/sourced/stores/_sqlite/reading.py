"""What is read on SQLite statement by statement: each is so quick that nothing is gained by saying several at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from sourced.ops import Statement
from sourced.store import Equal, Straggler
from sourced.stores._sql import SqlStore
from sourced.stores._sql.dialect import COLUMNS
from sourced.stores._sql.rounds import WINDOW
from sourced.stores._sql.standing import WANTED, quoted

Raw: TypeAlias = sqlite3.Connection

_NOTHING = (None,) * len(COLUMNS)
_PENDING = f"""
select {{record}} from {{messages}} m
where m.shard = :shard and m.position > :checkpoint and m.position <= :upto and {WANTED}
  and not exists (select 1 from {{stragglers}} s where s.group_name = :group and s.stream = m.stream)
order by m.position limit :limit
"""
_STRAGGLING = f"""
select {{record}} from {{groups}} g join {{messages}} m
where g.name = :group and m.stream = :stream and m.seq >= :from_seq and m.position > g.start and m.position <= :upto
  and {WANTED.replace(":reset_at", "g.reset_at")} order by m.seq limit :limit
"""


class Reads(SqlStore):
    HISTORIES = """
    select {record}, r.n from each(r: stream text, after bigint, upto bigint) cross join {messages} m
    where m.stream = r.stream and m.seq > r.after and m.seq <= r.upto order by r.n, m.seq
    """

    HEADS = """
    select m.stream, m.seq, m.created_at from each(r: stream text) cross join {messages} m
    where m.stream = r.stream and m.seq = (select max(l.seq) from {messages} l where l.stream = r.stream)
    """

    def pending_rows(self, group: str, shares: Sequence[tuple[int, int, int]], types: Collection[str]) -> Statement:
        return Statement("pending", self._pending, (group, shares, types))

    def typed_rows(
        self, types: Collection[str], what: str, way: str, order: str, also: str, asked: Mapping[str, Any]
    ) -> Statement:
        text = f"""
        select {what} from {{messages}} m where m.type = :type and m.position {way} :after {also}
        order by m.position {order} limit :limit
        """
        return Statement("read all", self._typed, (types, text, order, asked))

    def _typed(
        self, raw: Raw, types: Collection[str], text: str, order: str, asked: Mapping[str, Any]
    ) -> list[tuple[Any, ...]]:
        said, bind = self.query(text)
        found = [row for type in types for row in raw.execute(said, bind({**asked, "type": type}))]
        found.sort(key=lambda row: row[3], reverse=order == "desc")
        return found[: asked["limit"]]

    def straggling_rows(self, asked: Sequence[tuple[Straggler, int]], types: Collection[str], limit: int) -> Statement:
        return Statement("straggling", self._straggling, (asked, types, limit))

    def _straggling(
        self, raw: Raw, asked: Sequence[tuple[Straggler, int]], types: Collection[str], limit: int
    ) -> list[tuple[Any, ...]]:
        text, bind = self.query(_STRAGGLING)
        rows: list[tuple[Any, ...]] = []
        for number, (each, upto) in enumerate(asked, 1):
            place = {"stream": each.stream, "from_seq": each.from_seq, "upto": upto, "limit": limit}
            group = {"group": each.group, "settled": quoted(each.group), "types": types}
            rows += [(*row, number) for row in raw.execute(text, bind({**place, **group}))]
        return rows

    def _pending(
        self, raw: Raw, group: str, shares: Sequence[tuple[int, int, int]], types: Collection[str]
    ) -> Iterator[tuple[Any, ...]]:
        ((reset_at,),) = raw.execute(self.query("select reset_at from {groups} where name = ?").text, (group,))
        tail = self.query("select max(m.position) from {messages} m where m.shard = ?").text
        text, bind = self.query(_PENDING)
        common = {"types": types, "group": group, "settled": quoted(group), "reset_at": reset_at}
        rows: list[tuple[Any, ...]] = []
        for shard, checkpoint, share in shares:
            last = raw.execute(tail, (shard,)).fetchone()[0] or checkpoint
            upto = min(last, checkpoint + WINDOW)
            there = {"shard": shard, "checkpoint": checkpoint, "upto": upto, "limit": share}
            found = raw.execute(text, bind({**common, **there})).fetchall() if upto > checkpoint else []
            rows += [(shard, upto, *row) for row in found] or [(shard, upto, *_NOTHING)]
        return iter(rows)

    def holds(self, equal: Equal, name: str, values: dict[str, Any]) -> str:
        values[name], field = equal.value, f"{name}_field"
        values[field] = f'$."{equal.field}"'
        kind = f"json_type(v.body, :{field})"
        if equal.value is None or isinstance(equal.value, bool):
            values[name] = {None: "null", True: "true", False: "false"}[equal.value]
            held = f"{kind} = :{name}"
        else:
            kinds = "'text'" if isinstance(equal.value, str) else "'integer', 'real'"
            held = f"({kind} in ({kinds}) and json_extract(v.body, :{field}) = :{name})"
        return f"({held} or {kind} is null)" if equal.or_missing else held
