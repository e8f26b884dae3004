"""Workflows are typed from end to end: steps, waits, runs and their results."""

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

from sourced import AsyncRun, Event, Exponential, Run, Sourced, Workflow, step
from sourced.testing import given


class Approved(Event):
    by: str


class Declined(Event):
    why: str


@dataclass
class Trip:
    to: str


@dataclass
class Ticket:
    number: str


class Inner(Workflow):
    async def run(self, number: int, *, twice: bool = False) -> int:
        return number * (2 if twice else 1)


class Book(Workflow):
    async def run(self, trip: Trip, persons: int = 1) -> Ticket:
        ticket = await self.book(trip)
        assert_type(ticket, Ticket)
        assert_type(await self.count(trip, persons=2), int)
        assert_type(await self.gather(self.book(trip), self.count(trip)), tuple[Ticket, int])
        assert_type(await self.gather(*(self.count(trip) for _ in range(9))), tuple[int, ...])
        approved = await self.wait_for(Approved, timeout=timedelta(days=1))
        assert_type(approved.by, str)
        either = await self.wait_for(Approved, Declined)
        assert_type(either, Approved | Declined)
        assert_type(await self.call(Inner, 1, twice=True), int)
        child = await self.start(Inner, 1)
        assert_type(await child.result(), int)
        async with self.undoing() as undo:
            undo(self.cancel, ticket)
        return ticket

    @step
    async def book(self, trip: Trip) -> Ticket:
        return Ticket(trip.to)

    @step(retries=3, backoff=Exponential(1.0), timeout=30)
    def count(self, trip: Trip, persons: int = 1) -> int:
        return persons

    @step(retries=3)
    async def cancel(self, ticket: Ticket) -> None: ...


app = Sourced()
app.register(Book, Inner)

run = app.start(Book, Trip("Rome"), persons=2)
assert_type(run, Run[Ticket])


def result() -> None:
    assert_type(run.result(timeout=30), Ticket)
    assert_type(app.start(Book.named("42"), Trip("Rome")).result(), Ticket)


async def awaited() -> None:
    other = await app.aio.start(Book, Trip("Rome"))
    assert_type(other, AsyncRun[Ticket])
    assert_type(await other.result(), Ticket)


given(Book).when_started(Trip("Rome")).then_waits_for(Approved)
