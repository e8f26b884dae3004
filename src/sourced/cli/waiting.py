"""What waits: `parked` for a person, `scheduled` for its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.text import Text

from sourced.app import Sourced
from sourced.cli.messages import plain, readable
from sourced.cli.screen import AsJson, show, show_json, show_table, when
from sourced.cli.targets import Target, looked_at, now_of
from sourced.store import Range, Scheduled, Straggler

PLACE = ("position", "seq")

Group = Annotated[str | None, typer.Option("--group", "-g", help="Only this group's.")]
Stream = Annotated[str | None, typer.Option("--stream", "-s", help="Only this stream.")]
Error = Annotated[str | None, typer.Option("--error", "-e", help="Only those whose error says this.")]
Type = Annotated[str | None, typer.Option("--type", "-t", help="Only those that wait at a message of this type.")]


def parked(
    target: Target,
    group: Group = None,
    stream: Stream = None,
    error: Error = None,
    type: Type = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Where it failed, too.")] = False,
    json: AsJson = False,
) -> None:
    """Streams that wait for a person."""
    with looked_at(target) as app:
        rows = [row for row in app.parked.list(stream=stream, error=error, type=type) if group in (None, row.group)]
        types, now = types_at(app, rows), now_of(app)
    if json:
        return show_json([{**_plain(row), "type": kind} for row, kind in zip(rows, types, strict=True)])
    cells = [
        (
            Text(row.group, style="bold"), Text(row.stream).append(f"#{row.from_seq}", style="dim"), kind,
            row.attempts, when(row.since, now), Text(_why(row), style="red"),
        )
        for row, kind in zip(rows, types, strict=True)
    ]  # fmt: skip
    columns = ("group", "parked at", "message", "attempts", "since", "error")
    show_table(
        columns,
        cells,
        nothing="nothing is parked" if group == stream == error == type else "nothing that is parked fits",
    )
    for row in rows if traceback else ():
        show(Text(f"\n{row.group}: {row.stream}#{row.from_seq}", style="bold"))
        show(Text(row.traceback.rstrip() or "there is no traceback", style="dim"))
    return None


def types_at(app: Sourced, rows: Sequence[Straggler]) -> list[str]:
    """Of what type the messages are that streams wait at."""
    ranges = [Range(row.stream, row.from_seq - 1, row.from_seq) for row in rows]
    found = app.store.transact(app.store.histories(ranges), reading=True) if rows else []
    return [records[0].type if records else "" for records in found]


def _waiting(app: Sourced, each: Scheduled) -> dict[str, object]:
    """The message, but for the place it does not have yet."""
    (message,) = readable(app, [each.record])
    whole = plain(message)
    return {"due_at": each.at, "error": each.error, **{name: whole[name] for name in whole if name not in PLACE}}


def _plain(row: Straggler) -> dict[str, object]:
    return {name: getattr(row, name) for name in Straggler.__struct_fields__}


def _why(row: Straggler) -> str:
    return f"{row.error} ({row.reason})" if row.reason else row.error


def scheduled(
    target: Target,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 100,
    after: Annotated[str, typer.Option("--after", help="The id of the last message of the page before this one.")] = "",
    json: AsJson = False,
) -> None:
    """Messages that wait for their time, those first that are due first."""
    with looked_at(target) as app:
        last = app.store.transact(app.store.scheduled([after]), reading=True) if after else []
        if after and not last:
            raise typer.BadParameter(f"--after {after}: no such message waits (any longer)", param_hint="")
        found = app.scheduled.list(after=last[0] if last else None, limit=limit + 1)
        now, more, found = now_of(app), len(found) > limit, found[:limit]
    if json:
        return show_json([_waiting(app, each) for each in found])
    rows = [
        (when(each.at, now), each.record.type, each.record.stream, each.record.id, Text(each.error, style="red"))
        for each in found
    ]
    show_table(
        ("due", "message", "for", "id", "set aside"), rows, nothing=f"nothing {'more ' * bool(after)}is scheduled"
    )
    if more:
        show(Text(f"more are due later: --after {found[-1].record.id}", style="dim"))
    return None
