"""What an act would do, in sentences, for whoever is to say that it shall be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sourced import audit as a
from sourced.doctor import amount

LISTED = 10

Told = Callable[[str], str]


class Prospect(NamedTuple):
    """What it is called, what becomes of it, and whom else it is about."""

    title: str
    sentences: Sequence[str]
    items: Sequence[str] = ()


def prospect(act: str, told: a.Operation, error: Told) -> Prospect:
    """`error` says what is shown of an exception."""
    match told:
        case a.GroupStopped(group=group, was=was, behind=behind):
            rest = "It is stopped already; it gets the new reason." if was == "stopped" else _behind(behind)
            return Prospect(f"Stop {group}", ["Nothing more is handed to it until somebody starts it again.", rest])
        case a.GroupStarted(group=group, was=was, behind=behind, due=due):
            first = "It goes on where it was." if was == "stopped" else "It runs already."
            again = [f"{amount(due, 'stream')} that had failed {_are(due)} tried again at once."] if due else []
            return Prospect(f"Start {group}", [first, _behind(behind), *again])
        case a.GroupReset(group=group, messages=messages, waiting=waiting):
            first = f"{amount(messages)} {_are(messages)} delivered to it again, as a replay: nothing is sent twice."
            over = (
                [f"{amount(waiting, 'stream')} that had failed {_are(waiting)} given new attempts."] if waiting else []
            )
            return Prospect(f"Reset {group}", [first, *over])
        case a.GroupRebuilt(group=group, messages=messages):
            first = f"Its rows are built anew of {amount(messages)}, beside those that are read until then."
            return Prospect(f"Rebuild {group}", [first, "Nothing is sent, and the old rows are kept."])
        case a.GroupRestored(group=group):
            return Prospect(f"Restore {group}", ["The rows from before its last rebuild are read again."])
        case a.ParkedRetried(streams=streams):
            return _retry(streams, error)
        case a.ParkedSkipped(group=group, stream=stream, seq=seq):
            first = f"{group} will never handle this message; what waits behind it goes on."
            return Prospect(f"Skip {stream}#{seq}", [first, f"It failed with {error(told.error) or 'no error'}"])
        case a.ScheduleCancelled(messages=[]) | a.ScheduleHastened(messages=[]):
            return Prospect("Too late", ["It is not scheduled any more: nothing would be done."])
        case a.ScheduleCancelled(messages=messages):
            first = f"{amount(len(messages))} {_are(len(messages))} taken off the schedule, and never sent:"
            return Prospect("Cancel what is scheduled", [first], _due(messages))
        case a.ScheduleHastened(messages=messages):
            first = f"{amount(len(messages))} {_are(len(messages))} sent at once, and not when due:"
            return Prospect("Send now", [first], _due(messages))
        case a.WorkflowCancelled(run=run, was=was, waiting_for=waiting):
            if was != "running":
                return Prospect(f"Cancel {run}", [f"It is {was} already, and stays as it is."])
            waits = [f"It waits for {' and '.join(waiting)}."] if waiting else []
            return Prospect(f"Cancel {run}", ["It is asked to end, and may take back what it has done.", *waits])
        case a.WorkflowForked(run=run, step=step, known=known):
            first = f"A new run begins that knows the first {amount(known)} of {run}, and carries out {step} anew."
            return Prospect(f"Fork before {step}", [first, "The old one stays as it is."])
    return Prospect(act.replace("_", " ").capitalize(), ["It is done as asked."])


def _retry(streams: Sequence[a.ParkedStream], error: Told) -> Prospect:
    if not streams:
        return Prospect("Retry", ["Nothing is parked like that any more: nothing would be done."])
    items = [f"{each.group}: {each.stream}#{each.seq}, {error(each.error) or 'no error'}" for each in streams]
    first = f"{amount(len(streams), 'stream')} {_are(len(streams))} handed to workers again, with all attempts:"
    return Prospect("Retry", [first], _few(items))


def _due(messages: Sequence[a.DueMessage]) -> Sequence[str]:
    return _few([f"{each.type} for {each.stream}, due {each.due_at:%Y-%m-%d %H:%M:%S %Z}" for each in messages])


def _few(items: Sequence[str]) -> Sequence[str]:
    more = len(items) - LISTED
    return [*items[:LISTED], f"and {more:,} more"] if more > 0 else items


def _behind(count: int) -> str:
    return f"{amount(count)} {'waits' if count == 1 else 'wait'} for it." if count else "Nothing waits for it."


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
