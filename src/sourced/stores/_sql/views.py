"""Views: rows that projectors keep beside the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sourced.ops import Op
from sourced.store import Equal, ViewRow
from sourced.stores._sql.base import ALL, Tables
from sourced.view import NOTHING, first_revision

_row: Any = ViewRow

PIECE = 10_000

HERE = "v.view = (select g.view from {groups} g where g.name = :group)"
_OR_REPLACE = """do update set body = excluded.body, revision = v.revision + 1, position = excluded.position,
  updated_at = excluded.updated_at"""

ROWS = "select v.key, v.body, v.revision, v.position, v.updated_at from {views} v "


class Views(Tables):
    def views(self, group: str, keys: Collection[str]) -> Op[dict[str, ViewRow]]:
        if not keys:
            return {}
        rows = yield self.say("views", ROWS + f"where {HERE} and v.key in :keys", group=group, keys=list(keys))
        return {row.key: row for row in self._rows(rows)}

    def hold_views(self, group: str, revisions: Mapping[str, int]) -> Op[list[str]]:
        """New ones first, while nothing else is held, and then the others: in any other order two might wait for each
        other, the one for a row to be there and the other for one that is."""
        new = sorted(key for key, revision in revisions.items() if not revision)
        old = sorted(key for key, revision in revisions.items() if revision)
        stale: set[str] = set()
        if new:
            rows = [ViewRow(key, NOTHING) for key in new]
            added = yield self._put("add views", group, rows, "do nothing returning key")
            stale |= {*new} - {key for (key,) in added}
        if old:
            lock = "" if stale else "{lock}"  # whoever comes again with what is there by now takes them in order
            text = f"select v.key, v.revision from {{views}} v where {HERE} and v.key in :keys order by v.key {lock}"
            there = dict((yield self.say("hold views", text, group=group, keys=old)))
            stale |= {key for key in old if there.get(key) != revisions[key]}
        return [key for key in revisions if key in stale]

    def save_views(self, group: str, rows: Sequence[ViewRow]) -> Op[None]:
        rows = sorted(rows, key=lambda row: row.key)
        if written := [row for row in rows if row.body is not None]:
            yield self._put("save views", group, written, _OR_REPLACE)._replace(silent=True)
        if gone := [row.key for row in rows if row.body is None]:
            text = f"delete from {{views}} as v where {HERE} and v.key in :keys"
            yield self.tell("delete views", text, group=group, keys=gone)

    def _put(self, verb: str, group: str, rows: Sequence[ViewRow], or_else: str) -> Any:
        return self.say(
            verb,
            f"""
            insert into {{views}} as v (view, key, body, revision, position, updated_at)
            select g.view, r.key, r.body, :first, r.position, r.updated_at
            from each(r: key text, body text, position bigint, updated_at timestamptz)
            cross join {{groups}} g where g.name = :group order by r.key
            on conflict (view, key) {or_else}
            """,
            group=group,
            first=first_revision(),
            r=[(row.key, row.body, row.position, row.updated_at) for row in rows],
        )

    def page_views(
        self, group: str, *, after: str = "", limit: int | None = None, equal: Sequence[Equal] = ()
    ) -> Op[list[ViewRow]]:
        where, values = self._wanted(equal)
        rows = yield self.say(
            "page views",
            ROWS + f"where {HERE} and v.key > :after {where} order by v.key limit :limit",
            group=group,
            after=after,
            limit=ALL if limit is None else limit,
            **values,
        )
        return self._rows(rows)

    def count_views(self, group: str, equal: Sequence[Equal] = ()) -> Op[int]:
        where, values = self._wanted(equal)
        text = f"select count(*) from {{views}} v where {HERE} {where}"
        ((count,),) = yield self.say("count views", text, group=group, **values)
        return count

    def drop_views(self, group: str, limit: int | None = None) -> Op[int]:
        """Piece by piece: no statement has more in hand than fits."""
        dropped, wanted = 0, ALL if limit is None else limit
        while dropped < wanted:
            piece = min(PIECE, wanted - dropped)
            rows = yield self.say(
                "drop views",
                f"""
                delete from {{views}} where view = (select g.view from {{groups}} g where g.name = :group) and key in (
                  select v.key from {{views}} v where {HERE} order by v.key limit :piece)
                returning 1
                """,
                group=group,
                piece=piece,
            )
            dropped += len(rows)
            if len(rows) < piece:
                break
        return dropped

    def _wanted(self, equal: Sequence[Equal]) -> tuple[str, dict[str, Any]]:
        values: dict[str, Any] = {}
        conditions = [f"v.body <> '{NOTHING}'", *(self.holds(each, f"f{at}", values) for at, each in enumerate(equal))]
        return "".join(f" and {each}" for each in conditions), values

    def holds(self, equal: Equal, name: str, values: dict[str, Any]) -> str:
        """A condition on `v.body`, with its arguments put in under this name, and `name_` in front of another."""
        raise NotImplementedError

    def _rows(self, rows: Sequence[Any]) -> list[ViewRow]:
        return [_row(*row[:4], self.maybe_time(row[4])) for row in rows]
