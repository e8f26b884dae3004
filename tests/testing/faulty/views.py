"""Faults of views."""

from msgspec.structs import replace

from sourced.store import ViewRow
from tests.testing.faulty._registry import Faulty, breaks


@breaks("views")
class OneViewForAll(Faulty):
    """keeps the rows of all groups together."""

    def _of_any(self, group):
        return next(iter(self._tables.groups), group)

    def views(self, group, keys):
        return super().views(self._of_any(group), keys)

    def save_views(self, group, rows):
        return super().save_views(self._of_any(group), rows)


@breaks("views")
class RoughRows(Faulty):
    """keeps the time of a row to the second."""

    def save_views(self, group, rows):
        return super().save_views(
            group, [replace(row, updated_at=row.updated_at and row.updated_at.replace(microsecond=0)) for row in rows]
        )


@breaks("save_views")
class DeletesNothing(Faulty):
    """keeps an empty row of what was to be deleted."""

    def save_views(self, group, rows):
        return super().save_views(group, [row if row.body else ViewRow(row.key, "{}") for row in rows])


@breaks("save_views")
class KeepsOldRows(Faulty):
    """does not write over what is there."""

    def save_views(self, group, rows):
        there = self._tables.view(group)
        return super().save_views(group, [row for row in rows if row.body is None or row.key not in there])


@breaks("hold_views")
class HoldsNothing(Faulty):
    """lets the last writer win."""

    def hold_views(self, group, revisions):
        yield from ()
        return []


@breaks("hold_views")
class CountsFromOne(Faulty):
    """cannot tell a row from another one that was there before under its key."""

    def save_views(self, group, rows):
        before = set(self._tables.view(group))
        yield from super().save_views(group, rows)
        there = self._tables.view(group)
        for key in there.keys() - before:
            there[key] = replace(there[key], revision=1)


@breaks("hold_views")
class TrustsTheMissing(Faulty):
    """does not notice what was deleted."""

    def hold_views(self, group, revisions):
        there = self._tables.view(group)
        return super().hold_views(group, {key: n for key, n in revisions.items() if key in there})


@breaks("hold_views")
class WritesWhatItHolds(Faulty):
    """leaves a row of what it only was to hold."""

    def hold_views(self, group, revisions):
        stale = yield from super().hold_views(group, revisions)
        new = [ViewRow(key, "{}") for key, revision in revisions.items() if not revision and key not in stale]
        yield from self.save_views(group, new)
        return stale


@breaks("page_views")
class IncludesAfter(Faulty):
    """begins a page with the row that the one before ended with."""

    def page_views(self, group, *, after="", limit=None, equal=()):
        found = yield from super().page_views(group, equal=equal)
        return [row for row in found if row.key >= after][:limit]


@breaks("page_views")
class LimitBeforeFields(Faulty):
    """counts rows that it leaves out."""

    def page_views(self, group, *, after="", limit=None, equal=()):
        wanted = yield from super().page_views(group, equal=equal)
        page = yield from super().page_views(group, after=after, limit=limit)
        return [row for row in page if row in wanted]


@breaks("page_views")
class ComparesText(Faulty):
    """takes `1` and "1" for the same."""

    def page_views(self, group, *, after="", limit=None, equal=()):
        other = [replace(each, value=str(each.value)) for each in equal if isinstance(each.value, int)]
        rows = yield from super().page_views(group, after=after, limit=limit, equal=equal)
        also = (yield from super().page_views(group, after=after, limit=limit, equal=other)) if other else []
        return sorted({row.key: row for row in (*rows, *also)}.values(), key=lambda row: row.key)


@breaks("page_views")
class MissingIsNothing(Faulty):
    """leaves out rows from before there was a field."""

    def page_views(self, group, *, equal=(), **page):
        return super().page_views(group, equal=[replace(each, or_missing=False) for each in equal], **page)


@breaks("count_views")
class CountsAll(Faulty):
    """counts every row whatever is asked for."""

    def count_views(self, group, equal=()):
        return super().count_views(group)


@breaks("drop_views")
class DropsOfAll(Faulty):
    """drops the rows of every group."""

    def drop_views(self, group, limit=None):
        dropped = 0
        for each in (yield from self.groups()):
            dropped += yield from super().drop_views(each.name, limit)
        return dropped


@breaks("drop_views")
class DropsAllAtOnce(Faulty):
    """drops more than it is told to."""

    def drop_views(self, group, limit=None):
        return super().drop_views(group)
