"""What was said stays as it was said, whatever deciders, states and read models do with the lists inside it."""

from typing import Any

import msgspec
import pytest

from sourced import Actor, Batch, Command, Event, Message, Projector, Sourced, decide, evolve, react, sync
from sourced.errors import DefinitionError


class Line(msgspec.Struct):
    product: str
    tags: list[str]


class Fill(Command, type="box.fill"):
    lines: list[Line]


class Filled(Event, type="box.filled"):
    lines: list[Line]


class Tagged(Event, type="box.tagged"):
    tag: str


class Report(Command, type="box.report"):
    tags: list[str]


Box = dict[str, Any]


class Boxes(Actor[Box]):
    """Keeps the very lists it is handed, and changes them: states are allowed to."""

    def initial(self, stream: str) -> Box:
        return {}

    @decide
    def fill(self, box: Box, command: Fill):
        lines = command.lines
        yield Filled(lines)
        yield Tagged("new")
        lines.append(Line("free sample", []))
        yield Filled(lines)

    @decide
    def report(self, box: Box, command: Report): ...

    @evolve
    def filled(self, box: Box, event: Filled):
        box["lines"] = event.lines

    @evolve
    def tagged(self, box: Box, event: Message[Tagged]):
        box["lines"][0].tags.append(event.payload.tag)


SAID = [
    Fill([Line("tea", [])]),
    Filled([Line("tea", [])]),
    Tagged("new"),
    Filled([Line("tea", []), Line("free sample", [])]),
]


def boxes(*more):
    app = Sourced()
    app.register(Boxes, *more)
    return app


@pytest.mark.parametrize("how", ["loaded", "routed", "queued", "in memory"])
def test_events_are_stored_as_they_were_when_they_were_yielded(how):
    """However the command comes: its caller's object, the log and the state agree with what is read again."""
    app, command = boxes(), Fill([Line("tea", [])])
    if how == "in memory":
        decision = Boxes.blank("b1").decide(command)
        app.append("b1", [decision.command, *decision.events])
    elif how == "loaded":
        app.load(Boxes, "b1").execute(command)
    elif how == "routed":
        app.execute(command, to="b1")
    else:
        app.dispatch(command, to="b1")
        app.drain(raise_errors=True)
    assert command == SAID[0]
    assert [m.payload for m in app.history("b1")] == SAID
    assert app.load(Boxes, "b1").state == {"lines": [Line("tea", []), Line("free sample", [])]}


def test_a_command_that_is_decided_anew_after_a_conflict_is_the_same_command():
    app = boxes()
    box = app.load(Boxes, "b1")
    app.append("b1", Filled([]))
    box.execute(Fill([Line("tea", [])]))
    assert [m.payload for m in app.history("b1")][1:] == SAID
    assert box.state == app.load(Boxes, "b1").state


def test_sync_and_reactions_see_what_was_said_and_not_what_became_of_it():
    class Shelf(Projector[Box]):
        def initial(self, stream: str) -> Box:
            return {}

        @evolve
        def filled(self, box: Box, event: Filled):
            box["lines"] = event.lines

        @evolve
        def tagged(self, box: Box, event: Tagged):
            box["lines"][0].tags.append(event.tag)

        @react
        def report(self, box: Box, event: Filled):
            yield Report([tag for line in event.lines for tag in line.tags])

        @sync
        def save(self, box: Box, batch: Batch, tx: Any):
            batches.append([m.payload for m in batch.events])

    batches: list[Any] = []
    app = boxes(Shelf)
    app.execute(Fill([Line("tea", [])]), to="b1")
    app.drain(raise_errors=True)
    assert batches == [SAID[1:]]
    assert [m.payload for m in app.read_all(types=[Report])] == [Report([]), Report([])]


def test_the_good_prefix_of_a_failed_batch_is_folded_again_from_what_was_said():
    """After a failure a row is brought back to the last good message; nothing is in it twice."""

    class Shelf(Projector[Box]):
        def initial(self, stream: str) -> Box:
            return {}

        def load(self, key: str, tx: Any) -> Box | None:
            return None

        @evolve
        def filled(self, box: Box, event: Filled):
            if len(event.lines) > 1:
                raise RuntimeError("too many")
            box["lines"] = event.lines

        @evolve
        def tagged(self, box: Box, event: Tagged):
            box["lines"][0].tags.append(event.tag)

        @sync
        def save(self, box: Box, batch: Batch, tx: Any):
            tx.table("shelf")[batch.stream] = [line.tags for line in box["lines"]]

    app = boxes(Shelf)
    app.execute(Fill([Line("tea", [])]), to="b1")
    app.drain()
    store: Any = app.store
    assert dict(store.table("shelf")) == {"b1": [["new"]]}


def test_a_message_class_cannot_be_made_mutable():
    with pytest.raises(DefinitionError, match=r"Loose: messages are immutable"):

        class Loose(Event, frozen=False):  # type: ignore[misc]
            tag: str
