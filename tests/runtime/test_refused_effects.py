"""What a handler asked for and cannot have fails its own message: the right one, and nobody loses anything else."""

from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from sourced import Append, Delivery, Message, Park, Retry, RetryAt, Schedule, Send, Sync
from sourced.actions import Actions, Failure
from sourced.errors import Invalid
from sourced.store import Store
from sourced.testing.clock import START
from tests.rows import table
from tests.runtime.listener import Noted, answering, failing, handled, listening


@pytest.mark.parametrize("bad", [1, 2, 3, 4])
def test_a_transaction_that_fails_is_blamed_on_the_right_message_of_a_batch(bad: int, store: Store):
    """Only the good prefix is stored, whichever message brought the failing work along, and it is counted from one."""
    told, handed = list[tuple[int, int]](), Counter[int]()

    def answer(delivery: Delivery) -> Actions:
        handed[delivery.message.seq] += delivery.message.stream == "s"

        def work(tx: Any) -> None:
            if (delivery.message.stream, delivery.message.seq) == ("s", bad):
                raise ValueError("no room")
            table(tx, "rows")[delivery.message.stream, delivery.message.seq] = True

        return (Sync(work),)

    policy = Retry(times=1, on_retry=lambda failure, at: told.append((failure.message.seq, failure.attempts)))
    app, listener = listening(answer, errors=policy, store=store)
    app.append("s", [Noted(), Noted(), Noted(), Noted()])
    app.append("t", [Noted() for _ in range(5)])
    app.drain()
    (row,) = app.groups.get(listener).stragglers
    assert (row.from_seq, row.attempts, row.error) == (bad, 1, "ValueError: no room")
    assert told == [(bad, 1)]
    assert max(handed.values()) == 2  # together, then alone
    assert {seq for stream, seq in table(app.store, "rows") if stream == "s"} == set(range(1, bad))
    assert {seq for stream, seq in table(app.store, "rows") if stream == "t"} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("others", [0, 3])
def test_messages_with_one_id_are_stored_once_and_cost_nobody_else_anything(others: int, store: Store):
    """A handler may choose the ids of what it sends; that one is there already is no reason to lose the rest."""

    def answer(delivery: Delivery) -> Actions:
        once = Message.new(Noted("once"), stream="t", id="the-only-one", now=delivery.now)
        own = Message.new(Noted(delivery.message.stream), stream="t", now=delivery.now)
        return (Send((once, own)),) if delivery.message.stream != "t" else ()

    app, _ = listening(answer, store=store)
    for n in range(1 + others):
        app.append(f"s{n}", Noted())
    app.drain()
    app.append("later", Noted())
    app.drain()
    texts = [m.payload.text for m in app.history("t")]
    assert sorted(texts) == sorted(["once", "later", *(f"s{n}" for n in range(1 + others))])
    assert app.groups.list()[0].stragglers == ()


def test_one_message_sent_twice_by_one_handler_is_stored_once(store: Store):
    """Also when both are in one answer."""
    twice = Message.new(Noted("twice"), stream="t", now=START)
    app, _ = listening(answering(Send((twice, twice)), Send((twice,)), to="go"), store=store)
    app.append("s", Noted("go"))
    app.drain()
    assert [m.payload.text for m in app.history("t")] == ["twice"]
    assert app.groups.list()[0].stragglers == ()


def test_an_append_of_which_only_a_part_is_stored_already_fails_its_message(store: Store):
    """Acknowledging it would lose the other part; an append that is there as a whole was made before, and is done."""
    old, new = Message.new(Noted("old"), stream="t", now=START), Message.new(Noted("new"), stream="t", now=START)
    app, _ = listening(errors=Park(), store=store)
    app.append("t", old)
    app.drain()
    listener = app._engine.router.group("listener")
    listener.answer = lambda d: (Append((old, new) if d.message.stream == "part" else (old,), 1),)  # type: ignore[attr-defined]
    app.append("part", Noted())
    app.append("whole", Noted())
    app.drain()
    assert [(row.stream, row.error.partition(":")[0]) for row in app.parked.list()] == [("part", "Duplicate")]
    assert [m.payload.text for m in app.history("t")] == ["old"]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: RetryAt(datetime(2026, 1, 2)), id="retry"),  # noqa: DTZ001
        pytest.param(lambda: Schedule((), datetime(2026, 1, 2)), id="schedule"),  # noqa: DTZ001
        pytest.param(lambda: RetryAt(None), id="none"),  # type: ignore[arg-type]
    ],
)
def test_a_time_without_a_zone_is_refused_where_it_is_written(make: Any, store: Store):
    """Stored, it could be compared with nothing, and the whole group would come to a halt over it."""
    with pytest.raises(Invalid, match="zone"):
        make()
    app, _ = listening(lambda d: (make(),) if d.message.stream == "bad" else (), errors=Park(), store=store)
    app.append("bad", Noted())
    app.append("good", Noted())
    app.drain()
    assert [row.stream for row in app.parked.list()] == ["bad"]


def test_a_policy_that_fails_or_answers_nonsense_parks_the_stream(store: Store):
    """Nothing is lost and nothing loops."""

    def broken(failure: Failure) -> Any:
        if failure.message.stream == "raises":
            raise RuntimeError("policy")
        return None if failure.message.stream == "none" else RetryAt(datetime(2026, 1, 2))  # noqa: DTZ001

    app, _ = listening(failing(""), errors=broken, store=store)
    for stream in ("raises", "none", "naive"):
        app.append(stream, Noted())
    app.append("good", Noted("good"))
    app.drain()
    assert {row.stream: "error policy" in row.reason for row in app.parked.list()} == dict.fromkeys(
        ("raises", "none", "naive"), True
    )
    assert handled(app, "good") == [1]
