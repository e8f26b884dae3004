"""What was tried, written down as a given/when/then test that runs as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

from sourced.messages import Payload

MOST = 500  # messages that a test is given: nobody reads a longer one


def scenario(
    actor: type, stream: str, history: Sequence[Payload], command: Payload, events: Sequence[Payload],
    refusal: Exception | None,
) -> str:  # fmt: skip
    """To be put into a test file as it stands."""
    if len(history) > MOST:
        return f"# The state is made of {len(history):,} messages: too many to be written down here."
    code = Code()
    happened = "".join(f"\n        {code.value(each)}," for each in history)
    given = f"given(\n        {code.name(actor)}, {stream!r},{happened}\n    )"
    then = f"then_raises({code.name(type(refusal))})" if refusal else f"then({', '.join(map(code.value, events))})"
    when = f"when({code.value(command)})"
    name = re.sub(r"\W", "_", command.__sourced__.name.rpartition(".")[2])
    return f"{code.imports()}\n\ndef test_{name}():\n    {given}.{when}.{then}\n"


class Code:
    """Values as the source code that makes them, and what has to be imported for it."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {"sourced.testing": {"given"}}
        self._modules: set[str] = set()

    def imports(self) -> str:
        modules = [f"import {each}\n" for each in sorted(self._modules)]
        names = [f"from {each} import {', '.join(sorted(names))}\n" for each, names in sorted(self._names.items())]
        return "".join([*modules, *["\n"] * bool(modules), *names])

    def name(self, kind: type) -> str:
        """Of a class, which may be inside another."""
        if kind.__module__ != "builtins":
            self._names.setdefault(kind.__module__, set()).add(kind.__qualname__.partition(".")[0])
        return kind.__qualname__

    def value(self, value: Any) -> str:
        kind = type(value)
        if isinstance(value, Enum):
            return f"{self.name(kind)}({self.value(value.value)})"
        if isinstance(value, float) and not isfinite(value):
            return f"float({str(value)!r})"
        if isinstance(value, datetime | date | time | timedelta):
            self._modules |= {"datetime"} | ({"zoneinfo"} if "zoneinfo." in repr(value) else set())
            return repr(value)
        if isinstance(value, UUID):
            return f"{self.name(kind)}({str(value)!r})"
        if isinstance(value, Mapping):
            return f"{{{', '.join(f'{self.value(key)}: {self.value(each)}' for key, each in value.items())}}}"
        if kind in (list, tuple, set, frozenset):
            return self._several(value)
        if isinstance(value, msgspec.Struct):
            return self._made(kind, {name: getattr(value, name) for name in value.__struct_fields__})
        if is_dataclass(kind):
            return self._made(kind, {each.name: getattr(value, each.name) for each in fields(kind) if each.init})
        if kind.__module__ != "builtins":
            self.name(kind)  # Decimal('1') and its like say themselves how they are made
        return repr(value)

    def _made(self, kind: type, said: Mapping[str, Any]) -> str:
        return f"{self.name(kind)}({', '.join(f'{name}={self.value(each)}' for name, each in said.items())})"

    def _several(self, values: Any) -> str:
        inside = ", ".join(map(self.value, values))
        match values:
            case list():
                return f"[{inside}]"
            case tuple():
                return f"({inside}{',' * (len(values) == 1)})"
            case _:
                return f"{type(values).__name__}([{inside}])"
