"""What a person sees: results on standard output, complaints on standard error."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def show(line: str) -> None:
    Console(highlight=False, soft_wrap=True).print(Text(line))


def complain(error: Exception) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"{type(error).__name__}: {error}", style="red"))
