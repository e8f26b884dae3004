"""A workflow that books a holiday, and the travel agency it works with, which remembers everything it was asked."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sourced import Event, Exponential, Rejection, Sourced, Workflow, step
from sourced.store import Store
from sourced.testing import VirtualClock


class TripApproved(Event):
    by: str


class TripDeclined(Event):
    by: str


@dataclass
class Trip:
    to: str
    persons: int = 1


@dataclass
class Ticket:
    number: str


class FullyBooked(Rejection):
    """There is no room left."""


class LineDown(Exception):
    """The agency could not be reached."""


@dataclass
class Agency:
    """The world outside: what fails how often, and what it was asked."""

    failing: dict[str, list[Exception]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ask(self, what: str, key: str = "") -> str:
        self.asked.append(what)
        if self.failing.get(what):
            raise self.failing[what].pop(0)
        return f"{what} {len(self.asked)}"

    def fails(self, what: str, *errors: Exception) -> None:
        self.failing[what] = list(errors)


class BookHoliday(Workflow):
    """Two bookings, an hour to think, an approval."""

    def __init__(self, agency: Agency) -> None:
        self.agency = agency

    async def run(self, trip: Trip) -> str:
        async with self.undoing() as undo:
            flight = await self.book_flight(trip)
            undo(self.cancel_flight, flight)
            hotel = await self.book_hotel(trip)
            undo(self.cancel_hotel, hotel)
            await self.sleep(timedelta(hours=1))
            approval = await self.wait_for(TripApproved, timeout=timedelta(days=2))
        return f"{flight.number} and {hotel.number} for {approval.by}"

    @step(retries=2, backoff=Exponential(1.0))
    async def book_flight(self, trip: Trip) -> Ticket:
        return Ticket(self.agency.ask(f"flight to {trip.to}"))

    @step(retries=1, backoff=Exponential(1.0))
    def book_hotel(self, trip: Trip) -> Ticket:
        return Ticket(self.agency.ask(f"hotel in {trip.to}"))

    @step
    async def cancel_flight(self, ticket: Ticket) -> None:
        self.agency.ask(f"cancel {ticket.number}")

    @step
    def cancel_hotel(self, ticket: Ticket) -> None:
        self.agency.ask(f"cancel {ticket.number}")


class Sum(Workflow):
    """Nothing but steps."""

    def __init__(self, agency: Agency) -> None:
        self.agency = agency

    async def run(self, *numbers: int) -> int:
        return sum([await self.double(number) for number in numbers])

    @step
    def double(self, number: int) -> int:
        self.agency.ask(f"double {number}")
        return number * 2


def working(store: Store | str, *workflows: Workflow, **options: Any) -> Sourced:
    """An app with these workflows, as one process has it."""
    app = Sourced(store, **{"clock": VirtualClock(), **options})
    app.register(*workflows)
    return app


def restarted(app: Sourced, *workflows: Workflow) -> Sourced:
    """The same in another process: nothing but the store is what it was."""
    return working(app.store, *workflows, clock=app._engine.clock)


def later(app: Sourced, by: timedelta | float) -> None:
    """Some time passes, and all that is due then is worked on."""
    clock: Any = app._engine.clock
    clock.advance(by)
    app.drain()


def trail(app: Sourced, run: str) -> list[str]:
    """What happened to a run, by short names; a step with its own."""
    told = []
    for message in app.history(run):
        name = message.type.rpartition(".")[2]
        key = getattr(message.payload, "key", "")
        told.append(f"{name} {key.partition(':')[0]}" if key else name)
    return told
