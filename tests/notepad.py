"""An actor that does, in each of its methods, what a test asks of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sourced import Actor, Batch, Command, Event, Rejection, after_commit, decide, evolve, react, sync
from tests.rows import table


class Note(Command):
    text: str


class Noted(Event):
    text: str


class Echo(Command):
    text: str


class Refused(Rejection):
    """It is refused."""


@dataclass
class Pad:
    id: str
    texts: list[str] = field(default_factory=list)


class Notes(Actor[Pad]):
    """Each method calls what a test has put there, with the text at hand; `calls` tells which hooks ran with what."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Any]]] = []
        self.on_decide: Callable[[str], object] = nothing
        self.on_evolve: Callable[[str], object] = nothing
        self.on_sync: Callable[[str], object] = nothing
        self.on_commit: Callable[[str], object] = nothing

    @decide
    def note(self, pad: Pad, command: Note):
        yield Noted(command.text)
        self.on_decide(command.text)

    @evolve
    def noted(self, pad: Pad, event: Noted) -> None:
        pad.texts.append(event.text)
        self.on_evolve(event.text)

    @react
    def echo(self, pad: Pad, event: Noted):
        yield Echo(event.text)

    @decide
    def echoed(self, pad: Pad, command: Echo) -> None:
        """Nothing follows."""

    @sync
    def save(self, pad: Pad, batch: Batch, tx: Any) -> Any:
        self.calls.append(("sync", [m.payload for m in (*batch.commands, *batch.events)]))
        table(tx, "pads")[batch.stream] = tuple(pad.texts)
        return self.on_sync(pad.texts[-1])

    @after_commit
    def told(self, pad: Pad, batch: Batch) -> Any:
        self.calls.append(("after_commit", [m.payload for m in batch.events]))
        return self.on_commit(pad.texts[-1])


def nothing(text: str) -> None:
    """What a method does when no test asks for more."""


def failing(error: BaseException, at: str | None = None) -> Callable[[str], None]:
    """Raises, at one text or at every one."""

    def fail(text: str) -> None:
        if at in (None, text):
            raise error

    return fail
