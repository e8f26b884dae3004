"""A workflow as it was declared: its `run`, its steps, what it waits for, and the names all of it is stored under."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sourced.annotations import mentioned
from sourced.errors import DefinitionError
from sourced.messages import Payload, is_family, members
from sourced.workflow import events as e
from sourced.workflow.failures import exceptions_named
from sourced.workflow.shapes import Shape
from sourced.workflow.step import Step


class Definition:
    """Made when a workflow is first used, so that its annotations may name what is defined after it."""

    def __init__(self, workflow: Any, own: Mapping[str, type[e.Journal]], names: Mapping[str, Any]) -> None:
        cls = type(workflow)
        self.workflow = workflow
        self.where = cls.__qualname__
        self.name = cls.stored_name
        self.prefix = f"{self.name}-"  # of the streams of its runs
        self.version = cls.version
        self.method: Callable[..., Any] = cls.run
        self.shape = Shape(f"{self.where}.run", cls.run, names)
        self.steps = steps_of(cls)
        self.shapes = {name: Shape(f"{self.where}.{name}", each.method, names) for name, each in self.steps.items()}
        self.own: dict[type[e.Journal], Callable[..., e.Journal]] = {kind: own[kind.__name__] for kind in e.KINDS}
        self.kinds: dict[type[Payload], Any] = {own[kind.__name__]: kind for kind in e.KINDS}
        self.endings = frozenset(own[kind.__name__].__sourced__.name for kind in e.ENDINGS)  # as they are stored
        self.kinds |= {shared: shared for shared in e.SHARED}
        self.signals = frozenset(signals_in(methods_of(cls, steps=False))) - self.kinds.keys()
        self.exceptions = exceptions_named(methods_of(cls))

    def starting(self, arguments: dict[str, Any], *, parent: str = "", parent_key: str = "") -> e.Journal:
        """What a run begins with."""
        return self.own[e.Started](arguments, self.version, parent, parent_key)

    def in_run(self, run: Any) -> Any:
        """The workflow as `run` sees it: its own, and bound to one run."""
        one = copy.copy(self.workflow)
        vars(one).update(_run=run, version=run.version)
        return one


def steps_of(cls: type) -> dict[str, Step[Any, Any]]:
    found: dict[str, Step[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        for name, thing in vars(base).items():
            found.pop(name, None)
            if isinstance(thing, Step):
                if thing.name != name:
                    raise DefinitionError(
                        f"{cls.__qualname__}.{name}: a step has one name, found {thing.name!r} as well"
                    )
                found[name] = thing
    return found


def methods_of(cls: type, *, steps: bool = True) -> Iterator[Callable[..., Any]]:
    """What its author wrote; not what this package brings along."""
    for base in cls.__mro__:
        if base.__module__.startswith("sourced.workflow"):
            continue
        for thing in vars(base).values():
            method = thing.method if isinstance(thing, Step) else getattr(thing, "__func__", thing)
            if callable(method) and not isinstance(method, type) and (steps or not isinstance(thing, Step)):
                yield method


def signals_in(methods: Iterator[Callable[..., Any]]) -> Iterator[type[Payload]]:
    """The messages that the code names, and the members of the families it names."""
    for method in methods:
        for message in mentioned(method):
            if not is_family(message):
                yield message
            elif not issubclass(message, e.Journal) and message.__module__ != "sourced.messages":
                yield from members(message)
