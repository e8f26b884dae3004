"""`sourced export` and `sourced import`: all of a store as lines of JSON, and into another store."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from sourced.app import store_at
from sourced.archive import Contents, export_to, import_from
from sourced.archive.exporting import Told
from sourced.cli.acting import By, Reason
from sourced.cli.screen import screen
from sourced.cli.targets import Target, app_at, is_url, looked_at, now_of
from sourced.doctor import amount
from sourced.errors import SourcedError, Unavailable
from sourced.store import Store

Out = Annotated[str, typer.Argument(help="The file to write, or - for standard output.", show_default=False)]
In = Annotated[str, typer.Argument(help="The file to read, or - for standard input.", show_default=False)]
Goal = Annotated[str, typer.Argument(help="module:app, or the URL of a store; an empty one.", show_default=False)]


def export(target: Target, file: Out) -> None:
    """Write everything a store holds, as of this moment, as lines of JSON."""
    with looked_at(target) as app, _written(file) as lines, _bar("exporting") as told:
        contents = export_to(app.store, lines, made_at=now_of(app), told=told)
    _say(f"exported {_counted(contents)}" + ("" if file == "-" else f" to {file}"))


def import_(target: Goal, file: In, by: By, reason: Reason = "") -> None:
    """Fill an empty store with what was exported; one that was interrupted goes on where it was.

    No worker may run on that store meanwhile. Tables of your own are not part of it: replay the groups that fill them.
    """
    with _read(file) as lines, contextlib.closing(_goal(target)) as store, _bar("importing") as told:
        try:
            contents = import_from(store, lines, told=told, by=by, reason=reason)
        except KeyboardInterrupt:
            _say("interrupted; the same command goes on where it was")
            raise
    _say(f"imported {_counted(contents)}")


def _goal(target: str) -> Store:
    if target.startswith("memory:"):
        raise typer.BadParameter(f"{target}: what is in memory is gone when this command ends")
    return store_at(target) if is_url(target) else app_at(target).store


@contextlib.contextmanager
def _written(file: str) -> Iterator[IO[bytes]]:
    """Under another name until it is whole, so that nobody takes a part for it."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if Path(file).exists():
        raise typer.BadParameter(f"{file} is there already; name another file, or move that one away")
    part = Path(f"{file}.part")
    try:
        with _told_in_a_sentence(file), part.open("wb") as lines:
            yield lines
            lines.flush()
            os.fsync(lines.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _read(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    if not Path(file).exists():
        raise typer.BadParameter(f"there is no {file}")
    with _told_in_a_sentence(file), Path(file).open("rb") as lines:
        yield lines


@contextlib.contextmanager
def _told_in_a_sentence(file: str) -> Iterator[None]:
    try:
        yield
    except SourcedError:
        raise  # it is about the store, and may be an OSError as well
    except OSError as error:
        raise Unavailable(file, error.strerror or str(error)) from error


@contextlib.contextmanager
def _bar(doing: str) -> Iterator[Told]:
    """For people who watch."""
    console = screen(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _counted(contents: Contents) -> str:
    things = (
        (contents.rows, "row"), (contents.groups, "group"), (contents.stragglers, "waiting stream"),
    )  # fmt: skip
    parts = [amount(contents.messages), *(amount(count, thing) for count, thing in things if count)]
    parts += [f"{contents.scheduled:,} scheduled"] if contents.scheduled else []
    return ", ".join(parts)


def _say(line: str) -> None:
    """Not on standard output, which may be the archive."""
    screen(stderr=True).print(Text(line), soft_wrap=True)
