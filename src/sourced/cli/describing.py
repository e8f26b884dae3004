"""What an app is made of: `topology`, and `docs` that writes it into a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sourced.cli.screen import show
from sourced.cli.targets import App, app_at
from sourced.topology.markdown import written_into

Format = Annotated[Literal["text", "json", "mermaid", "svg"], typer.Option(help="How it is written.")]
Check = Annotated[bool, typer.Option("--check", help="Write nothing; end with 1 if a page is out of date.")]
Pages = Annotated[list[Path], typer.Argument(help="Markdown files with markers in them.", exists=True, dir_okay=False)]


def topology(target: App, format: Format = "text") -> None:
    """Who makes what and who answers it, and what may have been forgotten."""
    found = app_at(target).topology()
    written = {"text": found.as_text, "json": found.as_json, "mermaid": found.as_mermaid, "svg": found.as_svg}[format]()
    show(written.rstrip("\n"))


def docs(target: App, pages: Pages, check: Check = False) -> None:
    """Write the topology, the messages and their schemas into pages, between markers."""
    found = app_at(target).topology()
    stale = 0
    for page in pages:
        before = page.read_text("utf-8")
        after = written_into(before, found, str(page))
        if after == before:
            continue
        stale += 1
        if not check:
            page.write_text(after, "utf-8")
        show(f"{page} {'is out of date' if check else 'was written'}")
    if check and stale:
        raise typer.Exit(1)
    if not stale:
        show("up to date")
