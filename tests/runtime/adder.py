"""An actor whose reactions write what they saw into the log, so that two runs of it can be compared."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from sourced import (
    Actor,
    Batch,
    Command,
    Commands,
    Event,
    Events,
    Message,
    Meta,
    Rejected,
    Rejection,
    Sourced,
    decide,
    dispatch,
    evolve,
    react,
    sync,
)
from sourced.testing import VirtualClock
from tests.rows import table


class Add(Command, type="memo.add"):
    amount: int


class AddTwice(Command, type="memo.add_twice"):
    """Adds its amount twice, and regrets it when the sum has become too much: after it has yielded."""

    amount: int


class Nothing(Command, type="memo.nothing"): ...


class Fail(Command, type="memo.fail"):
    """Adds one, and then fails."""


class Echo(Command, type="memo.echo"):
    """What the reaction asks for: it carries the sum the reaction saw."""

    total: int


class Added(Event, type="memo.added"):
    amount: Annotated[int, Meta(lt=1000)]


class Echoed(Event, type="memo.echoed"):
    seen: int
    total: int


class TooMuch(Rejection):
    """The sum would be too much."""


@dataclass
class Sum:
    id: str
    total: int = 0
    amounts: list[int] = field(default_factory=list)


class Adder(Actor[Sum], group="memo.adder"):
    """Every reaction lags behind the decisions: what it saw goes into the log, where two runs can be compared."""

    limit = 100

    @decide
    def add(self, state: Sum, command: Add) -> Events[Sum]:
        if state.total + command.amount > self.limit:
            raise TooMuch(state.total)
        yield Added(command.amount)

    @decide
    def add_twice(self, state: Sum, command: AddTwice) -> Events[Sum]:
        for _ in range(2):
            state = yield Added(command.amount)
            if state.total > self.limit:
                raise TooMuch(state.total)

    @decide
    def nothing(self, state: Sum, command: Nothing): ...

    @decide
    def fail(self, state: Sum, command: Fail) -> Events[Sum]:
        yield Added(1)
        raise ValueError("failed after it had yielded")

    @decide
    def echo(self, state: Sum, command: Echo) -> Events[Sum]:
        yield Echoed(command.total, state.total)

    @evolve
    def added(self, state: Sum, event: Added) -> None:
        state.total += event.amount
        state.amounts.append(event.amount)

    @react
    def on_added(self, state: Sum, event: Added) -> Commands:
        yield Echo(state.total)
        yield dispatch(Echo(state.total), to=f"{state.id}-mirror")

    @sync
    def save(self, state: Sum, batch: Batch, tx: Any) -> None:
        rows = table(tx, "sums")
        assert all(isinstance(each, Message) for each in (*batch.commands, *batch.events))
        rows[state.id] = (state.total, tuple(state.amounts))


def adder(**options: Any) -> Sourced:
    app = Sourced(clock=VirtualClock(), **options)
    app.register(Adder)
    return app


def told(app: Sourced) -> dict[str, list[Any]]:
    """Per stream what was stored, leaving out identities."""
    streams = [state.stream for state in app.streams(None)]
    return {stream: [_plain(app, message) for message in app.history(stream)] for stream in sorted(streams)}


def _plain(app: Sourced, message: Message[Any]) -> Any:
    payload = message.payload
    return ("rejected", payload.reason, payload.details) if isinstance(payload, Rejected) else payload


def seen_by_reactions(app: Sourced, stream: str) -> None:
    """Each reaction saw the sum as of its own event, whatever had been decided by then."""
    total, expected = 0, []
    for message in app.history(stream):
        if isinstance(message.payload, Added):
            total += message.payload.amount
            expected.append(total)
    echoes = [m.payload.total for m in app.history(stream) if isinstance(m.payload, Echo)]
    mirrored = [m.payload.total for m in app.history(f"{stream}-mirror") if isinstance(m.payload, Echo)]
    assert echoes == mirrored == expected
