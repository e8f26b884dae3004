"""Exceptions that outlive their process: written down for people, and raised again as what they were."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from sourced.annotations import named_in
from sourced.errors import Recalled
from sourced.traces import spelled_out, trace_of
from sourced.workflow.events import Trouble

R = TypeVar("R", bound=Recalled)

Known = Mapping[str, type[Exception]]


def trouble_of(error: BaseException) -> Trouble:
    """What is worth keeping of an exception."""
    if isinstance(error, Recalled):
        return error.trouble
    kinds = [f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__ if _is_exception(each)]
    trace = trace_of(error)
    return Trouble(type(error).__name__, spelled_out(str(error)), kinds, _details(error.args), spelled_out(trace))


def again(cls: type[R], where: str, trouble: Trouble, known: Known) -> R:
    """The error to raise now: a `cls`, and at the same time of the class that was raised, if there is one here."""
    own = next(filter(None, (known.get(kind.rpartition(".")[2]) or _loaded(kind) for kind in trouble.kinds)), None)
    both = _both(cls, own) if own else cls
    try:
        error = both.__new__(both)  # and not its `__init__`, which may want anything
    except TypeError:
        return cls(where, trouble)
    error.where, error.trouble = where, trouble
    error.args = tuple(trouble.details) if error.own else (where, trouble)
    return error


def _both(cls: type[R], own: type[Exception]) -> type[R]:
    if issubclass(cls, own):
        return cls
    if (cls, own) not in _made:
        body = {"own": True, "__module__": own.__module__, "__doc__": own.__doc__}
        try:
            _made[cls, own] = type(own.__name__, (cls, own), body)
        except TypeError:  # two classes that cannot be one
            _made[cls, own] = cls
    return _made[cls, own]


_made: dict[tuple[type, type], Any] = {}


def exceptions_named(methods: Iterable[Any]) -> Known:
    """The exceptions that code can raise or catch, by name, wherever they may have been defined at the time."""
    return {thing.__name__: thing for method in methods for thing in named_in(method) if _is_exception(thing)}


def _loaded(path: str) -> type[Exception] | None:
    """A class that is in memory where it was; nothing is imported because of something that is written down."""
    module, _, name = path.rpartition(".")
    while module and module not in sys.modules:
        module, _, outer = module.rpartition(".")
        name = f"{outer}.{name}"
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if _is_exception(found) else None


def _is_exception(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception) and thing is not Exception


def _details(args: tuple[Any, ...]) -> list[Any]:
    """The arguments of the exception as JSON can hold them."""
    try:
        return msgspec.json.decode(msgspec.json.encode(args))
    except (TypeError, UnicodeEncodeError, ValueError):
        return [spelled_out(str(each)) for each in args]
