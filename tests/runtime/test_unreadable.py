"""A stored message that cannot be read is parked like one that cannot be handled; nothing crashes over it."""

from typing import Annotated, Any

import pytest
from msgspec.structs import replace

from sourced import Event, Message, Meta, Park, Sourced, upcast
from sourced.ops import run
from sourced.store import Entry, Store
from tests.runtime.listener import Listener, Noted, failing, listening


class Brief(Event, type="test.noted"):
    """The same event in a version of the program that allows only short texts."""

    text: Annotated[str, Meta(max_length=5)]


class Strict(Listener, group="listener"):
    handles = (Brief,)  # type: ignore[assignment]


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_a_stored_payload_that_cannot_be_read_is_parked_and_nothing_crashes(batch: int, store: Store):
    """What is before it is handled, what is behind it waits; once the class is mended, a retry catches up."""
    app, _ = listening(store=store)
    app.append("s", [Noted("1"), Noted("far too long"), Noted("2")])
    app.append("t", [Noted("3"), Noted("4")])
    app.groups.stop("listener")
    strict, listener = Sourced(app.store, errors=Park(), batch=batch), Strict(failing())
    strict.register(listener)
    strict.groups.start(listener)
    strict.drain()
    assert sorted(listener.texts) == ["1", "3", "4"]
    (parked,) = strict.parked.list()
    assert (parked.stream, parked.from_seq, parked.error.partition(":")[0]) == ("s", 2, "Undecodable")
    assert len(app.parked.retry().streams) == 1
    app.drain()
    assert app._engine.router.group("listener").texts == ["far too long", "2"]  # type: ignore[attr-defined]


class Grown(Event, type="test.noted", version=2):
    text: str


@upcast(Grown, version=1)
def faulty(data: dict[str, Any]) -> dict[str, Any]:
    return {"text": {"a": "letter"}[data["text"]]}


def test_an_upcaster_that_fails_parks_the_stream_of_the_message(store: Store):
    """Whatever it raises: code that reads is as fallible as code that handles."""
    app, _ = listening(store=store)
    app.append("bad", Noted("b"))
    app.append("good", Noted("a"))

    class Newer(Listener, group="newer"):
        handles = (Grown,)  # type: ignore[assignment]

    newer, listener = Sourced(app.store, errors=Park()), Newer()
    newer.register(listener)
    newer.drain()
    assert listener.texts == ["letter"]
    assert [(row.stream, row.error.partition(":")[0]) for row in newer.parked.list()] == [("bad", "Undecodable")]


def test_metadata_that_cannot_be_read_parks_the_stream_of_the_message(store: Store):
    """Somebody's hand in the database spoils one row, not the group."""
    app, listener = listening(errors=Park(), store=store)
    record = app._engine.codec.encode(Message.new(Noted("spoilt"), stream="bad"))
    with app.store.transaction() as connection:
        run(app.store.append([Entry("bad", (replace(record, metadata="{"),))]), connection)
    app.append("good", Noted("fine"))
    app.drain()
    assert listener.texts == ["fine"]
    assert [row.stream for row in app.parked.list()] == ["bad"]
