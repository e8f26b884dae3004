"""How groups are doing, and who works on them: `groups`, `workers`, `doctor`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from shlex import quote

import typer
from msgspec.structs import replace
from rich.text import Text

from sourced.cli.screen import AsJson, show, show_json, show_table, when
from sourced.cli.targets import Target, looked_at, named, now_of
from sourced.doctor import Finding, ago, why_it_waits

COLOURS = {"trouble": "red", "waiting": "yellow", "fine": "dim"}
FEW = 5  # streams of a group, or messages on the schedule, that are told one by one


def groups(target: Target, json: AsJson = False) -> None:
    """How far every group has come, and why it waits."""
    with looked_at(target) as app:
        found, workers, now = app.groups.list(), app.workers(), now_of(app)
    rows = [
        {
            "group": each.name, "status": each.status, "lag": each.lag, "behind_since": each.behind_since,
            "estimated": each.estimated,
            "seconds_behind": round((now - each.behind_since).total_seconds(), 3) if each.behind_since else 0,
            "waiting": len(each.stragglers) - len(each.parked), "parked": len(each.parked),
            "why": why_it_waits(each, workers, now),
        }
        for each in found
    ]  # fmt: skip
    if json:
        return show_json(rows)
    cells = [
        (
            Text(each.name, style="bold"),
            Text(each.status, style="green" if each.status == "active" else "red"),
            f"about {each.lag:,}" if each.lag and each.estimated else each.lag,
            ago(each.behind_since, now) if each.lag else "",
            len(each.stragglers) - len(each.parked) or "",
            Text(f"{len(each.parked):,}", style="red") if each.parked else "",
            Text(str(row["why"]), style="dim"),
        )
        for each, row in zip(found, rows, strict=True)
    ]  # fmt: skip
    columns = ("group", "status", "behind", "for", "waiting", "parked", "why it waits")
    return show_table(columns, cells, nothing="no group has been registered")


def workers(target: Target, json: AsJson = False) -> None:
    """The workers that are alive."""
    with looked_at(target) as app:
        found, now = app.workers(), now_of(app)
    if json:
        return show_json(found)
    rows = [
        (each.id, each.host, str(each.pid), each.rounds, when(each.started_at, now), when(each.beat_at, now))
        for each in found
    ]
    columns = ("worker", "host", "pid", "rounds", "started", "last heard of")
    return show_table(columns, rows, nothing="no worker is alive")


def doctor(target: Target, json: AsJson = False) -> None:
    """Why anything waits, in plain words. Ends with 1 if something is wrong."""
    with looked_at(target) as app:
        found = [each.naming(named(target)) for each in app.doctor()]
    if json:
        show_json(found)
    elif all(each.weight == "fine" for each in found):
        show(Text("All is well: nothing waits.", style="green"))
    for each in [] if json else _few_of_each(found, named(target)):
        show(Text(each.about, style=f"bold {COLOURS[each.weight]}"))
        show(Text(f"  {each.why}"))
        if each.advice:
            show(Text(f"  → {each.advice}", style="dim"))
    if any(each.weight == "trouble" for each in found):
        raise typer.Exit(1)


def _few_of_each(found: Sequence[Finding], target: str) -> Iterator[Finding]:
    """A thousand streams that are parked for the same reason hide everything else."""
    whose = [_whose(each, target) for each in found]
    counts, seen = Counter(whose), Counter[tuple[str, str]]()
    for each, (about, command) in zip(found, whose, strict=True):
        seen[about, command] += 1
        number = seen[about, command]
        if not command or number <= FEW:
            yield each
        elif number == counts[about, command]:
            more = f"and {number - FEW:,} more like these"
            yield replace(each, about=about, why=more, advice=f"sourced {command} lists them")


def _whose(each: Finding, target: str) -> tuple[str, str]:
    """What a finding is one of many of, and where to see all of them."""
    group, stream, _ = each.about.partition(": stream ")
    if stream:
        return group, f"parked {target} --group {quote(group)}"
    return ("the schedule", f"scheduled {target}") if each.about.startswith("scheduled ") else ("", "")
