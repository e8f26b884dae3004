"""How groups are doing, and who works on them: `groups`, `workers`, `doctor`."""

from __future__ import annotations

import typer
from rich.text import Text

from sourced.cli.screen import AsJson, show, show_json, show_table, when
from sourced.cli.targets import Target, looked_at, named, now_of
from sourced.doctor import ago, why_it_waits


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
    elif not found:
        show(Text("All is well: nothing waits.", style="green"))
    for each in [] if json else found:
        show(Text(each.about, style="bold red" if each.weight == "trouble" else "bold yellow"))
        show(Text(f"  {each.why}"))
        if each.advice:
            show(Text(f"  → {each.advice}", style="dim"))
    if any(each.weight == "trouble" for each in found):
        raise typer.Exit(1)
