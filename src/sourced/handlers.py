"""Turns annotated methods into tables when their class is created; a wrong declaration is refused right there."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from inspect import Parameter, isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from typing import Any, TypeAlias, TypeVar

from sourced.actions import Batch
from sourced.annotations import message_of, names_around
from sourced.envelope import Message, Outgoing
from sourced.errors import DefinitionError
from sourced.messages import Command, Event, Payload, is_family, members

S = TypeVar("S")
A = TypeVar("A")
C = TypeVar("C", bound=Command | Message[Command])
M = TypeVar("M", bound=Payload | Message[Payload])
F = TypeVar("F", bound=Callable[..., Any])

Events: TypeAlias = Generator[Event, S, None]
"""What a decider returns: it yields events and is sent the state with each of them applied."""

Commands: TypeAlias = Generator[Command | Outgoing[Command], None, None]
"""What a reaction returns: commands to its own stream, and `dispatch(…)` for anywhere else."""

AsyncCommands: TypeAlias = AsyncGenerator[Command | Outgoing[Command], None]

Decided = TypeVar("Decided", Generator[Event, Any, None], None)
Sent = TypeVar("Sent", Commands, AsyncCommands, Awaitable[None], None)
Syncs = TypeVar("Syncs", bound=Callable[[Any, Any, Batch, Any], Any])
Follows = TypeVar("Follows", bound=Callable[[Any, Any, Batch], Any])


def decide(method: Callable[[A, S, C], Decided]) -> Callable[[A, S, C], Decided]:
    """`(self, state, command)`: yields the events that follow; raises a `Rejection` to refuse."""
    return _mark("decide", method)


def evolve(method: Callable[[A, S, M], S | None]) -> Callable[[A, S, M], S | None]:
    """`(self, state, event)`: changes the state in place, or returns the next one."""
    return _mark("evolve", method)


def react(method: Callable[[A, S, M], Sent]) -> Callable[[A, S, M], Sent]:
    """`(self, state as of this event, event)`: yields the commands that follow; may be `async def`."""
    return _mark("react", method)


def sync(method: Syncs) -> Syncs:
    """`(self, state, batch, tx)`: runs in the transaction that stores the batch; when it fails, nothing is stored."""
    return _mark("sync", method)


def after_commit(method: Follows) -> Follows:
    """`(self, state, batch)`: runs once the batch is durable, at most once."""
    return _mark("after_commit", method)


def _mark(role: str, method: F) -> F:
    if isinstance(method, type) or not (callable(method) or hasattr(method, "__func__")):  # @decide(AddItem)
        raise DefinitionError(
            f"@{role} takes no arguments, found {getattr(method, '__qualname__', repr(method))}; write @{role} alone: "
            f"the method is registered by the annotation of its last parameter"
        )
    body = sys._getframe(2).f_locals  # of the class, as far as it has come
    earlier = body.get(getattr(method, "__name__", ""))
    if earlier is not method and _role(earlier):
        raise DefinitionError(f"{method.__qualname__}: two handlers have this name, so one would be lost; rename it")
    method.__sourced_role__ = role  # type: ignore[attr-defined]
    return method


_SHAPES = {
    "decide": ("self", "state", "command"),
    "evolve": ("self", "state", "event"),
    "react": ("self", "state", "event"),
    "sync": ("self", "state", "batch", "tx"),
    "after_commit": ("self", "state", "batch"),
}


@dataclass(frozen=True, slots=True)
class Handler:
    """One method and the messages it is registered for."""

    name: str
    messages: tuple[type[Payload], ...]
    envelope: bool  # it asked for the whole Message[…]

    def call(self, owner: object, state: Any, message: Message[Any]) -> Any:
        return getattr(owner, self.name)(state, message if self.envelope else message.payload)


@dataclass(slots=True)
class Tables:
    """What a class declares, message by message."""

    decide: dict[type[Payload], Handler] = field(default_factory=dict)
    evolve: dict[type[Payload], Handler] = field(default_factory=dict)
    react: dict[type[Payload], Handler] = field(default_factory=dict)
    wildcards: dict[type[Payload], Handler] = field(default_factory=dict)  # family → reaction
    families: dict[type[Payload], Handler] = field(default_factory=dict)  # family → what its other messages evolve by
    sync: list[str] = field(default_factory=list)
    after_commit: list[str] = field(default_factory=list)

    def reactions(self) -> dict[type[Payload], Handler]:
        """Every reaction by message: a wildcard covers each evolved message of its family that has none of its own."""
        covered = {
            message: handler
            for family, handler in sorted(self.wildcards.items(), key=lambda item: len(item[0].__mro__))
            for message in self.evolve
            if issubclass(message, family)
        }
        return covered | self.react

    def spread(self) -> None:
        """A family evolves by a method, but for its messages that have one of their own, or that are decided here."""
        covered = {
            message: handler
            for family, handler in sorted(self.families.items(), key=lambda item: len(item[0].__mro__))
            for message in members(family)
            if message not in self.decide
        }
        self.evolve = covered | self.evolve

    def left_out(self) -> Iterator[type[Payload]]:
        """Messages of these families that were made after the class was."""
        for family in self.families:
            yield from (each for each in members(family) if each not in self.evolve and each not in self.decide)


def collect(cls: type, roles: tuple[str, ...]) -> Tables:
    """The tables of a class: what its bases and mixins declare, with what its own body declares put on top."""
    tables = Tables()
    names = names_around()
    for base in reversed(cls.__mro__):
        _declare(tables, base, roles, names)
    tables.spread()
    for answered, table in (("reacted to", tables.react), ("evolved by", tables.evolve)):
        for both in tables.decide.keys() & table.keys():
            raise DefinitionError(
                f"{cls.__qualname__}: {both.__qualname__} is both decided ({tables.decide[both].name}) and {answered} "
                f"({table[both].name}); a message has one of the two"
            )
    return tables


def _declare(tables: Tables, cls: type, roles: tuple[str, ...], names: dict[str, Any]) -> None:
    """Puts what the body of one class declares on top of what is there."""
    own: dict[tuple[str, type], str] = {}
    for name, method in vars(cls).items():
        role = _role(method) or _role(getattr(method, "__func__", None))  # the latter to refuse a marked classmethod
        if role is None:
            continue
        where = f"{cls.__qualname__}.{name}"
        if role not in roles:
            raise DefinitionError(f"{where}: there are no @{role} methods here; there are {_listed(roles)}")
        last = _check_shape(where, role, method)
        if role in ("sync", "after_commit"):
            methods: list[str] = getattr(tables, role)
            methods.extend([] if name in methods else [name])
            continue
        _forget(tables, name)
        if not hasattr(method, "__sourced_messages__"):  # resolved once, where its names are at hand
            method.__sourced_messages__ = message_of(where, cls, method, last, names)
        messages, envelope = method.__sourced_messages__
        handler = Handler(name, messages, envelope)
        for message in messages:
            earlier = own.setdefault((role, message), where)
            if earlier != where:
                raise DefinitionError(
                    f"{where}: {message.__qualname__} is handled by {earlier} already; keep one @{role}"
                )
            _table(where, role, message, tables)[message] = handler


def _role(method: Any) -> Any:
    return getattr(method, "__sourced_role__", None)


def _table(where: str, role: str, message: type[Payload], tables: Tables) -> dict[type[Payload], Handler]:
    if role == "react" and is_family(message):
        return tables.wildcards
    if role == "evolve" and is_family(message) and message not in (Payload, Command, Event):
        if not any(members(message)):
            raise DefinitionError(f"{where}: {message.__qualname__} has no messages yet; make them before this class")
        return tables.families
    if is_family(message):
        why = {"evolve": "everybody's: name a family of your own, or A | B"}
        its = why.get(role, f"a family of messages: @{role} names each, or A | B")
        raise DefinitionError(f"{where}: {message.__qualname__} is {its}")
    if role == "decide" and not issubclass(message, Command):
        raise DefinitionError(
            f"{where}: expected a command, found {message.__qualname__}; @evolve and @react take events"
        )
    table: dict[type[Payload], Handler] = getattr(tables, role)
    return table


def _forget(tables: Tables, name: str) -> None:
    """A subclass that defines a method anew takes it out of the tables it inherited."""
    for table in (tables.decide, tables.evolve, tables.react, tables.wildcards, tables.families):
        for message in [m for m, handler in table.items() if handler.name == name]:
            del table[message]


def _check_shape(where: str, role: str, method: Any) -> Parameter:
    expected = _SHAPES[role]
    if isinstance(method, classmethod | staticmethod):
        raise DefinitionError(f"{where}: @{role} is for plain methods, found a {type(method).__name__}")
    parameters = list(signature(method).parameters.values())
    fits = all(p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for p in parameters)
    if not fits or len(parameters) != len(expected):
        found = ", ".join(str(p).partition(":")[0] for p in parameters)
        raise DefinitionError(f"{where}: @{role} takes ({', '.join(expected)}), found ({found})")
    if role in ("decide", "evolve") and (iscoroutinefunction(method) or isasyncgenfunction(method)):
        raise DefinitionError(f"{where}: @{role} is pure, so it cannot be async; do the waiting in a reaction")
    if role not in ("decide", "react") and (isgeneratorfunction(method) or isasyncgenfunction(method)):
        raise DefinitionError(f"{where}: expected no `yield` in it; only @decide and @react methods yield")
    return parameters[-1]


def _listed(roles: tuple[str, ...]) -> str:
    return ", ".join(f"@{role}" for role in roles)
