"""What a person does to a running app; each of it is told in the stream `sourced.operations`, with his name.

`stop`, `start`, `replay`; `retry`, `skip`; `cancel`, `run-now`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.text import Text

from sourced.audit import DueMessage, ParkedStream
from sourced.cli.asking import ask, refuse_empty
from sourced.cli.screen import show
from sourced.cli.targets import App, app_at, whoever_is_at_the_keyboard
from sourced.cli.waiting import Error, Group, Stream, Type
from sourced.doctor import amount

FEW = 20  # lines

GroupName = Annotated[str, typer.Argument(help="The group.", show_default=False)]
Ids = Annotated[list[str], typer.Argument(help="Their ids, as `scheduled` shows them.", show_default=False)]
Why = Annotated[str, typer.Option("--reason", "-r", help="Why, for those who will ask.", callback=refuse_empty)]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why, for those who will ask.")]
By = Annotated[
    str, typer.Option(default_factory=whoever_is_at_the_keyboard, help="Who does it.", show_default="you@here")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def stop(target: App, group: GroupName, reason: Why, by: By, dry_run: DryRun = False) -> None:
    """Stop a group: nothing more is handed to it."""
    with app_at(target) as app:
        stopped = app.groups.stop(group, reason, by=by, dry_run=dry_run)
    if stopped.was == "stopped":
        show(f"{group} is stopped already")
    else:
        show(f"{would(dry_run, 'stop', 'stopped')} {group}{_behind(stopped.behind)}")


def start(target: App, group: GroupName, by: By, reason: Reason = "", dry_run: DryRun = False) -> None:
    """Start a group again where it was; what had failed is tried again at once."""
    with app_at(target) as app:
        started = app.groups.start(group, reason, by=by, dry_run=dry_run)
    if started.was == "active" and not started.due:
        show(f"{group} runs already")
        return
    due = f", {amount(started.due, 'stream')} that had failed tried again" if started.due else ""
    show(f"{would(dry_run, 'start', 'started')} {group}{_behind(started.behind)}{due}")


def replay(
    target: App, group: GroupName, by: By, reason: Reason = "", dry_run: DryRun = False, yes: Yes = False
) -> None:  # fmt: skip
    """Deliver everything to a group again, as a replay: its data is made anew, nothing is sent twice."""
    with app_at(target) as app:
        planned = app.groups.reset(group, reason, by=by, dry_run=True)
        waiting = f"; {amount(planned.waiting, 'stream')} that wait start over" if planned.waiting else ""
        show(f"{group} would be given {amount(planned.messages)} again{waiting}")
        if dry_run:
            return
        ask("Go on?", yes)
        reset = app.groups.reset(group, reason, by=by)
    show(f"{group} begins anew" + ("; it is stopped" if reset.was == "stopped" else ""))


def retry(
    target: App, by: By, group: Group = None, stream: Stream = None, error: Error = None, type: Type = None,
    reason: Reason = "", dry_run: DryRun = False,
) -> None:  # fmt: skip
    """Hand parked streams to the workers again: all, or those that are chosen."""
    with app_at(target) as app:
        retried = app.parked.retry(
            group, stream, error=error, type=type, reason=reason, by=by, dry_run=dry_run
        )  # fmt: skip
    if not retried.streams:
        show("nothing is parked" if not (group or stream or error or type) else "nothing that is parked fits")
        return
    show(f"{would(dry_run, 'retry', 'retried')} {amount(len(retried.streams), 'stream')}:")
    _list(map(_parked, retried.streams), len(retried.streams))


def skip(
    target: App,
    group: Annotated[str, typer.Argument(help="The group it is parked for.", show_default=False)],
    stream: Annotated[str, typer.Argument(help="The stream.", show_default=False)],
    reason: Why,
    by: By,
    seq: Annotated[int | None, typer.Option(min=1, help="The message you mean; otherwise nothing is done.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Give up the message a stream is parked at; the ones behind it are handled."""
    with app_at(target) as app:
        planned = app.parked.skip(group, stream, seq=seq, reason=reason, by=by, dry_run=True)
        show(f"would give up {stream}#{planned.seq} for {group}: {planned.error}")
        if dry_run:
            return
        ask("For good?", yes)
        skipped = app.parked.skip(group, stream, seq=planned.seq, reason=reason, by=by)
    show(f"gave up {stream}#{skipped.seq}; what is behind it goes on")


def cancel(target: App, ids: Ids, by: By, reason: Reason = "", dry_run: DryRun = False, yes: Yes = False) -> None:
    """Take messages off the schedule."""
    with app_at(target) as app:
        planned = app.scheduled.cancel(*ids, reason=reason, by=by, dry_run=True).messages
        if planned:
            show(f"would cancel {amount(len(planned))}:")
            _list(map(_due, planned), len(planned))
        if planned and not dry_run:
            ask("For good?", yes)
            planned = app.scheduled.cancel(*ids, reason=reason, by=by).messages
            show(f"cancelled {amount(len(planned))}")
    _tell_missing(ids, planned)


def run_now(target: App, ids: Ids, by: By, reason: Reason = "", dry_run: DryRun = False) -> None:
    """Move messages from the schedule into the log, although it is not their time."""
    with app_at(target) as app:
        moved = app.scheduled.run_now(*ids, reason=reason, by=by, dry_run=dry_run).messages
    if moved:
        show(f"{would(dry_run, 'move', 'moved')} {amount(len(moved))} into the log:")
        _list(map(_due, moved), len(moved))
    _tell_missing(ids, moved)


def would(dry_run: bool, verb: str, done: str) -> str:
    return f"would {verb}" if dry_run else done


def _behind(count: int) -> str:
    return f", {amount(count)} behind" if count else ""


def _parked(each: ParkedStream) -> Text:
    return Text(f"  {each.group}  {each.stream}").append(f"#{each.seq}", style="dim").append(f"  {each.error}")


def _due(each: DueMessage) -> Text:
    return Text(f"  {each.type} for {each.stream}, due {each.due_at.astimezone():%Y-%m-%d %H:%M:%S}")


def _list(lines: Iterable[Text], count: int) -> None:
    for _, each in zip(range(FEW), lines, strict=False):
        show(each)
    if count > FEW:
        show(Text(f"  … and {count - FEW:,} more", style="dim"))


def _tell_missing(ids: Sequence[str], found: Sequence[DueMessage]) -> None:
    """Those that were not there are a failure: whoever named them thinks otherwise."""
    missing = [id for id in ids if id not in {each.id for each in found}]
    for id in missing:
        show(f"not on the schedule: {id}")
    if missing:
        raise typer.Exit(1)
