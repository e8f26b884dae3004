"""What exceptions say, and tracebacks for those whose code failed: they begin with that code, and not with ours."""

from __future__ import annotations

import os
from traceback import FrameSummary, TracebackException

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep
_AN_EXAMPLE = os.path.join(_OURS, "demo") + os.sep
_PYTHONS = (os.path.dirname(os.__file__) + os.sep,)
_INSTALLED = ("site-packages", "dist-packages")


def trace_of(error: BaseException) -> str:
    """The traceback, with its causes, contexts, groups and notes; each part without the frames that lead to the first
    one of yours. Where there is none of yours, ours stay."""
    told = TracebackException.from_exception(error, compact=True)
    _cut(told, set())
    return "".join(told.format())


def spelled_out(text: str) -> str:
    """What an exception says may hold half characters, which no store can keep."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(told: TracebackException | None, seen: set[int]) -> None:
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    first = next((at for at, frame in enumerate(told.stack) if _is_yours(frame)), 0)
    del told.stack[:first]
    for each in (told.__cause__, told.__context__, *(told.exceptions or ())):
        _cut(each, seen)


def _is_yours(frame: FrameSummary) -> bool:
    """Neither ours nor Python's own, which we go through where something is awaited."""
    name = frame.filename
    if name.startswith(_OURS):
        return name.startswith(_AN_EXAMPLE)
    pythons = name.startswith("<frozen ") or name.startswith(_PYTHONS)
    return not pythons or any(part in name for part in _INSTALLED)
