"""When a process is forked: connections and locks are its parent's, so whatever has any begins anew in the child."""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from collections.abc import Iterable
from typing import Protocol


class Forked(Protocol):
    def forked(self) -> None:
        """Leaves to the parent what is the parent's, and begins anew. Nothing else runs in this process yet."""
        ...


_everything: weakref.WeakSet[Forked] = weakref.WeakSet()


def begin_anew_in_children(thing: Forked) -> None:
    """From now on `thing.forked()` runs in every process that is forked off this one, as long as the thing lives."""
    _register()
    _everything.add(thing)


@functools.cache
def _register() -> None:
    if hasattr(os, "register_at_fork"):  # Windows has none, and no forks
        os.register_at_fork(after_in_child=_begin_anew)


def _begin_anew() -> None:
    for thing in [*_everything]:
        thing.forked()


def leave_alone(connections: Iterable[object]) -> None:
    """Never to be closed here, not even at the end of the process: that would end, or harm, what the parent has."""
    for each in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
