"""Whose transaction a program's steps are carried out in: their own, one that is open already, or the caller's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from time import monotonic
from typing import Any, NamedTuple

from sourced.errors import Deadlocked
from sourced.ops import AsyncConnection, Connection, Op, run, run_async, savepoint
from sourced.runtime.programs import Commit, Taken, Transact, Transacting, TransactingAsync
from sourced.store import Store

TRIES = 5  # of what the database takes back
GRACE = 5.0  # seconds that a cancelled task waits for what it is about to take


class Borrowed(NamedTuple):
    """A connection that the caller owns, and whose transaction he ends; and where he says that he will store."""

    connection: object
    streams: frozenset[str] = frozenset()


def transacting(store: Store) -> Transacting:
    """Every step in a transaction of its own."""

    def transact(step: Transact | Commit) -> Any:
        if isinstance(step, Commit):
            return store.commit(step.entries)
        for op, last in _tries(step):
            try:
                return store.transact(op, reading=step.reading)
            except Deadlocked:
                if last:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    return transact


def transacting_async(store: Store) -> TransactingAsync:
    async def transact(step: Transact | Commit) -> Any:
        if isinstance(step, Commit):
            return await store.commit_async(step.entries)
        for op, last in _tries(step):
            work = store.transact_async(op, reading=step.reading)
            try:
                return await (_taking(work) if step.taking else work)
            except Deadlocked:
                if last:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    return transact


def _tries(step: Transact) -> Iterator[tuple[Op[Any], bool]]:
    """The op, and once more as often as the database takes it back; with whether it is the last time."""
    yield step.op, step.anew is None
    if step.anew is not None:
        for left in reversed(range(TRIES - 1)):
            yield step.anew(), not left


async def _taking(work: Coroutine[Any, Any, Any]) -> Any:
    """To its end, also for a task that is cancelled, and were it again and again."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as error:
        cancelled, until = error, monotonic() + GRACE
    while not task.done() and monotonic() < until:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=GRACE)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and task.exception() is None:
        raise Taken(task.result(), cancelled)
    raise cancelled


def joining(store: Store, connection: Connection) -> Transacting:
    """Every step in the one transaction that is already open; one that fails is undone, and the transaction goes on."""
    return lambda step: run(savepoint(_op(store, step)), connection)


def joining_async(store: Store, connection: AsyncConnection) -> TransactingAsync:
    return lambda step: run_async(savepoint(_op(store, step)), connection)


def borrowing(store: Store, borrowed: Borrowed) -> Transacting:
    """Every step in the transaction that the caller has open; one that fails is undone, and his transaction goes on."""

    def transact(step: Transact | Commit) -> Any:
        reading = isinstance(step, Transact) and step.reading
        op = _op(store, step) if reading else _in_place(store, borrowed, step)
        return run(savepoint(op), store.joined(borrowed.connection, reading=reading))

    return transact


def borrowing_async(store: Store, borrowed: Borrowed) -> TransactingAsync:
    async def transact(step: Transact | Commit) -> Any:
        reading = isinstance(step, Transact) and step.reading
        op = _op(store, step) if reading else _in_place(store, borrowed, step)
        return await run_async(savepoint(op), await store.joined_async(borrowed.connection, reading=reading))

    return transact


def _in_place(store: Store, borrowed: Borrowed, step: Transact | Commit) -> Op[Any]:
    """Each time: whether this transaction has the places already is known to the database alone."""
    if borrowed.streams:
        yield from store.reserve(borrowed.streams)
    return (yield from _op(store, step))


def _op(store: Store, step: Transact | Commit) -> Op[Any]:
    return step.op if isinstance(step, Transact) else store.append(step.entries)
