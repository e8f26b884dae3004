"""What a person is asked for before anything is done: to say yes, and why."""

from __future__ import annotations

import sys

import typer

from sourced.cli.screen import show


def ask(question: str, yes: bool) -> None:
    """Ends the command with 1 unless somebody says yes; where nobody can answer, nothing is done."""
    if yes:
        return
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        show("\nnobody is here to say yes, so nothing was done; --yes does not ask")
        raise typer.Exit(1) from None
    if not agreed:
        show("nothing was done")
        raise typer.Exit(1)


def refuse_empty(reason: str) -> str:
    """One that must be given says something."""
    if not reason.strip():
        raise typer.BadParameter("say why, for those who will ask")
    return reason
