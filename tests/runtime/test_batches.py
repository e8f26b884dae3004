"""Reactors that take all that a stream got at once: one answer for it, and the one to blame is found all the same."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any

import pytest

from sourced import Ack, DefinitionError, Delivery, Event, Message, Meta, Park, Reactor, RetryAt, Send, Sourced, Sync
from sourced.actions import Actions
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from tests.runtime.listener import Ignored, Noted, streams

Answer = Callable[[Sequence[Delivery]], Actions]


class Bulk(Reactor, group="bulk"):
    handles = (Noted,)

    def __init__(self, answer: Answer = lambda deliveries: ()) -> None:
        self.answer = answer
        self.seen: list[list[str]] = []

    def handle_batch(self, deliveries: Sequence[Delivery]) -> Actions:
        self.seen.append([each.message.payload.text for each in deliveries])
        return self.answer(deliveries)


class Awaited(Bulk, group="awaited"):
    async def handle_batch(self, deliveries: Sequence[Delivery]) -> Actions:  # type: ignore[override]
        return super().handle_batch(deliveries)


def batching(bulk: Bulk, **options: Any) -> Sourced:
    app = Sourced(clock=VirtualClock(), errors=Park(), **options)
    app.register(bulk)
    return app


@pytest.mark.parametrize("kind", [Bulk, Awaited])
def test_a_streams_messages_come_at_once_and_only_those_it_handles(kind: type[Bulk]):
    """E83. At most a batch of them, in order; other streams come by themselves."""
    bulk = kind()
    app = batching(bulk, batch=3)
    app.append("s", [Noted("1"), Ignored(), *(Noted(text) for text in "2345")])
    app.drain()
    app.append("t", Noted("x"))
    app.drain()
    assert bulk.seen == [["1", "2", "3"], ["4", "5"], ["x"]]


def test_one_answer_for_all_of_it():
    def sum_up(deliveries: Sequence[Delivery]) -> Actions:
        texts = "".join(each.message.payload.text for each in deliveries)
        reply = deliveries[0].message.follow(Ignored(), stream="t", now=deliveries[0].now)
        return [Send((reply, Message.new(Ignored(), stream="t"))), Sync(lambda tx: tx.table("rows").update(all=texts))]

    app = batching(Bulk(sum_up))
    first, _, last = app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    app.drain()
    assert dict(app.store.table("rows")) == {"all": "123"}  # type: ignore[attr-defined]
    assert [m.causation_id for m in app.history("t")] == [first.id, last.id]  # whoever does not say: the last one


def test_what_fails_at_once_is_tried_one_by_one_until_the_one_to_blame_is_found():
    """E96, E97 for batches. The good ones before it are done, once; it is parked, and what follows waits behind it."""

    def refuse(deliveries: Sequence[Delivery]) -> Actions:
        if any(each.message.payload.text == "bad" for each in deliveries):
            raise ValueError("no")
        return [
            Send(
                tuple(each.message.follow(Ignored(), stream=f"echo-{each.message.payload.text}") for each in deliveries)
            )
        ]

    mine, other = streams(2, apart=False)
    bulk = Bulk(refuse)
    app = batching(bulk)
    app.append(mine, [Noted("1"), Noted("2"), Noted("bad"), Noted("3")])
    app.append(other, [Noted("x"), Noted("y")])
    app.drain()
    assert bulk.seen[0] == ["1", "2", "bad", "3"]
    assert bulk.seen[2:] == [["1"], ["2"], ["bad"]]
    assert [len(app.history(f"echo-{text}")) for text in ("1", "2", "3", "x", "y")] == [1, 1, 0, 1, 1]
    (parked,) = app.parked.list()
    assert (parked.stream, parked.from_seq, parked.error) == (mine, 3, "ValueError: no")
    bulk.answer = lambda deliveries: ()
    app.parked.retry()
    app.drain()
    assert [text for texts in bulk.seen[5:] for text in texts] == ["bad", "3"]


def test_a_verdict_is_about_the_whole_batch():
    """E86."""
    app = batching(bulk := Bulk(lambda deliveries: [RetryAt(START + timedelta(seconds=10))]))
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    app.drain()
    bulk.answer = lambda deliveries: None
    app._engine.clock.advance(10)  # type: ignore[attr-defined]
    app.drain()
    assert bulk.seen == [["1", "2"], ["1", "2"]]


def test_it_may_acknowledge_what_it_has_not_been_handed_yet():
    """E92."""
    app = batching(bulk := Bulk(), batch=2)
    messages = app.append("s", [Noted("1"), Noted("2"), Noted("3"), Noted("4")])
    bulk.answer = lambda deliveries: [Ack(messages[2])] if deliveries[0].message.seq == 1 else []
    app.drain()
    assert bulk.seen == [["1", "2"], ["4"]]


def test_replays_are_told_message_by_message():
    """F108."""
    seen: list[list[bool]] = []
    app = batching(Bulk(lambda deliveries: seen.append([each.replaying for each in deliveries])))
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    app.groups.reset("bulk")
    app.append("s", Noted("3"))
    app.drain()
    assert seen == [[False, False], [True, True, False]]


class Brief(Event, type="test.noted"):
    """The same event in a version of the program that allows only short texts."""

    text: Annotated[str, Meta(max_length=5)]


class Strict(Bulk, group="bulk"):
    handles = (Brief,)  # type: ignore[assignment]


def test_what_cannot_be_read_is_parked_and_what_was_before_it_is_handled():
    app = batching(Bulk())
    app.append("s", [Noted("1"), Noted("2"), Noted("far too long"), Noted("3")])
    strict, bulk = Sourced(app.store, errors=Park()), Strict()
    strict.register(bulk)
    strict.drain()
    assert bulk.seen == [["1", "2"]]
    assert [(row.from_seq, row.error.partition(":")[0]) for row in strict.parked.list()] == [(3, "Undecodable")]


def test_with_raise_errors_the_error_itself_comes():
    """E98."""

    def refuse(deliveries: Sequence[Delivery]) -> Actions:
        raise ValueError("no")

    app = batching(Bulk(refuse))
    app.append("s", [Noted("1"), Noted("2")])
    with pytest.raises(ValueError, match="no"):
        app.drain(raise_errors=True)
    assert app.groups.get("bulk").stragglers == ()


def test_a_reactor_without_either_method_says_what_is_missing():
    class Bare(Reactor):
        handles = (Noted,)

    app = Sourced(errors=Park())
    with pytest.raises(DefinitionError, match="expected a method handle"):
        app.register(Bare)


def test_a_reactor_names_each_message():
    class Notes(Event, namespace="notes"): ...

    class Wide(Bulk, group="wide"):
        handles = (Notes,)  # type: ignore[assignment]

    with pytest.raises(DefinitionError, match=r"handles the family .*Notes; name each"):
        Sourced().register(Wide())
