"""All commands in one program."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from sourced.cli.dashboard import ui
from sourced.cli.groups import doctor, groups, replay, start, stop, workers
from sourced.cli.looking import show_stream, streams, tail, trace
from sourced.cli.migrate import migrate
from sourced.cli.screen import complain
from sourced.cli.sending import dispatch, execute
from sourced.cli.waiting import cancel, parked, retry, scheduled, skip
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
program.command()(migrate)
program.command()(ui)
for command in (streams, tail, trace, groups, workers, doctor, parked, scheduled):
    program.command(rich_help_panel="Look")(command)
program.command("show", rich_help_panel="Look")(show_stream)
for act in (dispatch, execute, retry, skip, cancel, stop, start, replay):
    program.command(rich_help_panel="Act")(act)


@program.callback()
def described() -> None:
    """Runs and looks after apps made with Sourced."""
