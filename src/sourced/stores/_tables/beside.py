"""Rows that are built beside those of a group."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import msgspec

from sourced.store import Group, Place
from sourced.stores._tables.base import Base, ShardRow
from sourced.view import first_revision

_changed: Any = msgspec.structs.replace


class Beside(Base):
    def build_beside(self, group: str, beside: str, view: str, afresh: bool) -> Group:
        known = self.groups.get(beside)
        if known is not None and known.status == "active" and not afresh:
            return known
        start = self.groups[group].start
        for shard in list(self.progress.get(beside, ())):
            self.put(self.progress[beside], shard, ShardRow(start))
        for stream in list(self.waiting.get(beside, ())):
            self.drop(self.waiting[beside], stream)
        for rows in (self.progress, self.waiting):
            if beside not in rows:
                self.put(rows, beside, {})
        self.put(self.groups, beside, Group(beside, start=start, epoch=first_revision(), view=view))
        return self.groups[beside]

    def places(self, name: str) -> dict[int, Place]:
        rows = ((shard, self._shard(name, shard)) for shard in range(len(self.shards)))
        return {shard: Place(row.checkpoint, row.high) for shard, row in rows}

    def seize(self, name: str) -> Group:
        for shard, row in list(self.progress[name].items()):
            seized = replace(row, owner="", until=None, token=row.token + 1, open=0)
            self.put(self.progress[name], shard, seized)
        return self.groups[name]

    def swap(self, one: str, other: str) -> None:
        end = len(self.log)
        come = {name: self.places(name) for name in (one, other)}
        for name, there in ((one, self.groups[other]), (other, self.groups[one])):
            group = self.groups[name]
            self.put(self.groups, name, _changed(group, view=there.view, epoch=group.epoch + 1, reset_at=end))
            for shard, mine in come[name].items():
                theirs, token = come[there.name][shard], self._shard(name, shard).token + 1
                self.put(self.progress[name], shard, ShardRow(
                    theirs.checkpoint, max(mine.high, theirs.high), token=token
                ))  # fmt: skip

    def sweep_views(self, limit: int) -> int:
        kept, swept = {group.view for group in self.groups.values()}, 0
        for view in self.views.keys() - kept:
            for key in list(itertools.islice(self.views[view], limit - swept)):
                self.drop(self.views[view], key)
                swept += 1
        return swept
