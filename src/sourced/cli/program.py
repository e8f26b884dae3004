"""All commands in one program."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from sourced.cli.migrate import migrate
from sourced.cli.screen import complain
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


@program.callback()
def described() -> None:
    """Runs and looks after apps made with Sourced."""
