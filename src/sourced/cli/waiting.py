"""What waits: `parked`, `retry`, `skip`, `scheduled`, `cancel`."""

from __future__ import annotations

from typing import Annotated

import typer

from sourced.cli.groups import DryRun
from sourced.cli.screen import AsJson, show, show_json, show_table
from sourced.cli.targets import App, Target, app_at, looked_at

Group = Annotated[str | None, typer.Option(help="Only this group's.")]
Stream = Annotated[str | None, typer.Option(help="Only this stream.")]


def parked(target: Target, group: Group = None, json: AsJson = False) -> None:
    """Streams that wait for a person."""
    with looked_at(target) as app:
        found = [each for each in app.parked.list() if group in (None, each.group)]
    if json:
        return show_json(found)
    rows = [(each.group, each.stream, each.from_seq, each.attempts, each.since or "", each.error) for each in found]
    columns = ("group", "stream", "seq", "attempts", "since", "error")
    return show_table(columns, rows, nothing="nothing is parked")


def retry(target: App, group: Group = None, stream: Stream = None, dry_run: DryRun = False) -> None:
    """Hand parked streams to the workers again: one, a group's, or all."""
    with app_at(target) as app:
        if dry_run:
            found = [each for each in app.parked.list(group) if stream in (None, each.stream)]
            show(f"{len(found)} parked streams would be tried again")
            return
        show(f"{len(app.parked.retry(group, stream).streams)} parked streams are tried again")


def skip(
    target: App,
    group: Annotated[str, typer.Argument(help="The group it is parked for.", show_default=False)],
    stream: Annotated[str, typer.Argument(help="The stream.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why, for the others.")],
) -> None:
    """Give up the message a stream is parked at; the ones behind it are handled."""
    with app_at(target) as app:
        app.parked.skip(group, stream, reason=reason)
    show(f"{stream} goes on after the message it was parked at")


def scheduled(target: Target, json: AsJson = False) -> None:
    """Messages that wait for their time."""
    with looked_at(target) as app:
        found = app.scheduled.list()
    if json:
        return show_json(found)
    rows = [(each.at, each.record.type, each.record.stream, each.record.id, each.error) for each in found]
    return show_table(("due", "message", "for", "id", "error"), rows, nothing="nothing is scheduled")


def cancel(target: App, ids: Annotated[list[str], typer.Argument(help="Their ids.", show_default=False)]) -> None:
    """Take messages off the schedule."""
    with app_at(target) as app:
        gone = app.scheduled.cancel(*ids).messages
    show(f"{len(gone)} of {len(ids)} were still there and are cancelled")
    if len(gone) < len(ids):
        raise typer.Exit(1)
