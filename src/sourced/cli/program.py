"""All commands in one program."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sourced.cli.acting import cancel, replay, retry, run_now, skip, start, stop
from sourced.cli.archiving import export, import_
from sourced.cli.dashboard import ui
from sourced.cli.demo import demo
from sourced.cli.describing import docs, topology
from sourced.cli.following import tail, trace
from sourced.cli.groups import doctor, groups, workers
from sourced.cli.looking import show_stream, streams
from sourced.cli.migrate import migrate
from sourced.cli.rebuilding import rebuild, restore
from sourced.cli.screen import complain, show
from sourced.cli.sending import dispatch, execute
from sourced.cli.waiting import parked, scheduled
from sourced.cli.workflows import workflows
from sourced.cli.working import worker
from sourced.errors import SourcedError


class Commands(TyperGroup):
    """What Sourced raises on purpose is told in a sentence, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SourcedError as error:
            complain(error)
            raise typer.Exit(1) from error


program = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
program.command()(worker)
program.command()(migrate)
program.command()(ui)
program.command()(demo)
program.command()(docs)
program.command(rich_help_panel="Look")(streams)
program.command("show", rich_help_panel="Look")(show_stream)
for look in (tail, trace, groups, workers, parked, scheduled, doctor, topology):
    program.command(rich_help_panel="Look")(look)
program.add_typer(workflows, name="workflows", rich_help_panel="Look")
for act in (dispatch, execute, stop, start, replay, rebuild, restore, retry, skip, cancel, run_now):
    program.command(rich_help_panel="Act")(act)
program.command(rich_help_panel="Move")(export)
program.command("import", rich_help_panel="Move")(import_)


def main() -> None:
    """By its name, also as `python -m sourced`."""
    program(prog_name="sourced")


def _tell_version(wanted: bool) -> None:
    if wanted:
        show(f"sourced {version('sourced-py')}, Python {platform.python_version()}")
        raise typer.Exit


@program.callback()
def described(
    version: Annotated[bool, typer.Option("--version", help="Say which one this is.", callback=_tell_version)] = False,
) -> None:
    """Runs and looks after apps made with Sourced: `sourced worker shop:app` works for the `app` in shop.py."""
