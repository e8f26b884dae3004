"""Which messages a piece of code makes, or waits for: as it is annotated, or else as its source says."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import signature, unwrap
from types import FunctionType, ModuleType
from typing import Any, get_args

from sourced.annotations import closed_over, mentioned, resolved
from sourced.errors import DefinitionError
from sourced.messages import Payload, is_family, is_payload_class, parse


def made_by(function: Callable[..., Any], owner: object = None) -> list[type[Payload]]:
    """The messages that a function makes: those its return annotation names, or those its code calls."""
    return declared(function) or list(dict.fromkeys(Reader(function, owner).made()))


def awaited_by(function: Callable[..., Any], owner: object = None) -> list[type[Payload]]:
    """The messages that the code of a workflow waits for."""
    return list(dict.fromkeys(Reader(function, owner).awaited()))


def declared(function: Callable[..., Any]) -> list[type[Payload]]:
    """The message classes in the return annotation; families say nothing, they are in `Commands` and `Events` too."""
    plain = unwrap(getattr(function, "__func__", function))
    try:
        annotation = resolved("", plain, signature(plain).return_annotation, {})
    except (DefinitionError, ValueError, TypeError):
        return []
    return [message for message in dict.fromkeys(_within(annotation)) if not is_family(message)]


def _within(annotation: Any) -> Iterator[type[Payload]]:
    if is_payload_class(annotation):
        yield annotation
    for each in get_args(annotation):
        yield from _within(each)


class Reader:
    """Goes through a function's source, and through what it calls of its own class and module."""

    def __init__(self, function: Callable[..., Any], owner: object, seen: set[Any] | None = None) -> None:
        self.function: Any = unwrap(getattr(function, "__func__", function))
        self.owner = owner if isinstance(owner, type) or owner is None else type(owner)
        self.seen = set() if seen is None else seen
        self.seen.add(self.function)
        self.tree = parsed(self.function)
        self.names = self._names()

    def made(self) -> Iterator[type[Payload]]:
        if self.tree is None:  # typed at a prompt, perhaps: what it names is the best guess
            yield from (message for message in mentioned(self.function) if not is_family(message))
            return
        for call in self._calls():
            for target in self._things(call.func):
                if is_payload_class(target) and not is_family(target):
                    yield target
                elif target is parse:
                    yield from (each for arg in call.args[:1] for each in self._things(arg) if is_payload_class(each))
                elif isinstance(target, FunctionType) and self._is_ours(target):
                    yield from Reader(target, self.owner, self.seen).made()

    def awaited(self) -> Iterator[type[Payload]]:
        for call in self._calls() if self.tree is not None else ():
            if isinstance(call.func, ast.Attribute) and call.func.attr == "wait_for":
                yield from (each for arg in call.args for each in self._things(arg) if is_payload_class(each))
            for target in self._things(call.func):
                if isinstance(target, FunctionType) and self._is_ours(target):
                    yield from Reader(target, self.owner, self.seen).awaited()

    def _calls(self) -> Iterator[ast.Call]:
        """In the order of the source; what is only compared with is not made for anybody."""
        assert self.tree is not None
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Call):
                yield node
            if not isinstance(node, ast.Compare):
                waiting += reversed(list(ast.iter_child_nodes(node)))

    def _is_ours(self, function: FunctionType) -> bool:
        """Written beside it, so part of what it does; libraries are not looked into."""
        plain = unwrap(function)
        return plain not in self.seen and plain.__module__ == self.function.__module__

    def _things(self, node: ast.AST) -> Iterator[Any]:
        """What an expression may stand for, without running any of it."""
        if isinstance(node, ast.IfExp):
            yield from (*self._things(node.body), *self._things(node.orelse))
        elif isinstance(node, ast.Name):
            yield from self.names.get(node.id, ())
        elif isinstance(node, ast.Subscript):
            yield from self._things(node.value)
        elif isinstance(node, ast.Attribute):
            for thing in self._things(node.value):
                if isinstance(thing, ModuleType | type):
                    found = inspect.getattr_static(thing, node.attr, None)
                    yield getattr(found, "__func__", getattr(found, "method", found))

    def _names(self) -> Mapping[str, Iterable[Any]]:
        found: dict[str, list[Any]] = {name: [thing] for name, thing in self._outside().items()}
        self.names = found
        if self.tree is None:
            return found
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                module = sys.modules.get(node.module or "")
                found |= {alias.asname or alias.name: [getattr(module, alias.name, None)] for alias in node.names}
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    things = list(self._things(node.value))
                    if isinstance(target, ast.Name) and things:
                        found[target.id] = [*found.get(target.id, ()), *things]
        return found

    def _outside(self) -> dict[str, Any]:
        function = self.function
        if not isinstance(function, FunctionType):
            return {}
        arguments = function.__code__.co_varnames[:1]
        first = {arguments[0]: self.owner} if self.owner is not None and arguments else {}
        return {**function.__globals__, **closed_over(function), **first}


def parsed(function: Any) -> ast.AST | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    name = function.__code__.co_name if hasattr(function, "__code__") else "<lambda>"
    own = name == "<lambda>" or any(getattr(node, "name", None) == name for node in ast.walk(tree))
    return tree if own else None  # `python -c` since 3.13 answers with its own source for what was typed at it
