"""Rows that are built beside those of a group, and take their place."""

from __future__ import annotations

from sourced.ops import Op
from sourced.store import Group, Place
from sourced.stores._sql.rounds import Rounds
from sourced.stores._sql.views import Views
from sourced.view import first_revision


class Beside(Rounds, Views):
    def build_beside(self, group: str, beside: str, view: str, *, afresh: bool = False) -> Op[Group]:
        """The first group's row is held, so that two who have the same idea do it one after the other."""
        first = yield from self._group(group, "{lock}")
        assert first is not None, group
        known = yield from self._group(beside)
        if known is not None and known.status == "active" and not afresh:
            return known
        for what, table in (("stragglers", "stragglers"), ("progress", "progress")):
            text = f"delete from {{{table}}} where group_name = :group"
            yield self.say(f"forget {what}", text, group=beside)
        yield self.say("forget group", "delete from {groups} where name = :group", group=beside)
        yield self.say(
            "build beside",
            "insert into {groups} (name, start, epoch, view) values (:group, :start, :epoch, :view)",
            group=beside,
            start=first.start,
            epoch=first_revision(),
            view=view,
        )
        yield self.register_shards(beside)
        found = yield from self._group(beside)
        assert found is not None
        return found

    def places(self, group: str) -> Op[dict[int, Place]]:
        text = "select p.shard, p.checkpoint, p.high from {progress} p where p.group_name = :group order by p.shard"
        rows = yield self.say("places", text, group=group)
        return {shard: Place(checkpoint, high) for shard, checkpoint, high in rows}

    def seize(self, group: str) -> Op[Group]:
        """Who writes to the rows in a transaction of an append holds the group's row; that comes to its end first."""
        yield self.hold_shards(group)
        found = yield from self._group(group, "{lock}")
        assert found is not None, group
        yield self.say(
            "seize",
            "update {progress} set owner = '', until = null, open = 0, token = token + 1 where group_name = :group",
            group=group,
        )
        return found

    def swap(self, group: str, beside: str) -> Op[None]:
        yield self.say(
            "swap groups",
            """
            update {groups} as g set view = o.view, epoch = g.epoch + 1,
              reset_at = (select coalesce(max(m.position), 0) from {messages} m)
            from (select t.name, t.view from {groups} t where t.name in :names) o
            where g.name in :names and o.name <> g.name
            """,
            names=[group, beside],
        )
        yield self.say(
            "swap shards",
            """
            update {progress} as p set checkpoint = o.checkpoint, high = {greatest}(p.high, o.high),
              careful = 0, open = 0, owner = '', until = null, token = p.token + 1
            from (
              select t.group_name, t.shard, t.checkpoint, t.high from {progress} t where t.group_name in :names
            ) o where p.group_name in :names and o.group_name <> p.group_name and o.shard = p.shard
            """,
            names=[group, beside],
        )

    def sweep_views(self, limit: int) -> Op[int]:
        rows = yield self.say(
            "sweep views",
            """
            delete from {views} where (view, key) in (
              select v.view, v.key from {views} v where v.view not in (select g.view from {groups} g) limit :limit)
            returning 1
            """,
            limit=limit,
        )
        return len(rows)
