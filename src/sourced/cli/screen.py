"""What a person sees: results on standard output, complaints on standard error; the same as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


def screen() -> Console:
    return Console(highlight=False, soft_wrap=True)


def show(line: str) -> None:
    screen().print(Text(line))


def complain(error: Exception) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"{type(error).__name__}: {error}", style="red"))


def show_json(thing: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(thing), indent=2).decode())  # noqa: T201


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str) -> None:
    """Numbers to the right, everything as wide as it needs to be; a sentence when there is nothing."""
    if not rows:
        show(nothing)
        return
    table = Table(box=None, header_style="bold", pad_edge=False, show_edge=False)
    for at, column in enumerate(columns):
        number = all(isinstance(row[at], int) for row in rows)
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    screen().print(table)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def short(payload: Any, width: int = 100) -> str:
    """A payload on one line."""
    text = msgspec.json.encode(payload, enc_hook=str).decode()
    return text if len(text) <= width else f"{text[: width - 1]}…"
