"""Faults of holding a group in the transaction of an append."""

from msgspec.structs import replace

from sourced.store import shard_of
from tests.testing.faulty._registry import Faulty, breaks


@breaks("hold_group")
class ForgetsWhatWasSettled(Faulty):
    """takes what was settled when it was stored for something to do."""

    def hold_group(self, group, streams, types):
        held, behind = yield from super().hold_group(group, streams, types)
        come = {shard: place.checkpoint for shard, place in (yield from self.places(group)).items()}
        ends = {s: rows[-1].position for s in streams if (rows := self._tables.streams.get(s))}
        late = {s for s, end in ends.items() if end > come[shard_of(s, self.shards)] and end > held.start}
        return held, [s for s in streams if s in late or s in behind]


@breaks("hold_group")
class TrustsTheCheckpoint(Faulty):
    """does not look at streams that wait for themselves."""

    def hold_group(self, group, streams, types):
        waiting, self._tables.waiting[group] = self._tables.waiting[group], {}
        try:
            return (yield from super().hold_group(group, streams, types))
        finally:
            self._tables.waiting[group] = waiting


@breaks("hold_group")
class RemembersPastResets(Faulty):
    """takes what was settled before a reset for settled."""

    def hold_group(self, group, streams, types):
        held = self._tables.groups[group]
        self._tables.groups[group] = replace(held, reset_at=0)
        _, behind = yield from super().hold_group(group, streams, types)
        self._tables.groups[group] = held
        return held, behind


@breaks("hold_group")
class WantsEverything(Faulty):
    """does not ask what the group handles."""

    def hold_group(self, group, streams, types):
        every = {record.type for record in self._tables.log}
        return super().hold_group(group, streams, every)


@breaks("hold_group")
class NeverBehind(Faulty):
    """says that all is well."""

    def hold_group(self, group, streams, types):
        held, _ = yield from super().hold_group(group, streams, types)
        return held, []
