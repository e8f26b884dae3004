"""Why anything waits, in plain words: what is the matter, and what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.store import Group, Progress, Scheduled, Status, Straggler, Worker

Weight: TypeAlias = Literal["fine", "waiting", "trouble"]

TARGET = "module:app"  # what advice calls an app whose name nobody has told
WORK = f"start a worker: sourced worker {TARGET}"
PATIENCE = timedelta(seconds=5)  # what is due for longer than this should have been seen to
SILENCE = timedelta(seconds=15)  # workers say that they are alive every ten, unless leases last longer
LONGEST = 500  # characters of what an exception says


class GroupInfo(msgspec.Struct, frozen=True):
    """How a group is doing."""

    group: Group
    progress: tuple[Progress, ...]
    stragglers: tuple[Straggler, ...]

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def status(self) -> Status:
        return self.group.status

    @property
    def lag(self) -> int:
        """Messages in the log that it has yet to handle."""
        return sum(each.pending for each in self.progress)

    @property
    def estimated(self) -> bool:
        """Whether there are so many in the log that they were not all counted."""
        return any(each.estimated for each in self.progress)

    @property
    def behind_since(self) -> datetime | None:
        """When the first message was made that it has yet to handle."""
        return min((each.oldest for each in self.progress if each.oldest), default=None)

    @property
    def oldest(self) -> int:
        """Of the shards it has handled anything in: the position the one furthest behind has come to."""
        return min((each.high for each in self.progress if each.high), default=0)

    @property
    def newest(self) -> int:
        return max((each.high for each in self.progress), default=0)

    @property
    def parked(self) -> tuple[Straggler, ...]:
        return tuple(each for each in self.stragglers if each.parked)


class Finding(msgspec.Struct, frozen=True):
    """Something that waits: what it is about, why it waits, and what a person can do."""

    weight: Weight
    about: str
    why: str
    advice: str = ""

    def naming(self, target: str) -> Finding:
        """The same with the app's name for the command line in its advice, to be copied as it stands."""
        return replace(self, advice=self.advice.replace(TARGET, target))


def findings(
    groups: Iterable[GroupInfo],
    workers: Sequence[Worker],
    scheduled: Iterable[Scheduled],
    now: datetime,
    *,
    unseen: int = 0,
) -> list[Finding]:
    """What there is to say of everything, trouble first; nothing when all is well.

    Of the schedule what comes first is enough: `unseen` is how many more are due.
    """
    infos = tuple(groups)
    found = [each for info in infos for each in of_group(info, workers, now)]
    found += of_schedule(scheduled, now, unseen)
    found += of_clocks(workers, now)
    found = found if workers else _once(found, infos, now)
    return in_order(found)


def in_order(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda each: ("trouble", "waiting", "fine").index(each.weight))


def _once(found: Sequence[Finding], infos: Iterable[GroupInfo], now: datetime) -> list[Finding]:
    """That no worker is alive is said once, and of whom; how many wait is told of each."""
    same = [each for each in found if each.advice == WORK]
    if len(same) < 2:
        return [*found]
    names = {each.about for each in same}
    waiting = {info.name: info for info in infos if info.name in names}
    whose = [f"{name} ({behind(info) if info.lag else 'due'})" for name, info in waiting.items()]
    due = len(same) - len(waiting)
    whose += [f"the schedule ({amount(due)})"] * bool(due)
    since = min((info.behind_since for info in waiting.values() if info.behind_since), default=None)
    oldest = f", the oldest message for {ago(since, now)}" if since else ""
    once = Finding("trouble", "workers", f"none is alive; these wait for one{oldest}: {', '.join(whose)}", WORK)
    return [once, *(each for each in found if each.advice != WORK)]


def of_group(info: GroupInfo, workers: Sequence[Worker], now: datetime) -> Iterator[Finding]:
    name = info.name
    if info.status == "stopped":
        why = f"{_stopped(info.group, now)}; {f'it is {behind(info)} behind' if info.lag else 'nothing waits for it'}"
        yield Finding("trouble", name, f"it was {why}", f"see to it, then: sourced start module:app {_word(name)}")
    elif info.lag:
        weight, hands = _hands(info, workers, now)
        why = f"{behind(info)} behind, the oldest for {ago(info.behind_since, now)}; {hands}"
        yield Finding(weight, name, why, WORK if weight == "trouble" else "")
    if info.lag and (careful := _careful(info)):
        yield Finding("waiting", name, careful)
    due = [each for each in info.stragglers if not each.parked and (each.retry_at or now) <= now]
    if due and not workers and info.status == "active" and not info.lag:
        why = f"{_streams(len(due))} due; no worker is alive"
        yield Finding("trouble", name, why, WORK)
    for each in info.stragglers:
        yield of_straggler(each, now)


def why_it_waits(info: GroupInfo, workers: Sequence[Worker], now: datetime) -> str:
    """In a few words; nothing when the group has handled everything."""
    reasons = []
    if info.status == "stopped":
        reasons.append(_stopped(info.group, now))
    elif info.lag:
        reasons.append(_hands(info, workers, now)[1])
    if info.lag and (careful := _careful(info)):
        reasons.append(careful)
    if info.parked:
        reasons.append(f"{_streams(len(info.parked))} parked")
    held = [each for each in info.stragglers if each.holder]
    if held:
        reasons.append(f"{_streams(len(held))} in somebody's hands for long")
    waiting = [each for each in info.stragglers if not (each.parked or each.holder)]
    if waiting:
        soonest = min(each.retry_at or now for each in waiting)
        reasons.append(f"{_streams(len(waiting))} tried again {f'in {ago(now, soonest)}' if soonest > now else 'now'}")
    return "; ".join(reasons)


def _stopped(group: Group, now: datetime) -> str:
    when = f" {ago(group.stopped_at, now)} ago" if group.stopped_at else ""
    who = f" by {group.stopped_by}" if group.stopped_by else " by its error policy" if group.error else ""
    because = "; ".join(filter(None, (group.reason, _line(group.error)))) or "no reason was given"
    return f"stopped{when}{who} ({because})"


def _hands(info: GroupInfo, workers: Sequence[Worker], now: datetime) -> tuple[Weight, str]:
    """In whose hands is what a group has not looked at yet?"""
    held = [each for each in info.progress if each.owner and each.until and each.until > now]
    lost = [each for each in info.progress if each.owner and each.until and each.until <= now]
    if held:
        until = {each.owner.rpartition("/")[0]: each.until for each in held}  # those of one worker hardly differ
        ours = {each.owner for each in held if "/" not in each.owner}  # who drains is no worker, and tells nobody
        whose = ", ".join([*sorted(ours), *(_whose(each, until[each], workers, now) for each in sorted(until) if each)])
        return "waiting", f"{len(held)} of its shards are in the hands of {whose}"
    if not workers:
        return "trouble", "no worker is alive"
    if lost:
        return "waiting", "whoever had it in hand is gone, the next worker takes over"
    return "waiting", "a worker will come to it"


def _whose(owner: str, until: datetime | None, workers: Sequence[Worker], now: datetime) -> str:
    """A process that is paused holds what it has in hand until its leases run out."""
    heard = next((each.beat_at for each in workers if each.id == owner), None)
    if heard is not None and now - heard < SILENCE:
        return owner
    silent = f"not heard of for {ago(heard, now)}" if heard else "not heard of any more"
    return f"{owner} ({silent}; others take over in {ago(now, until or now)} if it does not go on)"


def _careful(info: GroupInfo) -> str:
    """Where a round died, so that it takes longer for once."""
    shards = sum(each.careful > 0 for each in info.progress)
    many = f"{shards} of its shards are" if shards > 1 else "a shard of it is"
    return f"{many} gone through message by message, since a worker died there in the middle of them" * bool(shards)


def of_straggler(each: Straggler, now: datetime) -> Finding:
    about, error = f"{each.group}: stream {each.stream!r}", f": {_line(each.error)}" if each.error else ""
    times = f"{each.attempts} attempt" + "s" * (each.attempts != 1)
    if each.parked:
        long = f" for {ago(each.since, now)}" if each.since else ""
        reason = f" ({each.reason})" if each.reason else ""
        where = f"module:app --group {_word(each.group)} --stream {_word(each.stream)}"
        why = f"parked{long} at seq {each.from_seq} after {times}{error}{reason}"
        return Finding("trouble", about, why, f"mend what failed, then: sourced retry {where}")
    if each.holder:
        whose = each.holder.rpartition("/")[0].rpartition("/")[0] or each.holder
        return Finding("waiting", about, f"seq {each.from_seq} takes long; {whose} is at it")
    if each.running:
        now_at = f"seq {each.from_seq} is being handled at this moment, attempt {each.attempts}"
        return Finding("waiting", about, now_at)
    due = f"tried again in {ago(now, each.retry_at)}" if each.retry_at and each.retry_at > now else "due now"
    so_far = f"; {times} so far{error}" if each.attempts else error
    return Finding("waiting", about, f"seq {each.from_seq} is {due}{so_far}")


def _line(error: str) -> str:
    """What an exception says may be a page."""
    line = " ".join(error.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _streams(count: int) -> str:
    return f"{count:,} stream{'s are' if count != 1 else ' is'}"


def _word(text: str) -> str:
    return shlex.quote(text)


def of_schedule(scheduled: Iterable[Scheduled], now: datetime, unseen: int = 0) -> Iterator[Finding]:
    for each in scheduled:
        about = f"scheduled {each.record.type} for {each.record.stream!r}"
        if each.error:
            yield Finding(
                "trouble",
                about,
                f"it was set aside: {_line(each.error)}",
                f"sourced cancel module:app {each.record.id}",
            )
        elif each.at < now - PATIENCE:
            why = f"it has been due for {ago(each.at, now)} and nobody moved it into the log"
            yield Finding("trouble", about, why, WORK)
    if unseen:
        why = f"{unseen:,} more than these {'are' if unseen > 1 else 'is'} overdue, or set aside"
        yield Finding("trouble", "the schedule", why, f"all of them: sourced scheduled {TARGET}")


def of_clocks(workers: Iterable[Worker], now: datetime) -> Iterator[Finding]:
    """Leases and the schedule go by the clock of whoever looks; one that is behind is not told from a silent worker."""
    for each in workers:
        if each.beat_at > now + PATIENCE:
            why = f"its clock is {ago(now, each.beat_at)} ahead of the one here, and leases and schedules go by clocks"
            yield Finding("trouble", f"worker {each.id}", why, "have one time server set the clocks of all machines")


def of_strangers(groups: Iterable[Group], known: Collection[str]) -> Iterator[Finding]:
    for each in groups:
        if each.name not in known:
            why = "nothing in this app handles for it: it is another app's, or its reactor was renamed or taken away"
            yield Finding("fine", each.name, why, f"one that was renamed goes on where it was with group={each.name!r}")


def behind(info: GroupInfo) -> str:
    return f"{'about ' if info.lag and info.estimated else ''}{amount(info.lag)}"


def amount(count: int, what: str = "message") -> str:
    return f"{count:,} {what}" + "s" * (count != 1)


def ago(since: datetime | None, now: datetime) -> str:
    """A span of time as people say it."""
    if since is None:
        return "an unknown time"
    seconds = max(0.0, (now - since).total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller = {"d": (3_600, "h"), "h": (60, "min"), "min": (1, "s")}[unit]
            part = int(rest // smaller[0])
            return f"{whole:.0f} {unit}" + (f" {part} {smaller[1]}" if part else "")
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
