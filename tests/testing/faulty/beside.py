"""Faults of rows that are built beside those of a group."""

import dataclasses

from msgspec.structs import replace

from sourced.store import Place
from tests.testing.faulty._registry import Faulty, breaks


@breaks("build_beside")
class BuildsFromTheBeginning(Faulty):
    """starts at the beginning whatever the group itself began with."""

    def build_beside(self, group, beside, view, *, afresh=False):
        found = yield from super().build_beside(group, beside, view, afresh=afresh)
        self._tables.groups[beside] = replace(found, start=0)
        return self._tables.groups[beside]


@breaks("build_beside")
class BuildsOnWhatIsKept(Faulty):
    """goes on with one that was stopped."""

    def build_beside(self, group, beside, view, *, afresh=False):
        known = self._tables.groups.get(beside)
        if known and not afresh:
            self._tables.groups[beside] = replace(known, status="active", reason="")
        return super().build_beside(group, beside, view, afresh=afresh)


@breaks("build_beside")
class AlwaysAfresh(Faulty):
    """forgets what it had come to each time."""

    def build_beside(self, group, beside, view, *, afresh=False):
        return super().build_beside(group, beside, view, afresh=True)


@breaks("build_beside")
class SameAsBefore(Faulty):
    """makes a new one that cannot be told from the one before."""

    def build_beside(self, group, beside, view, *, afresh=False):
        found = yield from super().build_beside(group, beside, view, afresh=afresh)
        self._tables.groups[beside] = replace(found, epoch=0)
        return self._tables.groups[beside]


@breaks("build_beside")
class SharesRows(Faulty):
    """keeps the rows of both in one place."""

    def build_beside(self, group, beside, view, *, afresh=False):
        return super().build_beside(group, beside, self._tables.groups[group].view, afresh=afresh)


@breaks("places")
class HandledForPlace(Faulty):
    """takes what was handled for how far it has come."""

    def places(self, group):
        found = yield from super().places(group)
        return {shard: Place(each.handled, each.high) for shard, each in found.items()}


@breaks("seize")
class AsksPolitely(Faulty):
    """leaves shards in the hands they are in."""

    def seize(self, group):
        found = yield from self.groups()
        return next(each for each in found if each.name == group)


@breaks("swap")
class SwapsRowsOnly(Faulty):
    """forgets to exchange how far they have come."""

    def swap(self, group, beside):
        come = {name: dict(self._tables.progress[name]) for name in (group, beside)}
        yield from super().swap(group, beside)
        for name, rows in come.items():
            self._tables.progress[name].update(rows)


@breaks("swap")
class SwapForgetsWhatWasHandled(Faulty):
    """takes what was handled for new."""

    def swap(self, group, beside):
        high = {shard: each.high for shard, each in (yield from self.places(beside)).items()}
        yield from super().swap(group, beside)
        rows = self._tables.progress[group]
        rows.update({shard: dataclasses.replace(row, high=high[shard]) for shard, row in rows.items()})


@breaks("swap")
class SwapKeepsWhatWasSettled(Faulty):
    """does not deliver again what was settled when it was stored."""

    def swap(self, group, beside):
        yield from super().swap(group, beside)
        self._tables.groups[group] = replace(self._tables.groups[group], reset_at=0)


@breaks("sweep_views")
class SweepsEverything(Faulty):
    """takes away rows that somebody keeps."""

    def sweep_views(self, limit):
        swept = yield from super().sweep_views(limit)
        for group in self._tables.groups:
            swept += yield from self.drop_views(group, limit)
        return swept
