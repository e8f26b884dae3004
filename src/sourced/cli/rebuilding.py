"""`rebuild` and `restore`: a projector's rows are built anew beside the live ones; the old ones are kept."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sourced.cli.acting import By, DryRun, GroupName, Reason, Yes
from sourced.cli.asking import ask
from sourced.cli.screen import screen, show
from sourced.cli.targets import App, app_at
from sourced.doctor import amount
from sourced.runtime.rebuild import Rebuilding, Watching

Processes = Annotated[int, typer.Option(min=1, help="How many work on it.")]
Afresh = Annotated[bool, typer.Option("--afresh", help="Forget what a rebuild that was left in the middle has built.")]
Hooks = Annotated[bool, typer.Option("--after-commit", help="Run the @after_commit methods as well.")]
Helping = Annotated[bool, typer.Option(hidden=True)]


def rebuild(
    target: App, group: GroupName, by: By, processes: Processes = 1, afresh: Afresh = False,
    after_commit: Hooks = False, reason: Reason = "", dry_run: DryRun = False, helping: Helping = False,
) -> None:  # fmt: skip
    """Build a projector's rows anew beside the live ones, which then give way to them. Nothing is sent by it.

    One that was left in the middle goes on. The rows from before are kept: `restore` brings them back.
    """
    with app_at(target) as app:
        if helping:
            return app._helped(group, after_commit=after_commit)
        if processes > 1 and not app.store.capabilities.shared:
            raise typer.BadParameter(f"--processes {processes}: {app.store!r} is for one process alone", param_hint="")
        planned = app.rebuild(group, dry_run=True)
        if dry_run:
            show(f"would build the rows of {group} anew from {amount(planned.messages)}")
            return
        command = [sys.executable, "-m", "sourced", "rebuild", target, group, "--helping"]
        helper = [*command, *(["--after-commit"] if after_commit else [])]
        began = monotonic()
        with _helpers(helper, processes - 1) as begin, _drawn(group, planned.messages) as draw:

            def watch(rebuilding: Rebuilding) -> None:
                begin()
                draw(rebuilding)

            rebuilt = app.rebuild(
                group, afresh=afresh, after_commit=after_commit, watching=watch, reason=reason, by=by
            )  # fmt: skip
    seconds = max(monotonic() - began, 0.01)
    messages = amount(rebuilt.messages)
    show(f"built the rows of {group} anew from {messages} in {_lasting(seconds)}; the old ones are kept")


def restore(
    target: App, group: GroupName, by: By, reason: Reason = "", dry_run: DryRun = False, yes: Yes = False
) -> None:  # fmt: skip
    """Bring back the rows from before the last rebuild; what is new since then goes into them."""
    with app_at(target) as app:
        app.restore(group, dry_run=True)
        show(f"would bring back the rows of {group} from before its last rebuild")
        if dry_run:
            return
        ask("Go on?", yes)
        app.restore(group, reason=reason, by=by)
    show("brought back; those that were live are kept in their place")


@contextlib.contextmanager
def _helpers(command: list[str], count: int) -> Iterator[Callable[[], None]]:
    """Further processes, from the moment on that there is something to help with; they end by themselves."""
    running: list[subprocess.Popen[bytes]] = []

    def begin() -> None:
        while len(running) < count:
            running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))

    try:
        yield begin
    except BaseException:
        for each in running:
            each.terminate()
        raise
    finally:
        for each in running:
            each.wait()


@contextlib.contextmanager
def _drawn(group: str, messages: int) -> Iterator[Watching]:
    """A bar on a terminal, and nothing elsewhere."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=screen(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(group, total=messages, rate="")

        def draw(rebuilding: Rebuilding) -> None:
            progress.update(bar, completed=rebuilding.done, rate=f"{rebuilding.rate:,.0f}/s")

        yield draw
        progress.update(bar, completed=messages)


def _lasting(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
