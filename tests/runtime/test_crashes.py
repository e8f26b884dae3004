"""Processes die, pause and come back: messages are handled once all the same, and a killer is not fed for ever."""

from collections.abc import Callable
from typing import Any

import pytest

from sourced import AfterCommit, Delivery, Message, Reactor, Retry, Send, Sourced
from sourced.actions import Actions
from sourced.ops import run
from sourced.runtime.rounds import Round
from sourced.store import Store
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash, CrashingStore, VirtualClock, crash_everywhere, steal_leases
from sourced.testing.shop import AddItem, Cart, Close, Sales, Stock
from tests.runtime.listener import Ignored, Listener, Noted, listening, streams

LEASE = 30


def killed_by(*texts: str) -> Callable[[Delivery], Actions]:
    """The process dies in the middle of messages with these texts; every other message is echoed to `echo-…`."""

    def answer(delivery: Delivery) -> Actions:
        text = delivery.message.payload.text
        if text in texts:
            raise Crash(text)
        return (Send((Message.new(Ignored(), stream=f"echo-{text}", now=delivery.now),)),)

    return answer


def restarting(app: Sourced, times: int = 1_000) -> int:
    """Drains like a supervised worker: when its process dies, a new one starts. How often it died."""
    clock: Any = app._engine.clock
    deaths = 0
    for _ in range(times):
        try:
            if not app.drain() and not any(info.lag or waiting(info) for info in app.groups.list()):
                return deaths
        except Crash:
            deaths += 1
        clock.advance(LEASE + 1)
    raise AssertionError(f"not done after {times} starts: {app.groups.list()}")


def waiting(info: Any) -> bool:
    return any(not row.parked for row in info.stragglers)


@pytest.mark.parametrize("batch", [1, 3, 500])
@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_handler_that_kills_its_process_is_attempted_a_bounded_number_of_times(batch: int, place: int):
    """Its stream is parked, what is behind it waits, and every other message is handled exactly once."""
    told: list[int] = []
    policy = Retry(times=2, after=1, on_retry=lambda failure, at: told.append(failure.attempts))
    app, listener = listening(killed_by("deadly"), errors=policy, batch=batch)
    others: list[str] = []
    for n, stream in enumerate(name for name, _ in zip(streams(apart=False), range(4), strict=False)):
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
def test_a_killer_takes_nobody_along_in_any_shard(batch: int):
    """Streams that were merely in the same round are neither parked nor counted, nor are those waiting for a retry."""
    app, listener = listening(killed_by("deadly"), errors=Retry(times=1, after=1), batch=batch)
    names = [name for name, _ in zip(streams(), range(8), strict=False)]
    for name in names:
        app.append(name, [Noted(f"{name}-{n}") for n in range(3)])
    app.append(names[3], [Noted("deadly"), Noted("behind")])
    deaths = restarting(app)
    assert listener.texts.count("deadly") == deaths <= 3
    assert [(row.stream, row.from_seq) for row in app.parked.list()] == [(names[3], 4)]
    assert {len(app.history(f"echo-{name}-{n}")) for name in names for n in range(3)} == {1}


def test_what_killed_and_was_mended_is_handled_after_a_retry_with_all_that_waited_behind_it():
    app, listener = listening(killed_by("2"), errors=Retry(times=0))
    app.append("s", [Noted("1"), Noted("2"), Noted("3")])
    restarting(app)
    assert [row.from_seq for row in app.parked.list()] == [2]
    listener.answer = killed_by()
    app.parked.retry()
    app.append("s", Noted("4"))
    restarting(app)
    assert [len(app.history(f"echo-{n}")) for n in range(1, 5)] == [1, 1, 1, 1]
    assert app.groups.get(listener).stragglers == ()


def test_what_killed_can_be_skipped_although_its_shard_is_still_handled_with_care():
    """The stream goes on behind it, and drains end with nothing left to do."""
    app, listener = listening(killed_by("2"), errors=Retry(times=0))
    first, second = (name for name, _ in zip(streams(apart=False), range(2), strict=False))
    app.append(first, [Noted("1"), Noted("2")])
    app.append(second, [Noted("a"), Noted("b")])
    restarting(app)
    app.parked.skip(listener, first, reason="it kills")
    app.append(first, Noted("3"))
    app.drain()
    assert [len(app.history(f"echo-{text}")) for text in ("1", "2", "3", "a", "b")] == [1, 0, 1, 1, 1]
    assert (app.groups.get(listener).lag, app.groups.get(listener).stragglers) == (0, ())


def test_whoever_asks_for_errors_gets_to_see_what_kills():
    """E98. With raise_errors the message is tried again, not judged by what became of the process before."""
    app, listener = listening(killed_by("1"))
    app.append("s", Noted("1"))
    for _ in range(4):
        with pytest.raises(Crash):
            app.drain(raise_errors=True)
        app._engine.clock.advance(LEASE)  # type: ignore[attr-defined]
    listener.answer = killed_by()
    assert app.drain(raise_errors=True) == 1
    assert app.groups.get(listener).stragglers == ()


def test_care_lasts_for_the_batch_that_died_and_then_batches_are_batches_again():
    app, listener = listening(killed_by("1"), batch=3)
    app.append("s", [Noted(str(n)) for n in range(9)])
    with pytest.raises(Crash):
        app.drain()
    listener.answer = killed_by()
    app._engine.clock.advance(LEASE)  # type: ignore[attr-defined]
    assert [app.drain(limit=1) for _ in range(6)] == [1, 1, 1, 3, 3, 0]
    assert [len(app.history(f"echo-{n}")) for n in range(9)] == [1] * 9


def test_two_killers_in_one_shard_do_not_hide_behind_each_other():
    app, _ = listening(killed_by("x", "y"), errors=Retry(times=1, after=1))
    first, second, third = (name for name, _ in zip(streams(apart=False), range(3), strict=False))
    for stream, text in ((first, "x"), (second, "y"), (third, "1"), (first, "2"), (third, "3")):
        app.append(stream, Noted(text))
    restarting(app)
    assert sorted(row.stream for row in app.parked.list()) == sorted([first, second])
    assert [len(app.history(f"echo-{text}")) for text in ("1", "2", "3")] == [1, 0, 1]


def test_a_crash_during_a_replay_of_many_streams_of_a_shard_comes_to_an_end():
    """Careful mode and replays together: every stream of the shard is replayed to its end, whoever died on the way."""
    app, listener = listening(batch=4)
    names = [name for name, _ in zip(streams(apart=False), range(3), strict=False)]
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


def test_a_stolen_lease_is_fenced_and_changes_nothing():
    """A worker that was paused beyond its lease stores nothing of its round, and runs no after-commit work."""
    clock, store = VirtualClock(), MemoryStore()

    def paused(delivery: Delivery) -> Actions:
        steal_leases(store, "listener", clock.now())
        return killed_by()(delivery)

    app, listener = listening(paused, store=store, clock=clock)
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    assert listener.texts == ["1", "2"]
    assert [len(app.history(f"echo-{n}")) for n in (1, 2)] == [0, 0]
    assert app.groups.get(listener).lag == 2
    listener.answer = killed_by()
    clock.advance(2 * 86_400)  # the thief never comes back either
    app.drain()
    assert [len(app.history(f"echo-{n}")) for n in (1, 2)] == [1, 1]


def test_a_round_that_is_late_for_one_shard_only_changes_nothing_at_all():
    """A transaction is one thing: the shards it still holds are not half of it. They are free again at once."""
    clock, store = VirtualClock(), MemoryStore()
    app, listener = listening(store=store, clock=clock)
    one, other = (name for name, _ in zip(streams(), range(2), strict=False))

    def late(delivery: Delivery) -> Actions:
        if delivery.message.stream == one and len(listener.places) <= 2:
            thief = Sourced(store, clock=clock)
            thief.register(Listener())
            clock.advance(LEASE + 1)
            claim = store.claim("listener", "thief", now=clock.now(), until=clock.advance(0), limit=1)
            with store.transaction() as connection:
                run(claim, connection)
        return killed_by()(delivery)

    listener.answer = late
    app.append(one, Noted("1"))
    app.append(other, Noted("2"))
    assert app.drain() == 2
    assert [len(app.history(f"echo-{n}")) for n in (1, 2)] == [1, 1]
    assert len(listener.places) == 4


def test_a_lease_lasts_until_its_time_is_up_and_not_a_moment_longer():
    """Who dies holding a lease keeps its messages from the others for as long as the lease lasts."""
    app, listener = listening(killed_by("1"))
    app.append("s", Noted("1"))
    with pytest.raises(Crash):
        app.drain()
    listener.answer = killed_by()
    clock: Any = app._engine.clock
    clock.advance(LEASE - 1)
    assert app.drain() == 0
    clock.advance(1)
    assert app.drain() == 1


def test_an_owner_that_comes_back_after_its_lease_expired_is_not_disturbed_if_nobody_took_it():
    """Only somebody else's claim makes a round late; slowness by itself loses no work."""
    app, listener = listening()

    def slow(delivery: Delivery) -> Actions:
        app._engine.clock.advance(10 * LEASE)  # type: ignore[attr-defined]
        return killed_by()(delivery)

    listener.answer = slow
    app.append("s", [Noted("1"), Noted("2")])
    assert app.drain() == 2
    assert len(listener.places) == 2


def shop(store: Store, **options: Any) -> Sourced:
    app = Sourced(store, **{"clock": VirtualClock(), **options})
    app.register(Cart, Stock, Sales)
    return app


def test_a_process_that_dies_at_any_statement_loses_nothing_and_repeats_nothing():
    """Every statement of a whole cascade: commands, events, reactions in other streams, and a projection."""

    def orders(store: Store) -> None:
        app = shop(store)
        for n in range(2):
            app.dispatch(AddItem("p", n + 1), to=f"c{n}")
        app.dispatch(Close(), to="c0")
        app.drain()

    def healed(store: Store) -> None:
        app = shop(store, clock=VirtualClock())
        app._engine.clock.advance(LEASE + 1)  # type: ignore[attr-defined]
        app.drain()
        added = [m for m in app.read_all() if isinstance(m.payload, AddItem)]
        total = sum(m.payload.quantity for m in added)
        assert app.load(Stock, "stock-p").state.reserved == total
        assert sum(row["items"] for row in store.table("sales").values()) == total  # type: ignore[attr-defined]
        assert [info.lag for info in app.groups.list()] == [0, 0, 0]
        assert all(info.stragglers == () for info in app.groups.list())
        for stream in (state.stream for state in app.streams(None)):
            assert [m.seq for m in app.history(stream)] == list(range(1, len(app.history(stream)) + 1))

    assert crash_everywhere(MemoryStore, orders, healed) > 40


def test_a_process_that_dies_again_and_again_gets_there_in_the_end():
    """Every process does a few statements more than the one before; what they add up to is one clean run."""
    store, clock = MemoryStore(), VirtualClock()
    patient = Retry(times=1_000, after=0)  # it is not the messages' fault
    app = shop(store, clock=clock, errors=patient)
    for n in range(4):
        app.dispatch(AddItem("p", n + 1), to=f"c{n}")
    for statements in range(1, 60):
        clock.advance(LEASE + 1)
        try:
            shop(CrashingStore(store, statements), clock=clock, errors=patient, batch=2).drain()
        except Crash:
            continue
    assert restarting(app) == 0
    assert app.parked.list() == []
    assert app.load(Stock, "stock-p").state.reserved == 10
    assert sum(row["items"] for row in store.table("sales").values()) == 10


def test_a_crash_after_the_commit_repeats_nothing():
    """What was committed is done: only the after-commit work, which runs at most once, is lost with the process."""
    app = Sourced(clock=VirtualClock())
    hooks: list[str] = []

    class Hooked(Reactor):
        handles = (Noted,)

        def handle(self, delivery: Delivery) -> Actions:
            def hook() -> None:
                hooks.append("begun")
                raise Crash

            return (Send((Message.new(Ignored(), stream="t", now=delivery.now),)), AfterCommit(hook))

    app.register(Hooked)
    app.append("s", Noted())
    with pytest.raises(Crash):
        app.drain()
    assert app.drain() == 0
    assert (len(app.history("t")), hooks) == (1, ["begun"])


def test_a_round_abandoned_between_handling_and_settling_changes_nothing():
    """The program is a generator: dropping it is the gentlest way for a process to die."""
    app, listener = listening(killed_by())
    app.append("s", Noted("1"))
    assert app.drain(limit=0) == 0
    engine = app._engine
    program = Round(engine, engine.router.group("listener"), "gone").program()
    answer: Any = None
    for _ in range(3):  # claim, load, remember: the next step would hand out the message
        step = program.send(answer)
        with engine.store.transaction() as connection:
            answer = run(step.op, connection)  # type: ignore[union-attr]
    program.close()
    assert listener.texts == []
    engine.clock.advance(LEASE)  # type: ignore[attr-defined]
    assert app.drain() == 1
    assert len(app.history("echo-1")) == 1
