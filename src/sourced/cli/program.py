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

UsageError: Any = typer.BadParameter.__base__


class Commands(TyperGroup):
    """What Sourced raises on purpose is told in a sentence, without a traceback; so is a command line that is wrong."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SourcedError as error:
            complain(error, json=ctx.meta["json"])
            raise typer.Exit(1) from error
        except UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            complain(error, json=ctx.meta["json"], kind="UsageError", said=_usage(error))
            raise typer.Exit(2) from error


def _usage(error: Any) -> str:
    """One that a command has found says all there is to say; others are about how commands are written."""
    if isinstance(error, typer.BadParameter) and not (error.param or error.param_hint):
        return error.message
    where = error.ctx.command_path if error.ctx else "sourced"
    return f"{error.format_message().rstrip('.')}; `{where} --help` tells how it is said"


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
