"""Runs of workflows: `workflows list`, `show`; `start`, `signal`, `cancel`, `fork`."""

from __future__ import annotations

from datetime import datetime
from shlex import quote
from typing import Annotated, Any, cast, get_args

import typer
from rich.text import Text

from sourced.cli.acting import By, DryRun, Reason, would
from sourced.cli.screen import AsJson, builtins, complain, short, show, show_json, show_table, when
from sourced.cli.sending import Fields, given_fields
from sourced.cli.targets import App, app_at, now_of
from sourced.doctor import ago, amount
from sourced.errors import NotKnown, RunCancelled, RunFailed, SourcedError, StillRunning
from sourced.messages import Payload, parse
from sourced.workflow.info import RunInfo, Status, StepInfo
from sourced.workflow.workflow import Workflow
from sourced.workflows import Run

COLOURS = {"failed": "red", "retrying": "red", "cancelled": "yellow", "completed": "green", "running": ""}
STATUSES = get_args(Status)

RunId = Annotated[str, typer.Argument(help="The run, as `workflows list` shows it.", show_default=False)]

workflows = typer.Typer(no_args_is_help=True, help="Runs of workflows: what each waits for, and what to do about it.")


@workflows.command("list")
def list_runs(
    target: App,
    workflow: Annotated[str | None, typer.Option("--workflow", "-w", help="Only this one's.")] = None,
    status: Annotated[str | None, typer.Option("--status", "-s", help=f"Only those: {', '.join(STATUSES)}.")] = None,
    before: Annotated[str | None, typer.Option("--before", help="The last run of the page before this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many.")] = 20,
    json: AsJson = False,
) -> None:
    """The runs that were started last; of those that are over, the ones that ended last."""
    if status not in (None, *STATUSES):
        raise typer.BadParameter(f"expected one of {', '.join(STATUSES)}, found {status!r}", param_hint="--status")
    with app_at(target) as app:
        cls = None if workflow is None else _workflow(app, workflow)
        found, now = app.workflows.list(cls, status=cast(Status, status), before=before, limit=limit), now_of(app)
    if json:
        return show_json([builtins(each) for each in found])
    rows = [
        (Text(each.id, style="bold"), _coloured(each), when(each.started_at, now), _took(each, now), _matter(each))
        for each in found
    ]
    return show_table(("run", "status", "started", "took", ""), rows, nothing="no run has been started")


@workflows.command("show")
def show_run(target: App, run: RunId, json: AsJson = False) -> None:
    """One run: its steps, what it waits for, what became of it."""
    with app_at(target) as app:
        info, now = app.workflows.get(run), now_of(app)
    if json:
        return show_json(builtins(info))
    show(Text(info.id, style="bold").append("  ").append(_coloured(info)).append(f"  version {info.version}"))
    show(f"started {when(info.started_at, now)} with {short(builtins(info.arguments))}")
    for label, told in (("forked from", info.forked_from), ("started by", info.parent), ("parked", info.parked)):
        if told:
            show(Text(f"{label}: {told}", style="red" if label == "parked" else ""))
    rows = [
        (each.name, Text(each.status, style=COLOURS[each.status]), each.attempts, _span(each, now), _outcome(each))
        for each in info.steps
    ]
    show("")
    show_table(("step", "status", "attempts", "took", ""), rows, nothing="no step was begun")
    if matter := _matter(info):
        show(Text("\n").append(matter))
    if info.error and info.error.traceback:
        show(Text(info.error.traceback.rstrip(), style="dim"))
    return None


@workflows.command("start")
def start_run(
    target: App,
    workflow: Annotated[str, typer.Argument(help="The name of its class, or of its group.", show_default=False)],
    fields: Fields = None,
    id: Annotated[str | None, typer.Option("--id", help="Its own name: under one name it is started once.")] = None,
    wait: Annotated[float | None, typer.Option(min=0, help="Seconds to wait for its end, and show its result.")] = None,
    json: AsJson = False,
) -> None:
    """Start a run, for the workers to carry out.

    Ends with 1 when it failed or was cancelled, or has not come to its end in the seconds to wait.
    """
    with app_at(target) as app:
        cls = _workflow(app, workflow)
        definition = app._engine.router.group(cls).definition  # type: ignore[attr-defined]
        args, kwargs = definition.shape.parsed(given_fields(fields))
        there = id is not None and app.history(f"{definition.prefix}{id}", upto=1)
        run = app.start(cls if id is None else cls.named(id), *args, **kwargs)
        if not json:
            done = "was started before, and goes on as it was" if there else "is started"
            show(f"{run.id} {done}; how it does: sourced workflows show {target} {quote(run.id)}")
        failure = None if wait is None else _failure(run, wait)
        info = run.info()
    if json:
        show_json(builtins(info))
    elif failure is None and info.ended_at:
        show(_coloured(info).append(f" after {ago(info.started_at, info.ended_at)}  ").append(_matter(info)))
    if failure is not None:
        complain(failure, json=json)
        raise typer.Exit(1)


def _failure(run: Run[Any], wait: float) -> SourcedError | None:
    try:
        run.result(timeout=wait)
    except (StillRunning, RunFailed, RunCancelled) as error:
        return error
    return None


@workflows.command("cancel")
def cancel_run(
    target: App,
    run: RunId,
    by: By,
    reason: Reason = "",
    at_once: Annotated[bool, typer.Option("--at-once", help="Without asking its code: nothing is taken back.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Ask a run to end; it may still take back what it has done."""
    with app_at(target) as app:
        cancelled = app.workflows.cancel(run, reason, by=by, at_once=at_once, dry_run=dry_run)
    if cancelled.was != "running":
        show(f"{run} is over: it is {cancelled.was}")
        return
    waiting = f", which waits for {'; '.join(cancelled.waiting_for)}" if cancelled.waiting_for else ""
    show(f"{would(dry_run, 'cancel', 'cancelled' if at_once else 'asked to end:')} {run}{waiting}")


@workflows.command("signal")
def signal_run(
    target: App,
    run: RunId,
    type: Annotated[str, typer.Argument(help="The name the message is stored under.", show_default=False)],
    fields: Fields = None,
) -> None:
    """Send a run a message that it waits for."""
    with app_at(target) as app:
        cls = app._engine.codec.find(type, within=Payload)
        message = app.signal(run, parse(cls, given_fields(fields)))
    show(f"stored as {run}#{message.seq}, id {message.id}")


@workflows.command("fork")
def fork_run(
    target: App,
    run: RunId,
    step: Annotated[str, typer.Argument(help="The step to begin with: name, or name#2.", show_default=False)],
    by: By,
    reason: Reason = "",
    dry_run: DryRun = False,
) -> None:
    """Begin a new run that knows all that this one knew before a step, and goes on from there."""
    with app_at(target) as app:
        forked = app.workflows.fork(run, step, reason=reason, by=by, dry_run=dry_run)
    if dry_run:
        show(f"would go on from {step} of {run}, knowing {amount(forked.known)}")
    else:
        show(f"{forked.fork} goes on from {step} of {run}")


def _workflow(app: object, name: str) -> type[Workflow]:
    reactors = [each for each in app._engine.router if isinstance(each, Workflow)]  # type: ignore[attr-defined]
    for each in reactors:
        if name in (each.group, each.definition.name, each.definition.where):
            return type(each)
    known = ", ".join(each.definition.where for each in reactors) or "none"
    raise NotKnown(f"no workflow named {name!r}; registered are: {known}")


def _coloured(info: RunInfo) -> Text:
    return Text("parked", style="red") if info.parked else Text(info.status, style=COLOURS[info.status])


def _took(info: RunInfo, now: datetime) -> str:
    return ago(info.started_at, info.ended_at) if info.ended_at else ""


def _span(step: StepInfo, now: datetime) -> str:
    return ago(step.started_at, step.ended_at or now)


def _matter(info: RunInfo) -> Text:
    """What there is to say of it in a line."""
    if info.parked:
        return Text(info.parked, style="red")
    if info.status == "running":
        return Text(f"waits for {'; '.join(info.waiting_for)}" if info.waiting_for else "")
    if info.status == "completed":
        return Text(f"→ {short(builtins(info.result))}")
    return Text(str(info.error or info.reason), style=COLOURS[info.status])


def _outcome(step: StepInfo) -> Text:
    if step.status == "completed":
        return Text(f"→ {short(builtins(step.result))}")
    return Text(str(step.error) if step.error else "", style="red")
