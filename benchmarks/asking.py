"""What a comparison is asked for on its command line: how much of everything, and which rows."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

S = TypeVar("S")


def asked(program: str, about: str | None, sizes: S, quick: S, arguments: Sequence[str] | None) -> tuple[S, str]:
    """The sizes, each of which is an argument, and the words that a row's label has to contain."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it runs, not how fast")
    parser.add_argument("--only", default="", metavar="WORDS", help="rows whose label contains this")
    declared: Any = sizes
    for each in dataclasses.fields(declared):
        name, default = f"--{each.name.replace('_', '-')}", getattr(sizes, each.name)
        parser.add_argument(name, type=int, metavar="N", help=f"default {default:,}")
    given = vars(parser.parse_args(arguments))
    base: Any = quick if given.pop("quick") else sizes
    only = given.pop("only")
    return dataclasses.replace(base, **{name: size for name, size in given.items() if size is not None}), only
