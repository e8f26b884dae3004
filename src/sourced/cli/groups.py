"""How groups are doing: `groups`, `workers`, `doctor`, `stop`, `start`, `replay`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from sourced.cli.screen import AsJson, screen, show, show_json, show_table
from sourced.cli.targets import App, Target, app_at, looked_at
from sourced.clock import SystemClock
from sourced.doctor import ago, amount

GroupName = Annotated[str, typer.Argument(help="The group.", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def groups(target: Target, json: AsJson = False) -> None:
    """How far every group has come, and what waits."""
    with looked_at(target) as app:
        found = app.groups.list()
    if json:
        return show_json([
            {
                "group": each.name, "status": each.status, "lag": each.lag, "behind_since": each.behind_since,
                "waiting": len(each.stragglers) - len(each.parked), "parked": len(each.parked),
            }
            for each in found
        ])  # fmt: skip
    now = SystemClock().now()
    rows = [
        (
            each.name, each.status, each.lag, ago(each.behind_since, now) if each.lag else "",
            len(each.stragglers) - len(each.parked), len(each.parked),
        )
        for each in found
    ]  # fmt: skip
    columns = ("group", "status", "behind", "for", "waiting", "parked")
    return show_table(columns, rows, nothing="no group has been registered")


def workers(target: Target, json: AsJson = False) -> None:
    """The workers that are alive."""
    with looked_at(target) as app:
        found = app.workers()
    if json:
        return show_json(found)
    rows = [(each.id, each.rounds, each.started_at, each.beat_at) for each in found]
    return show_table(("worker", "rounds", "since", "last heard of"), rows, nothing="no worker is alive")


def doctor(target: Target, json: AsJson = False) -> None:
    """Why anything waits, in plain words. Ends with 1 if something is wrong."""
    with looked_at(target) as app:
        found = app.doctor()
    if json:
        show_json(found)
    elif not found:
        show("All is well: nothing waits.")
    for each in [] if json else found:
        line = Text(f"{each.about}: ", style="bold red" if each.weight == "trouble" else "bold")
        line.append(each.why, style="not bold default")
        screen().print(line)
        if each.advice:
            screen().print(Text(f"  → {each.advice}", style="dim"))
    if any(each.weight == "trouble" for each in found):
        raise typer.Exit(1)


def stop(target: App, group: GroupName, reason: Annotated[str, typer.Option(help="Why, for the others.")]) -> None:
    """Stop a group: nothing more is handed to it."""
    with app_at(target) as app:
        app.groups.stop(group, reason)
    show(f"{group} is stopped")


def start(target: App, group: GroupName) -> None:
    """Start a group again where it was."""
    with app_at(target) as app:
        app.groups.start(group)
    show(f"{group} goes on")


def replay(
    target: App,
    group: GroupName,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Deliver everything to a group again, as a replay: its data is made anew, nothing is sent twice."""
    with app_at(target) as app:
        show(f"{group} would be given {amount(app.groups.reset(group, dry_run=True).messages)} again")
        if dry_run:
            return
        if not yes:
            typer.confirm("Go on?", abort=True)
        app.groups.reset(group)
    show(f"{group} begins anew")
