"""Faults of the schedule and of snapshots."""

from datetime import timedelta

from msgspec.structs import replace

from sourced.store import Scheduled, Snapshot
from tests.testing.faulty._registry import Faulty, breaks


@breaks("schedule")
class TheLastOneCounts(Faulty):
    """lets a message that waits be scheduled anew."""

    def schedule(self, scheduled):
        yield from self.cancel([each.record.id for each in scheduled])
        yield from super().schedule(scheduled)


@breaks("promote")
class AsScheduled(Faulty):
    """promotes in the order of scheduling."""

    def promote(self, now, limit=100):
        due = [each for _, each in self._tables.schedule.values()]
        for number, each in enumerate(due):
            if each.at <= now:
                order, _ = self._tables.schedule[each.record.id]
                at = now - timedelta(seconds=1000 - number)
                self._tables.schedule[each.record.id] = order, replace(each, at=at)
        return (yield from super().promote(now, limit))


@breaks("promote")
class PromotesTwice(Faulty):
    """leaves on the schedule what it has promoted."""

    def promote(self, now, limit=100):
        before = yield from self.scheduled()
        found = yield from super().promote(now, limit)
        yield from self.schedule(before)
        return found


@breaks("promote")
class GivesUp(Faulty):
    """fails for one row that cannot be read."""

    def promote(self, now, limit=100):
        rows = yield from self.scheduled()
        assert all(each.record.metadata.startswith('{"') or each.record.metadata == "{}" for each in rows)
        return (yield from super().promote(now, limit))


@breaks("scheduled")
class ListsAsGiven(Faulty):
    """lists what waits as it came."""

    def scheduled(self, ids=None, *, after=None, limit=None):
        found: list[Scheduled] = yield from super().scheduled(ids, after=after, limit=limit)
        return sorted(found, key=lambda each: self._tables.schedule[each.record.id][0])


@breaks("scheduled")
class PagesByTimeAlone(Faulty):
    """passes over those that are due at the same time as the last one of a page."""

    def scheduled(self, ids=None, *, after=None, limit=None):
        found: list[Scheduled] = yield from super().scheduled(ids)
        return [each for each in found if after is None or each.at > after[0]][:limit]


@breaks("scheduled")
class LosesTheirPlace(Faulty):
    """begins anew when the last message of a page waits no longer."""

    def scheduled(self, ids=None, *, after=None, limit=None):
        there = after and after[1] in self._tables.schedule
        return (yield from super().scheduled(ids, after=after if there else None, limit=limit))


@breaks("count_scheduled")
class CountsWhatIsNotDue(Faulty):
    """counts what is due, whenever that is."""

    def count_scheduled(self, until=None, *, aside=False):
        return (yield from super().count_scheduled(aside=aside))


@breaks("cancel")
class CancelsAnything(Faulty):
    """says it has taken off what was not there."""

    def cancel(self, message_ids):
        yield from super().cancel(message_ids)
        return list(message_ids)


@breaks("save_snapshot")
class LateComersWin(Faulty):
    """lets an older snapshot take the place of a newer one."""

    def save_snapshot(self, snapshot, keep=1):
        self._tables.snapshots.pop((snapshot.group, snapshot.stream), None)
        return super().save_snapshot(snapshot, keep)


@breaks("snapshots")
class AnybodysSnapshots(Faulty):
    """takes the snapshots of another group."""

    def snapshots(self, group, streams):
        found: dict[str, Snapshot] = {}
        for name in {name for name, _ in self._tables.snapshots}:
            found |= yield from super().snapshots(name, streams)
        return found
