"""Faults of rounds."""

import contextlib
import dataclasses
from datetime import timedelta

from msgspec.structs import replace

from sourced.store import Claim, Pending, shard_of
from sourced.stores.memory import MemoryStore
from tests.testing.faulty._registry import Faulty, breaks


def changing_leases(**changes):
    def claim(self, group, owner, **options):
        found = yield from MemoryStore.claim(self, group, owner, **options)
        return replace(found, leases=tuple(replace(lease, **changes) for lease in found.leases))

    return claim


@breaks("claim")
class TakesAll(Faulty):
    """leases more shards than messages may be handled."""

    def claim(self, group, owner, **options):
        return super().claim(group, owner, **{**options, "limit": self.shards})


@breaks("claim")
class OneToken(Faulty):
    """gives out the same token again and again."""

    claim = changing_leases(token=1)


@breaks("claim")
class Careless(Faulty):
    """never handles anything with care."""

    claim = changing_leases(careful=0)


@breaks("claim")
class NeverExpires(Faulty):
    """waits for ever for an owner who is gone."""

    def claim(self, group, owner, *, until, **options):
        return super().claim(group, owner, until=until + timedelta(days=1), **options)


@breaks("claim")
class TakesFromOthers(Faulty):
    """takes what others hold."""

    def claim(self, group, owner, **options):
        return super().claim(group, "everybody", **options)


@breaks("claim")
class CountsAfterwards(Faulty):
    """does not count the attempt before it is made."""

    def claim(self, group, owner, **options):
        found = yield from super().claim(group, owner, **options)
        yield from self.straggle([replace(row, attempts=row.attempts - 1) for row in found.due])
        return found


@breaks("claim")
class HurriesStragglers(Faulty):
    """brings stragglers along before they are due."""

    def claim(self, group, owner, **options):
        rows = yield from self.stragglers(group)
        yield from self.straggle([replace(row, retry_at=None) for row in rows])
        return (yield from super().claim(group, owner, **options))


@breaks("claim")
class HidesTheDead(Faulty):
    """does not tell that the attempt before was never concluded."""

    def claim(self, group, owner, **options):
        found = yield from super().claim(group, owner, **options)
        return replace(found, due=tuple(replace(row, running=False) for row in found.due))


@breaks("pending")
class DeliversStragglers(Faulty):
    """delivers behind the back of streams that wait."""

    def pending(self, group, leases, types, limit):
        rows = yield from self.stragglers(group)
        yield from self.catch_up(group, [row.stream for row in rows])
        found = yield from super().pending(group, leases, types, limit)
        yield from self.straggle(rows)
        return found


@breaks("pending")
class DeliversTwice(Faulty):
    """delivers what was settled when it was stored."""

    def append(self, entries):
        return super().append(
            [replace(e, records=tuple(replace(r, settled_by=()) for r in e.records)) for e in entries]
        )


@breaks("pending")
class LooksTooFar(Faulty):
    """says it has looked through what it has not."""

    def pending(self, group, leases, types, limit):
        found = yield from super().pending(group, leases, types, limit)
        _, last = yield from self.extent()
        return Pending(found.records, dict.fromkeys(found.scanned, last))


@breaks("pending")
class FirstShardFirst(Faulty):
    """gives the whole limit to the shard that comes first."""

    def pending(self, group, leases, types, limit):
        found = yield from super().pending(group, leases, types, 1_000_000)
        records = sorted(found.records, key=lambda r: r.position)[:limit]
        scanned = {lease.shard: lease.checkpoint for lease in leases}
        scanned |= {shard_of(r.stream, self.shards): r.position for r in records}
        return Pending(tuple(records), scanned)


@breaks("pending")
class ManyWithCare(Faulty):
    """hands out more than one message of a shard that needs care."""

    def pending(self, group, leases, types, limit):
        return super().pending(group, [replace(lease, careful=0) for lease in leases], types, limit)


@breaks("straggling")
class BeyondTheRound(Faulty):
    """goes beyond what was looked through."""

    def straggling(self, stragglers, types, upto, limit):
        return super().straggling(stragglers, types, dict.fromkeys(upto, 1_000_000), limit)


@breaks("straggling")
class AllTypes(Faulty):
    """hands out what is not wanted."""

    def straggling(self, stragglers, types, upto, limit):
        return super().straggling(stragglers, {"thing.done", "unwanted"}, upto, limit)


@breaks("straggling")
class SharedLimit(Faulty):
    """shares the limit among the stragglers."""

    def straggling(self, stragglers, types, upto, limit):
        return super().straggling(stragglers, types, upto, max(1, limit // max(1, len(stragglers))))


@breaks("fence")
class NoFence(Faulty):
    """lets everybody through."""

    def fence(self, claim):
        yield from ()


@breaks("fence")
class HalfAFence(Faulty):
    """looks at one lease only."""

    def fence(self, claim):
        for lease in claim.leases:
            with contextlib.suppress(Exception):
                yield from super().fence(Claim(claim.group, (lease,)))
                return
        yield from super().fence(claim)


@breaks("settle")
class Backwards(Faulty):
    """moves checkpoints backwards."""

    def settle(self, group, moves, *, release):
        for move in moves:
            row = self._tables.progress[group][move.shard]
            self._tables.progress[group][move.shard] = dataclasses.replace(row, checkpoint=0)
        yield from super().settle(group, moves, release=release)


@breaks("settle")
class AlwaysReleases(Faulty):
    """frees what was to be kept."""

    def settle(self, group, moves, *, release):
        return super().settle(group, moves, release=True)


@breaks("settle")
class NeverReleases(Faulty):
    """keeps what was to be freed."""

    def settle(self, group, moves, *, release):
        return super().settle(group, moves, release=False)


@breaks("claim")
class ForgetsCare(Faulty):
    """forgets how long care is needed."""

    def settle(self, group, moves, *, release):
        return super().settle(group, [replace(move, careful=0) for move in moves], release=release)


@breaks("release")
class CountsWhatWasNotTried(Faulty):
    """counts an attempt that was not made."""

    def release(self, claim):
        return super().release(replace(claim, due=()))


@breaks("release")
class ReleasesOthers(Faulty):
    """gives back what is somebody else's by now."""

    def release(self, claim):
        name = claim.group.name
        rows = self._tables.progress[name]
        newest = tuple(replace(lease, token=rows[lease.shard].token) for lease in claim.leases)
        return super().release(replace(claim, leases=newest))


@breaks("straggle")
class LosesTraces(Faulty):
    """keeps no traceback."""

    def straggle(self, stragglers):
        return super().straggle([replace(row, traceback="") for row in stragglers])


@breaks("straggle")
class KeepsTheFirst(Faulty):
    """does not replace what was known."""

    def straggle(self, stragglers):
        known = {(row.group, row.stream) for row in (yield from self.stragglers())}
        yield from super().straggle([row for row in stragglers if (row.group, row.stream) not in known])


@breaks("catch_up")
class CatchesUpForAll(Faulty):
    """ends the wait in every group."""

    def catch_up(self, group, streams):
        for each in (yield from self.groups()):
            yield from super().catch_up(each.name, streams)


@breaks("stragglers")
class StragglersOfAll(Faulty):
    """lists those of every group."""

    def stragglers(self, group=None):
        return super().stragglers(None)


@breaks("unpark")
class UnparksAnything(Faulty):
    """hands out again what somebody else has seen to meanwhile."""

    def unpark(self, seen, *, skip=False):
        yield from self.straggle([replace(row, parked=True) for row in seen])
        return (yield from super().unpark(seen, skip=skip))


@breaks("unpark")
class GoesOnCounting(Faulty):
    """does not count anew."""

    def unpark(self, seen, *, skip=False):
        found = yield from super().unpark(seen, skip=skip)
        yield from self.straggle([replace(row, parked=False, from_seq=row.from_seq + skip) for row in found])
        return found


@breaks("unpark")
class NeverSkips(Faulty):
    """hands out the message that was to be skipped."""

    def unpark(self, seen, *, skip=False):
        return super().unpark(seen)
