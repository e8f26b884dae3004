"""A party to be reminded of: the least that there can be to schedule."""

from dataclasses import dataclass, field
from typing import Any

from sourced import Actor, Command, Event, Message, Sourced, decide, dispatch, evolve, react
from sourced.handlers import Commands, Events
from sourced.testing import VirtualClock


class Invite(Command, type="party.invite"):
    name: str


class Invited(Event, type="party.invited"):
    name: str


class Remind(Command, type="party.remind"):
    name: str


class Reminded(Event, type="party.reminded"):
    name: str


@dataclass
class Guests:
    id: str
    names: list[str] = field(default_factory=list)
    reminded: list[str] = field(default_factory=list)


class Party(Actor[Guests], group="party"):
    @decide
    def invite(self, guests: Guests, command: Invite) -> Events[Guests]:
        yield Invited(command.name)

    @decide
    def remind(self, guests: Guests, command: Remind) -> Events[Guests]:
        yield Reminded(command.name)

    @evolve
    def invited(self, guests: Guests, event: Invited) -> None:
        guests.names.append(event.name)

    @evolve
    def reminded(self, guests: Guests, event: Reminded) -> None:
        guests.reminded.append(event.name)

    @react
    def later(self, guests: Guests, event: Invited) -> Commands:
        yield dispatch(Remind(event.name), after=10, metadata={"own": 1})


def names(messages: list[Message[Any]]) -> list[str]:
    return [m.payload.name for m in messages]


def party(store: Any, clock: VirtualClock) -> Sourced:
    app = Sourced(store, clock=clock)
    app.register(Party)
    return app
