"""Faults of groups."""

from msgspec.structs import replace

from sourced.store import Progress, Symptom
from sourced.testing.clock import START
from tests.testing.faulty._registry import Faulty, breaks


@breaks("register")
class RegistersAnew(Faulty):
    """moves the start of a group that is there."""

    def register(self, group, start_from):
        found = yield from super().register(group, start_from)
        return replace(found, start=(yield from self.extent())[1] if start_from == "now" else 0)


@breaks("register")
class NowIsTheBeginning(Faulty):
    """starts at the beginning whatever it is told."""

    def register(self, group, start_from):
        return super().register(group, "beginning")


@breaks("progress")
class EveryShard(Faulty):
    """tells of shards that hold nothing."""

    def progress(self, group, types=None):
        found = {each.shard: each for each in (yield from super().progress(group, types))}
        return [found.get(shard, Progress(shard, 0, 0, 0)) for shard in range(self.shards)]


@breaks("progress")
class NeverTellsOfTheDead(Faulty):
    """does not say that a round has died."""

    def progress(self, group, types=None):
        return [replace(each, careful=0) for each in (yield from super().progress(group, types))]


@breaks("progress")
class CountsWhatNobodyWants(Faulty):
    """counts messages of any type."""

    def progress(self, group, types=None):
        return super().progress(group)


@breaks("stop")
class StopsWithoutAWord(Faulty):
    """forgets why a group was stopped."""

    def stop(self, group, reason, error="", **facts):
        return super().stop(group, "", "", **facts)


@breaks("stop")
class StopsClaimsOnly(Faulty):
    """goes on claiming."""

    def claim(self, group, owner, **options):
        yield from self.start(group, options["now"])
        return (yield from super().claim(group, owner, **options))


@breaks("start")
class StartsEverything(Faulty):
    """retries what is parked as well."""

    def start(self, group, now):
        yield from super().start(group, now)
        rows = yield from self.stragglers(group)
        yield from self.straggle([replace(row, parked=False) for row in rows])


@breaks("reset")
class ResetsNothingInFlight(Faulty):
    """lets a round in flight undo a reset."""

    def fence(self, claim):
        groups = yield from self.groups()
        now = next(group for group in groups if group.name == claim.group.name)
        if now.epoch == claim.group.epoch:
            yield from super().fence(claim)


@breaks("reset")
class ResetStarts(Faulty):
    """starts a stopped group with its reset."""

    def reset(self, group):
        yield from super().reset(group)
        yield from self.start(group, START)


@breaks("reset")
class ResetForgetsTheRest(Faulty):
    """drops the streams that waited."""

    def reset(self, group):
        yield from super().reset(group)
        yield from self.catch_up(group, [row.stream for row in (yield from self.stragglers(group))])


@breaks("reset")
class ResetIsAllLive(Faulty):
    """forgets what was handled."""

    def claim(self, group, owner, **options):
        claim = yield from super().claim(group, owner, **options)
        return replace(claim, leases=tuple(replace(lease, high=lease.checkpoint) for lease in claim.leases))


@breaks("stop")
class TheLastReasonCounts(Faulty):
    """lets a second stop take the place of the first."""

    def stop(self, group, reason, error="", **facts):
        before = next(each for each in (yield from self.groups()) if each.name == group)
        yield from super().start(group, START)
        yield from super().stop(group, reason, error, **facts)
        return before


@breaks("start")
class StartTellsHowItIsNow(Faulty):
    """answers how the group stands after its start."""

    def start(self, group, now):
        yield from super().start(group, now)
        return (yield from super().start(group, now))


@breaks("reset")
class ResetTellsHowItIsNow(Faulty):
    """answers how the group stands after its reset."""

    def reset(self, group):
        yield from super().reset(group)
        return next(each for each in (yield from self.groups()) if each.name == group)


@breaks("hold")
class HeldByAnybody(Faulty):
    """asks only whether somebody has the stream in hand."""

    def hold(self, straggler):
        for row in (yield from self.stragglers(straggler.group)):
            if row.stream == straggler.stream and row.holder:
                return
        yield from super().hold(straggler)


@breaks("hold")
class HeldByNobody(Faulty):
    """lets everybody go on."""

    def hold(self, straggler):
        yield from ()


@breaks("hold")
class TakesEveryHold(Faulty):
    """lets nobody go on."""

    def hold(self, straggler):
        yield from super().hold(replace(straggler, holder="nobody"))


@breaks("hold")
class ForgetsHolders(Faulty):
    """takes a stream out of its holder's hand when its group is started again."""

    def start(self, group, now):
        held = [row for row in (yield from self.stragglers(group)) if row.holder]
        yield from super().start(group, now)
        yield from self.straggle([replace(row, holder="") for row in held])


@breaks("reinstate")
class ReinstatesWithoutCare(Faulty):
    """forgets where a round has died."""

    def reinstate(self, group, moves):
        return super().reinstate(group, [replace(each, careful=0) for each in moves])


@breaks("reinstate")
class ReinstatesTheNameOnly(Faulty):
    """lets a group that was elsewhere begin at its start."""

    def reinstate(self, group, moves):
        return super().reinstate(group, [])


@breaks("reinstate")
class ReinstatesUnderARound(Faulty):
    """leaves the leases to those who hold them."""

    def reinstate(self, group, moves):
        known = self._tables.progress.get(group.name, {})
        yield from super().reinstate(group, moves)
        for shard, row in known.items():
            self._tables.progress[group.name][shard] = row


@breaks("symptoms")
class IsNeverWell(Faulty):
    """complains all the time."""

    def symptoms(self, now):
        yield from ()
        return [Symptom("the store", "one never knows", "look after it")]
