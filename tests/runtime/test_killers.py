"""A handler that kills its process is not fed for ever, and takes nobody along."""

import pytest

from sourced import Delivery, Retry
from sourced.actions import Actions
from sourced.store import Store
from sourced.testing import Crash
from tests.runtime.killers import LEASE, killed_by, restarting
from tests.runtime.listener import Noted, failing, handled, listening, streams


@pytest.mark.parametrize("batch", [1, 3, 500])
@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_handler_that_kills_its_process_is_attempted_a_bounded_number_of_times(batch: int, place: int, store: Store):
    """Its stream is parked, what is behind it waits, and every other message is handled exactly once."""
    told: list[int] = []
    policy = Retry(times=2, after=1, on_retry=lambda failure, at: told.append(failure.attempts))
    app, listener = listening(killed_by("deadly"), errors=policy, batch=batch, store=store)
    others: list[str] = []
    for n, stream in enumerate(streams(4, apart=False)):
        for m in range(1, 6):
            deadly = (n, m) == (1, place)
            app.append(stream, Noted("deadly" if deadly else f"{n}-{m}"))
            others += [] if deadly or (n == 1 and m > place) else [f"{n}-{m}"]
    deaths = restarting(app)
    assert listener.texts.count("deadly") == deaths <= 4  # once in a batch, then the attempts that were counted
    assert told == [1, 2]
    assert {text: len(app.history(f"echo-{text}")) for text in others} == dict.fromkeys(others, 1)
    (parked,) = app.parked.list()
    assert (parked.from_seq, parked.error.partition(":")[0]) == (place, "Died")
    assert parked.attempts >= 3


@pytest.mark.parametrize("batch", [1, 4, 500])
def test_a_killer_takes_nobody_along_in_any_shard(batch: int, store: Store):
    """Streams that were merely in the same round are neither parked nor counted, nor are those waiting for a retry."""
    app, listener = listening(killed_by("deadly"), errors=Retry(times=1, after=1), batch=batch, store=store)
    names = streams(8)
    for name in names:
        app.append(name, [Noted(f"{name}-{n}") for n in range(3)])
    app.append(names[3], [Noted("deadly"), Noted("behind")])
    deaths = restarting(app)
    assert listener.texts.count("deadly") == deaths <= 3
    assert [(row.stream, row.from_seq) for row in app.parked.list()] == [(names[3], 4)]
    assert {len(app.history(f"echo-{name}-{n}")) for name in names for n in range(3)} == {1}


def test_what_killed_and_was_mended_is_handled_after_a_retry_with_all_that_waited_behind_it(store: Store):
    app, listener = listening(killed_by("2"), errors=Retry(times=0), store=store)
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    restarting(app)
    assert [row.from_seq for row in app.parked.list()] == [2]
    listener.answer = killed_by()
    app.parked.retry()
    app.append("s", Noted("4"))
    restarting(app)
    assert [len(app.history(f"echo-{n}")) for n in range(1, 5)] == [1, 1, 1, 1]
    assert app.groups.get(listener).stragglers == ()


def test_what_killed_can_be_skipped_although_its_shard_is_still_handled_with_care(store: Store):
    """The stream goes on behind it, and drains end with nothing left to do."""
    app, listener = listening(killed_by("2"), errors=Retry(times=0), store=store)
    first, second = streams(2, apart=False)
    app.append(first, [Noted("1"), Noted("2")])
    app.append(second, [Noted("a"), Noted("b")])
    restarting(app)
    app.parked.skip(listener, first, reason="it kills")
    app.append(first, Noted("3"))
    app.drain()
    assert [len(app.history(f"echo-{text}")) for text in ("1", "2", "3", "a", "b")] == [1, 0, 1, 1, 1]
    assert (app.groups.get(listener).lag, app.groups.get(listener).stragglers) == (0, ())


def test_whoever_asks_for_errors_gets_to_see_what_kills(store: Store):
    """E98. With raise_errors the message is tried again, not judged by what became of the process before."""
    app, listener = listening(killed_by("1"), store=store)
    app.append("s", Noted("1"))
    for _ in range(4):
        with pytest.raises(Crash):
            app.drain(raise_errors=True)
        app._engine.clock.advance(LEASE)  # type: ignore[attr-defined]
    listener.answer = killed_by()
    assert app.drain(raise_errors=True) == 1
    assert app.groups.get(listener).stragglers == ()


def test_care_lasts_for_the_batch_that_died_and_then_batches_are_batches_again(store: Store):
    app, listener = listening(killed_by("1"), batch=3, store=store)
    app.append("s", [Noted(str(n)) for n in range(9)])
    with pytest.raises(Crash):
        app.drain()
    listener.answer = killed_by()
    app._engine.clock.advance(LEASE)  # type: ignore[attr-defined]
    assert [app.drain(limit=1) for _ in range(6)] == [1, 1, 1, 3, 3, 0]
    assert [len(app.history(f"echo-{n}")) for n in range(9)] == [1] * 9


def test_two_killers_in_one_shard_do_not_hide_behind_each_other(store: Store):
    app, _ = listening(killed_by("x", "y"), errors=Retry(times=1, after=1), store=store)
    first, second, third = streams(3, apart=False)
    for stream, text in ((first, "x"), (second, "y"), (third, "1"), (first, "2"), (third, "3")):
        app.append(stream, Noted(text))
    restarting(app)
    assert sorted(row.stream for row in app.parked.list()) == sorted([first, second])
    assert [len(app.history(f"echo-{text}")) for text in ("1", "2", "3")] == [1, 0, 1]


def test_of_many_messages_that_waited_the_one_that_kills_is_blamed(store: Store):
    """They were in hand together when the process died, so each is tried by itself until it is found."""
    app, listener = listening(failing("1"), errors=Retry(times=1, after=1), store=store)
    app.append("s", [Noted(str(n)) for n in range(1, 13)])
    app.drain()
    listener.answer = killed_by("8")
    assert restarting(app) == 3  # with the others in hand, and twice alone
    assert [(row.from_seq, row.attempts) for row in app.parked.list()] == [(8, 2)]
    listener.answer = killed_by()
    app.parked.retry()
    assert restarting(app) == 0
    assert handled(app, *map(str, range(1, 13))) == [1] * 12
    assert app.groups.get(listener).stragglers == ()


def test_a_crash_during_a_replay_of_many_streams_of_a_shard_comes_to_an_end(store: Store):
    """Careful mode and replays together: every stream of the shard is replayed to its end, whoever died on the way."""
    app, listener = listening(batch=4, store=store)
    names = streams(3, apart=False)
    for n in range(12):
        app.append(names[n % 3], Noted(str(n)))
    app.drain()
    app.groups.reset(listener)
    listener.forget()
    fatal = ["5"]

    def once(delivery: Delivery) -> Actions:
        if delivery.message.payload.text in fatal:
            raise Crash(fatal.pop())
        return ()

    listener.answer = once
    assert restarting(app) == 1
    assert set(listener.texts) == {str(n) for n in range(12)}
    assert all(listener.replays)
    info = app.groups.get(listener)
    assert (info.lag, info.stragglers) == (0, ())
