"""What a low-level reactor may answer, and what becomes of it: one transaction for everything, or nothing."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from sourced import (
    Ack,
    AfterCommit,
    Append,
    Delivery,
    Event,
    Message,
    Park,
    RetryAt,
    Schedule,
    Send,
    Stop,
    Sync,
    Unschedule,
)
from sourced.actions import Actions
from sourced.store import Store
from sourced.testing.clock import START
from tests.rows import table
from tests.runtime.listener import Ignored, Listener, Noted, answering, listening, streams


def message(payload: Event, stream: str) -> Message[Any]:
    return Message.new(payload, stream=stream, now=START)


def test_what_is_appended_next_follows_the_source(store: Store):
    """E88. Stored as seq 2, caused by the source, in its story and with its metadata; and the source is done."""
    app, listener = listening(
        answering(Append((Message.new(Ignored(), stream="s", metadata={"b": 2}),), 1)), store=store
    )
    (source,) = app.append("s", Noted(), metadata={"a": 1, "b": 1})
    app.drain()
    _, appended = app.history("s")
    assert (appended.seq, appended.payload) == (2, Ignored())
    assert (appended.causation_id, appended.correlation_id) == (source.id, source.correlation_id)
    assert appended.metadata == {"a": 1, "b": 2}
    assert (app.drain(), len(listener.seen)) == (0, 1)


def test_what_is_sent_goes_to_the_end_of_its_stream_whatever_that_is(store: Store):
    """Send never conflicts: the stream may have grown as much as it likes."""
    to_t = tuple(message(Noted(text), "t") for text in "ab")
    app, _ = listening(answering(Send(to_t), to="go"), store=store)
    app.append("t", [Ignored(), Ignored()])
    app.append("s", Noted("go"))
    app.drain()
    assert [m.payload for m in app.history("t", after=2)] == [Noted("a"), Noted("b")]


def test_what_is_on_the_schedule_can_be_taken_off_it():
    """By its id; one that has gone into the log already is past it."""
    app, _ = listening(answering(Unschedule(("first", "gone")), to="go"))
    for id in ("first", "second"):
        app.dispatch(Message.new(Ignored(), stream="t", id=id, now=START), after=60)
    app.append("s", Noted("go"))
    app.drain()
    assert [each.record.id for each in app.scheduled.list()] == ["second"]


def test_several_actions_for_one_message_all_happen(store: Store):
    """E91."""
    order: list[str] = []
    app, _ = listening(
        answering(
            Append((message(Ignored(), "s"),), 1),
            Send((message(Noted("sent"), "t"),)),
            Schedule((message(Noted("later"), "u"),), START + timedelta(hours=1)),
            Sync(lambda tx: order.append("sync") or table(tx, "rows").update(k=1)),  # type: ignore[func-returns-value]
            AfterCommit(lambda: order.append(f"durable: {dict(table(app.store, 'rows'))}")),
            to="go",
        ),
        store=store,
    )
    app.append("s", Noted("go"))
    app.drain()
    assert order == ["sync", "durable: {'k': 1}"]
    assert [m.payload for m in app.history("s", after=1)] == [Ignored()]
    assert [m.payload for m in app.history("t")] == [Noted("sent")]
    assert [each.at for each in app.scheduled.list()] == [START + timedelta(hours=1)]


def test_acknowledging_a_later_message_is_done_with_both(store: Store):
    """E92. The handler of the first message has dealt with the second as well: it is not delivered."""
    app, listener = listening(store=store)
    first, second, third = app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    listener.answer = answering(Ack(second), to="1")
    app.drain()
    assert listener.texts == ["1", "3"]
    assert first.seq < second.seq < third.seq


@pytest.mark.parametrize("batch", [1, 2, 3, 500])
def test_an_acknowledgement_reaches_beyond_the_batch(batch: int, store: Store):
    """E92. Also when what was acknowledged is read in a later round, and other streams of the shard lie between."""
    (mine, other), (app, listener) = streams(2, apart=False), listening(batch=batch, store=store)
    for text in ("1", "2", "x", "3", "y", "4", "5"):
        app.append(mine if text.isdigit() else other, Noted(text))
    listener.answer = answering(Ack(app.history(mine)[3]), to="1")
    app.drain()
    assert [text for text in listener.texts if text.isdigit()] == ["1", "5"]
    assert [text for text in listener.texts if text.isalpha()] == ["x", "y"]
    assert app.groups.get(listener).stragglers == ()


def test_an_acknowledgement_never_reaches_back_over_what_is_pending(store: Store):
    """E102. A handler gets its stream in order, so whoever acknowledges a message was handed all before it first."""
    app, listener = listening(store=store)
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    listener.answer = lambda delivery: (Ack(delivery.message),)
    app.drain()
    assert listener.texts == ["1", "2", "3"]


def test_acknowledging_another_stream_is_refused(store: Store):
    """E102. Its pending messages would be lost; the message whose handler asked for it is parked, the other goes on."""
    app, listener = listening(errors=Park(), store=store)
    app.append("s", Noted("1"))
    (other,) = app.append("t", [Noted("2")])
    listener.answer = answering(Ack(other), to="1")
    app.drain()
    assert listener.texts == ["1", "2"]
    (parked,) = app.parked.list()
    assert (parked.stream, parked.error) == ("s", "TypeError: Ack: expected a message of 's', found one of 't'")


def test_a_late_acknowledgement_of_an_older_message_moves_nothing_back(store: Store):
    """E103."""
    app, listener = listening(store=store)
    first, _, _ = app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    listener.answer = answering(Ack(first), to="3")
    app.drain()
    app.append("s", Noted("4"))
    app.drain()
    assert listener.texts == ["1", "2", "3", "4"]


def test_when_the_work_inside_the_transaction_raises_the_offset_does_not_move(store: Store):
    """E104. Nor is anything else stored that the handler asked for, nor its after-commit work run."""
    ran: list[str] = []

    def refuse(tx: Any) -> None:
        raise ValueError("no")

    asked = (Send((message(Ignored(), "t"),)), Sync(refuse), AfterCommit(lambda: ran.append("after")))
    app, listener = listening(answering(*asked), store=store)
    app.append("s", Noted())
    app.drain()
    assert (app.history("t"), ran) == ([], [])
    (waiting,) = app.groups.get(listener).stragglers
    assert (waiting.from_seq, waiting.attempts, waiting.error) == (1, 1, "ValueError: no")


def test_retry_at_hands_out_the_same_messages_again_in_the_same_order(store: Store):
    """E86. Nothing of the message that asked for it is done, what follows it waits behind it, and the time is kept."""
    later = START + timedelta(seconds=10)
    app, listener = listening(answering(Send((message(Ignored(), "t"),)), RetryAt(later), to="2"), store=store)
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    app.drain()
    app.drain()
    assert listener.texts == ["1", "2"]
    assert app.history("t") == []
    listener.answer = lambda delivery: ()
    app._engine.clock.advance(10)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts == ["1", "2", "2", "3"]


def test_asking_to_retry_now_does_not_spin(store: Store):
    """A drain ends although a handler always asks for the present moment; the next drain, later, asks it again."""
    app, listener = listening(answering(RetryAt(START)), store=store)
    app.append("s", Noted())
    app.drain()
    assert len(listener.seen) == 1
    app._engine.clock.advance(1)  # type: ignore[attr-defined]
    app.drain()
    assert len(listener.seen) == 2


def test_park_and_stop_are_answers_too(store: Store):
    """A parked stream waits for a person; a stopped group hands out nothing at all; both keep the reason."""
    app, listener = listening(lambda d: (Park("look at it"),) if d.message.payload.text == "bad" else (), store=store)
    app.append("s", [Noted("bad"), Noted("behind")])
    app.append("t", Noted("fine"))
    app.drain()
    assert sorted(listener.texts) == ["bad", "fine"]
    assert [(row.stream, row.from_seq, row.reason) for row in app.parked.list()] == [("s", 1, "look at it")]
    listener.answer = answering(Stop("enough"), to="stop")
    app.append("u", Noted("stop"))
    app.append("v", Noted("unheard"))
    app.drain()
    app.append("w", Noted("unheard"))
    app.drain()
    group = app.groups.get(listener).group
    assert (group.status, group.reason) == ("stopped", "enough")
    assert ("w", 1) not in listener.places


@pytest.mark.parametrize("answer", [7, "text", [None], [Noted()], {"a": 1}, [Append], True])
def test_an_answer_that_is_no_action_fails_the_message_and_nothing_else(answer: Any, store: Store):
    """The answer belongs to one message: its stream is parked with the reason, the others go on."""
    app, listener = listening(lambda d: answer if d.message.stream == "s" else (), errors=Park(), store=store)
    app.append("s", Noted())
    app.append("t", Noted())
    app.drain()
    (parked,) = app.parked.list()
    assert parked.stream == "s"
    assert parked.error.startswith("TypeError")
    assert ("t", 1) in listener.places


def test_answers_may_be_generators_and_coroutines(store: Store):
    """An answer that fails half-way leaves nothing of itself behind."""
    to_t = Send((message(Ignored(), "t"),))

    class Lazy(Listener, group="lazy"):
        def handle(self, delivery: Delivery) -> Iterator[Send]:
            yield to_t
            if delivery.message.payload.text == "bad":
                raise ValueError(delivery.message.payload.text)

    class Awaited(Listener, group="awaited"):
        async def handle(self, delivery: Delivery) -> Actions:  # type: ignore[override]
            return (Send((message(Ignored(), "u"),)),)

    app, _ = listening(errors=Park(), store=store)
    app.register(Lazy(), Awaited())
    app.append("s", [Noted("bad")])
    app.drain()
    assert (len(app.history("t")), len(app.history("u"))) == (0, 1)
    assert [row.group for row in app.parked.list()] == ["lazy"]
