"""Introducing groups: a store knows every registered group, and where it starts, before anything else is done."""

from __future__ import annotations

from typing import TypeVar

from sourced.runtime.engine import Engine
from sourced.runtime.programs import Afterwards, InTurn, Program, Transact, Work

T = TypeVar("T")


def prepared(engine: Engine, program: Program[T]) -> Program[T]:
    """Every registered group is made known to the store before anything else, so that where it starts is pinned."""
    if engine.unknown_groups():
        yield InTurn(engine.introducing, _introduction(engine))
    return (yield from program)


def _introduction(engine: Engine) -> Program[None]:
    """Of many who come at once the first one does it; for the others there is nothing left to do."""
    if unknown := engine.unknown_groups():
        groups = yield Transact(engine.store.groups(), reading=True)  # most are there, and nobody waits for who reads
        there = {group.name for group in groups}
        for name, start_from in unknown:
            if name not in there:
                yield Transact(engine.store.register(name, start_from))
            yield Afterwards([_started(engine, name)])


def introduced(engine: Engine) -> Program[None]:
    """What there is to make known beside a transaction of the caller's, so that no group waits for its end.

    Where only one transaction writes at a time, the rest is done in his, and again until it is found to have been
    committed.
    """
    if engine.unknown_groups():
        groups = yield Transact(engine.store.groups(), reading=True)
        engine.started.update(group.name for group in groups)
    if engine.store.capabilities.concurrent:
        yield from prepared(engine, nothing())


def _started(engine: Engine, group: str) -> Work:
    engine.started.add(group)
    yield from ()


def nothing() -> Program[None]:
    """What there is to do for one who only wants the groups to be known."""
    yield from ()
