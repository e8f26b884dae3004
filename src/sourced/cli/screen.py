"""What a person sees: results on standard output, complaints on standard error; the same as JSON for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sourced.doctor import ago

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]

GAP = 2  # columns between those of a table
LEAST = 10  # columns that the last one has when the others are not folded
ENDLESS = 100_000  # columns: what goes into a pipe is not folded


def screen(*, stderr: bool = False) -> Console:
    """As wide as the terminal. Colours are for terminals, and NO_COLOR and TERM are heeded."""
    there = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, width=None if there else ENDLESS)


def show(line: str | Text) -> None:
    """However long: what is folded cannot be copied, nor be SQL any more; a terminal does that by itself."""
    screen().print(line if isinstance(line, Text) else Text(line), soft_wrap=True)


def complain(error: Exception, *, json: bool = False, kind: str = "", said: str = "") -> None:
    """On standard error, so that results are nothing else; on one line as JSON where results are."""
    kind, said = kind or type(error).__name__, said or str(error)
    if json:
        sys.stderr.write(msgspec.json.encode({"error": kind, "message": said}).decode() + "\n")
    else:
        screen(stderr=True).print(Text(f"{kind}: {said}", style="red"), soft_wrap=True)


def show_json(thing: Any) -> None:
    print(msgspec.json.format(msgspec.json.encode(thing), indent=2).decode())  # noqa: T201


def show_line_of_json(thing: Any) -> None:
    print(msgspec.json.encode(thing).decode(), flush=True)  # noqa: T201


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, nothing: str) -> None:
    """Numbers to the right; the last column is folded when the terminal is narrow, and all where it is very narrow:
    nothing is cut off. A sentence when there is nothing.
    """
    if not rows:
        show(nothing)
        return
    used = [at for at in range(len(columns)) if any(str(_cell(row[at])) for row in rows)]
    console = screen()
    widths = [max(cell_len(columns[at]), *(_cell(row[at]).cell_len for row in rows)) for at in used[:-1]]
    fits = sum(widths) + GAP * len(widths) + LEAST <= console.width
    table = Table(box=None, header_style="dim", pad_edge=False, show_edge=False, padding=(0, GAP, 0, 0))
    for at in used:
        number = all(str(row[at]).isdecimal() or row[at] == "" for row in rows)
        justify: Any = "right" if number else "left"
        table.add_column(columns[at], justify=justify, overflow="fold", no_wrap=fits and at != used[-1])
    for row in rows:
        table.add_row(*(_cell(row[at]) for at in used))
    with console.capture() as drawn:
        console.print(table)
    console.file.writelines(line.rstrip() + "\n" for line in drawn.get().splitlines())  # which it fills with blanks


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, datetime):
        return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S}")
    return Text(f"{value:,}" if isinstance(value, int) else str(value or ""))


def when(time: datetime | None, now: datetime) -> str:
    """A time as people say it."""
    if time is None:
        return ""
    return f"{ago(time, now)} ago" if time <= now else f"in {ago(now, time)}"


def short(payload: Any, width: int | None = None) -> str:
    """A payload on one line."""
    text = msgspec.json.encode(payload, enc_hook=str).decode()
    return text if width is None or len(text) <= width else f"{text[: max(0, width - 1)]}…"


def builtins(thing: Any) -> Any:
    """As far as JSON can hold it; the rest as Python would show it."""
    return msgspec.to_builtins(thing, enc_hook=repr)
