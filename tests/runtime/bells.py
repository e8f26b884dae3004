"""What the tests of async handlers share: bells whose reactions, projections and sync blocks await."""

import asyncio
from typing import Any

import pytest

from sourced import (
    Actor,
    AsyncCommands,
    Batch,
    Command,
    Event,
    Events,
    Park,
    Projector,
    Sourced,
    decide,
    evolve,
    react,
    sync,
)
from sourced.testing import VirtualClock
from tests.rows import get, put, table


class Ring(Command, type="bell.ring"):
    n: int


class Rung(Event, type="bell.rung"):
    n: int


class Answer(Command, type="bell.answer"):
    total: int


class Bell(Actor[list[int]], group="bell"):
    """Its reaction awaits, and tells what it saw when it began and when it ended."""

    def initial(self, stream: str) -> list[int]:
        return []

    @decide
    def ring(self, rung: list[int], command: Ring) -> Events[list[int]]:
        yield Rung(command.n)

    @evolve
    def rang(self, rung: list[int], event: Rung) -> None:
        rung.append(event.n)

    @react
    async def answer(self, rung: list[int], event: Rung) -> AsyncCommands:
        before = sum(rung)
        await asyncio.sleep(0)
        assert sum(rung) == before
        yield Answer(before)
        await asyncio.sleep(0)

    @decide
    def answered(self, rung: list[int], command: Answer) -> None: ...


class Rings(Projector[dict[str, int]], group="rings"):
    """Its reaction and its sync block are async."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"n": 0}

    def load(self, key: str, tx: Any) -> Any:
        return get(tx, "rings", key)

    @evolve
    def rang(self, row: dict[str, int], event: Rung) -> None:
        row["n"] += event.n

    @react
    async def answer(self, row: dict[str, int], event: Rung) -> AsyncCommands:
        await asyncio.sleep(0)
        if event.n == 13:
            raise ValueError("unlucky")
        yield Answer(row["n"])

    @sync
    async def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        await asyncio.sleep(0)
        if row["n"] >= 666:
            raise ValueError("damned")
        if (written := put(tx, "rings", batch.stream, dict(row))) is not None:
            await written


def bells(**options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), "errors": Park(), **options})
    app.register(Bell, Rings)
    return app


def drained(app: Sourced, how: str) -> int:
    return app.drain() if how == "blocking" else asyncio.run(app.aio.drain())


def rings(app: Sourced) -> dict[str, int]:
    return {key: row["n"] for key, row in table(app.store, "rings").items()}


both_sides = pytest.mark.parametrize("how", ["blocking", "awaiting"])
