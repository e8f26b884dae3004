"""A failure keeps what was good, makes its own stream wait in order, is counted, and never delays another stream."""

import itertools
from collections import Counter
from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest
from msgspec.structs import replace

from sourced import Append, Delivery, Event, Message, Meta, Park, Retry, RetryAt, Schedule, Send, Sourced, Sync, upcast
from sourced.actions import Actions, Failure
from sourced.errors import Invalid
from sourced.ops import run
from sourced.store import Entry
from sourced.testing.clock import START
from tests.runtime.listener import Ignored, Listener, Noted, answering, listening, streams


def failing(*texts: str):
    """Fails for messages with these texts; every other one has an effect: it is echoed to the stream `echo`."""

    def answer(delivery: Delivery) -> Actions:
        text = delivery.message.payload.text
        if text in texts:
            raise ValueError(f"cannot take {text}")
        return (Send((Message.new(Ignored(), stream=f"echo-{text}", now=delivery.now),)),)

    return answer


def handled(app: Any, *texts: str) -> list[int]:
    """How often each message's effect was stored."""
    return [len(app.history(f"echo-{text}")) for text in texts]


def test_an_error_on_the_third_message_keeps_the_first_two():
    """E96. Their effects are stored, the policy is told the third and its own exception; the next try starts there."""
    told: list[Failure] = []
    app, listener = listening(failing("3"), errors=Retry(on_retry=lambda failure, at: told.append(failure)))
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    app.drain()
    assert handled(app, "1", "2", "3") == [1, 1, 0]
    (failure,) = told
    assert (failure.group, failure.message.seq, failure.attempts) == ("listener", 3, 1)
    assert isinstance(failure.error, ValueError)
    listener.answer = failing()
    listener.forget()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts == ["3"]
    assert handled(app, "1", "2", "3") == [1, 1, 1]


def test_an_error_on_the_first_message_keeps_nothing_of_the_stream():
    """E97. All of it comes again, in order."""
    app, listener = listening(failing("1"))
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    assert handled(app, "1", "2") == [0, 0]
    listener.answer = failing()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts == ["1", "1", "2"]


def test_with_raise_errors_the_error_reaches_the_caller_and_nothing_is_acknowledged():
    """E98. Not even what had been handled before it in that round."""
    app, listener = listening(failing("2"))
    app.append("s", [Noted("1"), Noted("2")])
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot take 2"):
            app.drain(raise_errors=True)
    assert handled(app, "1") == [0]
    assert (app.groups.get(listener).stragglers, app.groups.get(listener).lag) == ((), 2)
    listener.answer = failing()
    app.drain(raise_errors=True)
    assert handled(app, "1", "2") == [1, 1]


def test_with_raise_errors_work_that_fails_in_the_transaction_reaches_the_caller_too():
    """E98. The transaction it was in is undone as a whole."""

    def work(tx: Any) -> None:
        tx.table("rows")["k"] = 1
        raise ValueError("no room")

    app, listener = listening(lambda delivery: (Sync(work),) if delivery.message.stream == "s" else failing()(delivery))
    app.append("s", [Noted("1"), Noted("2")])
    app.append("t", Noted("3"))
    with pytest.raises(ValueError, match="no room"):
        app.drain(raise_errors=True)
    assert (handled(app, "3"), dict(app.store.table("rows"))) == ([0], {})  # type: ignore[attr-defined]
    assert (app.groups.get(listener).stragglers, app.groups.get(listener).lag) == ((), 3)


def test_with_raise_errors_a_stream_that_waits_raises_its_own_error_each_time():
    """E98. The round changes nothing, so it is neither counted nor mistaken for a process that died."""
    app, listener = listening(failing("1"))
    app.append("s", Noted("1"))
    app.drain()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    before = app.groups.get(listener).stragglers
    for _ in range(3):
        with pytest.raises(ValueError, match="cannot take 1"):
            app.drain(raise_errors=True)
        assert app.groups.get(listener).stragglers == before


def test_an_interrupted_round_is_not_counted_either():
    """A person who presses Ctrl-C in the middle of a handler has not made its message fail."""
    app, listener = listening(failing("1"))
    app.append("s", Noted("1"))
    app.drain()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]

    def interrupted(delivery: Delivery) -> Actions:
        raise KeyboardInterrupt

    listener.answer = interrupted
    with pytest.raises(KeyboardInterrupt):
        app.drain()
    (row,) = app.groups.get(listener).stragglers
    assert (row.attempts, row.running, row.error) == (1, False, "ValueError: cannot take 1")
    listener.answer = failing()
    assert app.drain() == 1
    assert handled(app, "1") == [1]


def test_one_bad_stream_of_many_never_delays_the_others():
    """One drain handles everything else, those in the same shard too; the bad one is retried, and finally parked."""
    app, listener = listening(failing("bad"), errors=Retry(times=2, after=1), batch=10)
    names = [*itertools.islice(streams(), 30), *itertools.islice(streams(apart=False), 5)]
    for n in range(3):
        for name in dict.fromkeys(names):
            app.append(name, Noted("bad" if (name, n) == (names[0], 1) else f"{name}-{n}"))
    app.drain()
    others = [f"{name}-{n}" for name in dict.fromkeys(names) for n in range(3) if name != names[0]]
    assert handled(app, *others) == [1] * len(others)
    assert handled(app, f"{names[0]}-0", f"{names[0]}-2") == [1, 0]
    for _ in range(5):
        app._engine.clock.advance(10)  # type: ignore[attr-defined]
        app.drain()
    assert listener.texts.count("bad") == 3
    assert [(row.stream, row.from_seq) for row in app.parked.list()] == [(names[0], 2)]


def test_later_messages_queue_behind_a_straggler_and_are_caught_up_in_order():
    """Whatever arrives while a stream waits comes after what it waits for, then the stream is like any other."""
    app, listener = listening(failing("1"), batch=3)
    app.append("s", [Noted("0"), Noted("1"), Noted("2")])
    for n in range(3, 9):
        app.append("s", Noted(str(n)))
        app.drain()
    assert listener.texts == ["0", "1"]
    listener.answer = failing()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts[2:] == [str(n) for n in range(1, 9)]
    assert app.groups.get(listener).stragglers == ()
    app.append("s", Noted("9"))
    app.drain()
    assert handled(app, *"0123456789") == [1] * 10


def test_a_straggler_that_fails_again_further_on_keeps_what_it_caught_up_with():
    """Each message is counted on its own: the second one's first failure is its first attempt."""
    told: list[tuple[int, int]] = []
    policy = Retry(on_retry=lambda failure, at: told.append((failure.message.seq, failure.attempts)))
    app, listener = listening(failing("1", "3"), errors=policy)
    app.append("s", [Noted("1"), Noted("2"), Noted("3"), Noted("4")])
    app.drain()
    listener.answer = failing("3")
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert handled(app, *"1234") == [1, 1, 0, 0]
    assert told == [(1, 1), (3, 1)]


def test_a_stream_that_waits_for_its_turn_in_a_replay_is_not_counted():
    """Only what is handed to the handler is an attempt, however many rounds pass until there is something to hand."""
    told: list[int] = []
    first, second = itertools.islice(streams(apart=False), 2)
    policy = Retry(on_retry=lambda failure, at: told.append(failure.attempts))
    app, listener = listening(failing("bad"), errors=policy, batch=1)
    for n in range(5):
        app.append(first, Noted(str(n)))
    app.append(second, Noted("bad"))
    app.append(first, Noted("5"))
    app.drain()
    app.groups.reset(listener)
    app.drain()
    assert told == [1, 1]
    assert [row.attempts for row in app.groups.get(listener).stragglers] == [1]


@pytest.mark.parametrize("bad", [1, 2, 3, 4])
def test_a_transaction_that_fails_is_blamed_on_the_right_message_of_a_batch(bad: int):
    """Only the good prefix is stored, whichever message brought the failing work along, and it is counted from one."""
    told, handed = list[tuple[int, int]](), Counter[int]()

    def answer(delivery: Delivery) -> Actions:
        handed[delivery.message.seq] += delivery.message.stream == "s"

        def work(tx: Any) -> None:
            if (delivery.message.stream, delivery.message.seq) == ("s", bad):
                raise ValueError("no room")
            tx.table("rows")[delivery.message.stream, delivery.message.seq] = True

        return (Sync(work),)

    policy = Retry(times=1, on_retry=lambda failure, at: told.append((failure.message.seq, failure.attempts)))
    app, listener = listening(answer, errors=policy)
    app.append("s", [Noted(), Noted(), Noted(), Noted()])
    app.append("t", [Noted() for _ in range(5)])
    app.drain()
    (row,) = app.groups.get(listener).stragglers
    assert (row.from_seq, row.attempts, row.error) == (bad, 1, "ValueError: no room")
    assert told == [(bad, 1)]
    assert max(handed.values()) == 2  # together, then alone
    assert {seq for stream, seq in app.store.table("rows") if stream == "s"} == set(range(1, bad))  # type: ignore[attr-defined]
    assert {seq for stream, seq in app.store.table("rows") if stream == "t"} == {1, 2, 3, 4, 5}  # type: ignore[attr-defined]


@pytest.mark.parametrize("others", [0, 3])
def test_messages_with_one_id_are_stored_once_and_cost_nobody_else_anything(others: int):
    """A handler may choose the ids of what it sends; that one is there already is no reason to lose the rest."""

    def answer(delivery: Delivery) -> Actions:
        once = Message.new(Noted("once"), stream="t", id="the-only-one", now=delivery.now)
        own = Message.new(Noted(delivery.message.stream), stream="t", now=delivery.now)
        return (Send((once, own)),) if delivery.message.stream != "t" else ()

    app, _ = listening(answer)
    for n in range(1 + others):
        app.append(f"s{n}", Noted())
    app.drain()
    app.append("later", Noted())
    app.drain()
    texts = [m.payload.text for m in app.history("t")]
    assert sorted(texts) == sorted(["once", "later", *(f"s{n}" for n in range(1 + others))])
    assert app.groups.list()[0].stragglers == ()


def test_one_message_sent_twice_by_one_handler_is_stored_once():
    """Also when both are in one answer."""
    twice = Message.new(Noted("twice"), stream="t", now=START)
    app, _ = listening(answering(Send((twice, twice)), Send((twice,)), to="go"))
    app.append("s", Noted("go"))
    app.drain()
    assert [m.payload.text for m in app.history("t")] == ["twice"]
    assert app.groups.list()[0].stragglers == ()


def test_an_append_of_which_only_a_part_is_stored_already_fails_its_message():
    """Acknowledging it would lose the other part; an append that is there as a whole was made before, and is done."""
    old, new = Message.new(Noted("old"), stream="t", now=START), Message.new(Noted("new"), stream="t", now=START)
    app, _ = listening(errors=Park())
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
def test_a_time_without_a_zone_is_refused_where_it_is_written(make: Any):
    """Stored, it could be compared with nothing, and the whole group would come to a halt over it."""
    with pytest.raises(Invalid, match="zone"):
        make()
    app, _ = listening(lambda d: (make(),) if d.message.stream == "bad" else (), errors=Park())
    app.append("bad", Noted())
    app.append("good", Noted())
    app.drain()
    assert [row.stream for row in app.parked.list()] == ["bad"]


def test_a_policy_that_fails_or_answers_nonsense_parks_the_stream():
    """Nothing is lost and nothing loops."""

    def broken(failure: Failure) -> Any:
        if failure.message.stream == "raises":
            raise RuntimeError("policy")
        return None if failure.message.stream == "none" else RetryAt(datetime(2026, 1, 2))  # noqa: DTZ001

    app, _ = listening(failing(""), errors=broken)
    for stream in ("raises", "none", "naive"):
        app.append(stream, Noted())
    app.append("good", Noted("good"))
    app.drain()
    assert {row.stream: "error policy" in row.reason for row in app.parked.list()} == dict.fromkeys(
        ("raises", "none", "naive"), True
    )
    assert handled(app, "good") == [1]


class Brief(Event, type="test.noted"):
    """The same event in a version of the program that allows only short texts."""

    text: Annotated[str, Meta(max_length=5)]


class Strict(Listener, group="listener"):
    handles = (Brief,)  # type: ignore[assignment]


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_a_stored_payload_that_cannot_be_read_is_parked_and_nothing_crashes(batch: int):
    """What is before it is handled, what is behind it waits; once the class is mended, a retry catches up."""
    app, _ = listening()
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
    assert app.parked.retry() == 1
    app.drain()
    assert app._engine.router.group("listener").texts == ["far too long", "2"]  # type: ignore[attr-defined]


class Grown(Event, type="test.noted", version=2):
    text: str


@upcast(Grown, version=1)
def faulty(data: dict[str, Any]) -> dict[str, Any]:
    return {"text": {"a": "letter"}[data["text"]]}


def test_an_upcaster_that_fails_parks_the_stream_of_the_message():
    """Whatever it raises: code that reads is as fallible as code that handles."""
    app, _ = listening()
    app.append("bad", Noted("b"))
    app.append("good", Noted("a"))

    class Newer(Listener, group="newer"):
        handles = (Grown,)  # type: ignore[assignment]

    newer, listener = Sourced(app.store, errors=Park()), Newer()
    newer.register(listener)
    newer.drain()
    assert listener.texts == ["letter"]
    assert [(row.stream, row.error.partition(":")[0]) for row in newer.parked.list()] == [("bad", "Undecodable")]


def test_metadata_that_cannot_be_read_parks_the_stream_of_the_message():
    """Somebody's hand in the database spoils one row, not the group."""
    app, listener = listening(errors=Park())
    record = app._engine.codec.encode(Message.new(Noted("spoilt"), stream="bad"))
    with app.store.transaction() as connection:
        run(app.store.append([Entry("bad", (replace(record, metadata="{"),))]), connection)
    app.append("good", Noted("fine"))
    app.drain()
    assert listener.texts == ["fine"]
    assert [row.stream for row in app.parked.list()] == ["bad"]


def test_the_time_until_a_retry_is_kept_and_nobody_asks_in_between():
    """The attempt after a failure comes when the policy said, not earlier, however often somebody drains."""
    app, listener = listening(failing("1"), errors=Retry(after=timedelta(minutes=1)))
    app.append("s", Noted("1"))
    for seconds in (0, 30, 29):
        app._engine.clock.advance(seconds)  # type: ignore[attr-defined]
        app.drain()
        assert len(listener.seen) == 1
    app._engine.clock.advance(1)  # type: ignore[attr-defined]
    app.drain()
    assert len(listener.seen) == 2
