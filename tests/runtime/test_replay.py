"""A reset hands out everything once more: what had been handled is a replay, and causes nothing again."""

from collections.abc import Callable
from typing import Any

import pytest

from sourced import (
    Actor,
    Batch,
    Command,
    Commands,
    Delivery,
    EventSourced,
    Message,
    Park,
    Projector,
    Retry,
    Send,
    Sourced,
    Sync,
    decide,
    evolve,
    react,
    sync,
)
from sourced.actions import Actions
from sourced.runtime.programs import perform, transacting
from sourced.runtime.rounds import Round
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash, VirtualClock
from sourced.testing.shop import AddItem, Cart, Sales, Stock
from tests.runtime.listener import Ignored, Listener, Noted, listening, streams, together


class Alarm(Command, type="test.alarm"):
    count: int


class Counter(Projector[dict[str, int]], group="counter"):
    """Counts what was noted of each stream, into a table, and reacts to every one."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"n": 0}

    def load(self, key: str, tx: Any) -> dict[str, int] | None:
        return dict(tx.table("counts").get(key, {})) or None

    @evolve
    def noted(self, row: dict[str, int], event: Noted) -> None:
        row["n"] += 1

    @react
    def alarm(self, row: dict[str, int], event: Noted) -> Commands:
        yield Alarm(row["n"])

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        tx.table("counts")[batch.stream] = dict(row)
        tx.table("saves")[len(tx.table("saves"))] = ([m.seq for m in batch.events], batch.replaying)

    def on_reset(self, tx: Any) -> None:
        tx.table("counts").clear()


def counting(**options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), **options})
    app.register(Counter)
    return app


def alarms(app: Sourced) -> list[Message[Any]]:
    return app.read_all(types=[Alarm])


def counts(app: Sourced) -> dict[str, int]:
    return {stream: row["n"] for stream, row in app.store.table("counts").items()}  # type: ignore[attr-defined]


def test_after_a_reset_a_processed_message_comes_again_as_a_replay():
    """F107."""
    app, listener = listening()
    app.append("s", Noted())
    app.drain()
    assert listener.replays == [False]
    app.groups.reset(listener)
    app.drain()
    assert listener.replays == [False, True]
    assert (app.drain(), len(listener.seen)) == (0, 2)


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_what_is_new_since_the_reset_is_no_replay(batch: int):
    """F108. Two that were processed, a reset, and a third: the flags are true, true, false, in any batch."""
    app, listener = listening(batch=batch)
    app.append("s", [Noted(), Noted()])
    app.drain()
    app.groups.reset(listener)
    app.append("s", Noted())
    listener.forget()
    app.drain()
    assert listener.replays == [True, True, False]


def test_only_what_is_new_triggers_a_reaction_and_the_sync_runs_once_over_all():
    """F109."""
    app = counting()
    app.append("s", [Noted(), Noted()])
    app.drain()
    assert [m.payload.count for m in alarms(app)] == [1, 2]
    app.groups.reset(Counter)
    app.append("s", Noted())
    app.drain()
    assert [m.payload.count for m in alarms(app)] == [1, 2, 3]
    assert app.store.table("saves")[1] == ([1, 2, 5], False)  # type: ignore[attr-defined]
    assert counts(app) == {"s": 3}


@pytest.mark.parametrize("batch", [1, 2, 50])
@pytest.mark.parametrize("apart", [True, False])
def test_what_was_never_processed_is_live_whatever_its_place(batch: int, apart: bool):
    """F110. s1 has the first and third message, s2 the second; in one shard or in two, all reactions run."""
    first, second = (name for name, _ in zip(streams(apart=apart), range(2), strict=False))
    app = counting(batch=batch)
    for stream in (first, second, first):
        app.append(stream, Noted())
    app.drain()
    assert sorted((m.stream, m.payload.count) for m in alarms(app)) == sorted([(first, 1), (first, 2), (second, 1)])


@pytest.mark.parametrize("batch", [7, 500])
def test_the_reactions_of_150_streams_all_run_and_all_of_them_are_replayed(batch: int):
    """F112, F113."""
    app, listener = listening(batch=batch)
    app.register(Counter)
    names = {f"s{n}" for n in range(150)}
    for name in sorted(names):
        app.append(name, Noted())
    app.drain()
    assert {m.stream for m in alarms(app)} == names
    assert len(alarms(app)) == 150
    app.groups.reset(Counter)
    app.groups.reset(listener)
    assert counts(app) == {}
    listener.forget()
    app.drain()
    assert counts(app) == dict.fromkeys(names, 1)
    assert listener.replays == [True] * 150
    assert len(alarms(app)) == 150


def test_an_actor_that_is_reset_neither_decides_nor_reacts_again():
    """F114. Commands handled in the foreground and in the background alike; what was not handled yet still is."""
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock)
    app.execute(AddItem("p"), to="c1")
    app.dispatch(AddItem("p", 2), to="c1")
    app.drain()
    app.dispatch(AddItem("p", 4), to="c1")
    before = len(app.read_all())
    app.groups.reset(Cart)
    app.groups.reset(Stock)
    app.drain()
    assert app.load(Cart, "c1").state.items == {"p": 7}
    assert app.load(Stock, "stock-p").state.reserved == 7
    assert len(app.read_all()) == before + 3  # of the one that was pending: its event, the reservation and its event


def test_a_command_from_before_a_reset_that_nobody_handled_is_decided_once():
    """F114. It is newer than all that was handled, so it is no replay, whatever foreground decisions surround it."""
    app = Sourced(clock=VirtualClock())
    app.register(Cart)
    app.dispatch(AddItem("queued"), to="c1")
    app.execute(AddItem("now"), to="c1")
    app.groups.reset(Cart)
    app.drain()
    app.groups.reset(Cart)
    app.drain()
    assert app.load(Cart, "c1").state.items == {"queued": 1, "now": 1}


def test_a_stopped_group_stays_stopped_when_it_is_reset():
    """F115. Started again, it replays."""
    app, listener = listening()
    app.append("s", Noted())
    app.drain()
    app.groups.stop(listener, "for the night")
    app.groups.reset(listener)
    assert app.drain() == 0
    group = app.groups.get(listener).group
    assert (group.status, group.reason) == ("stopped", "for the night")
    app.groups.start(listener)
    app.drain()
    assert listener.replays == [False, True]


@pytest.mark.parametrize("processed", [0, 2])
def test_a_reset_in_the_middle_of_a_batch_is_not_undone_by_it(processed: int):
    """F116. The round in flight changes nothing; afterwards every message comes again, that round's as well.

    What it had not stored yet was not handled, so it comes live; what it asked for is stored once in all.
    """
    echo = Send((Message.new(Ignored(), stream="echo", now=VirtualClock().now()),))
    app, listener = listening(lambda d: (echo,) if d.message.seq == 4 else (), batch=50)
    app.append("s", [Noted() for _ in range(processed)])
    app.drain()
    app.append("s", [Noted() for _ in range(4 - processed)])
    listener.forget()
    answer, due = listener.answer, [True]

    def reset_once(delivery: Delivery) -> Actions:
        if delivery.message.seq == 3 and due:
            due.clear()
            app.groups.reset(listener)
        return answer(delivery)

    listener.answer = reset_once
    app.drain()
    assert app.drain() == 0
    assert [d.message.seq for d in listener.seen] == [*range(processed + 1, 5), 1, 2, 3, 4]
    assert listener.replays == [False] * (4 - processed) + [n < processed for n in range(4)]
    assert len(app.history("echo")) == 1


def test_after_a_reset_in_flight_another_worker_need_not_wait_for_the_lease():
    """F116. The round that was fenced off gives its shards back at once, and nobody is suspected of having died."""
    app, listener = listening()
    listener.answer = lambda delivery: app.groups.reset(listener)
    app.append("s", [Noted(), Noted()])
    program = Round(app._engine, listener, "first").program()
    assert perform(program, transacting(app.store)) == 0
    other, second = listening(store=app.store)
    assert other.drain(limit=1) == 2
    assert second.places == [("s", 1), ("s", 2)]


def emptied(app: Sourced) -> dict[str, Any]:
    app.groups.reset(Sales)
    assert dict(app.store.table("sales")) == {}  # type: ignore[attr-defined]
    app.drain()
    return dict(app.store.table("sales"))  # type: ignore[attr-defined]


def test_a_rebuilt_table_equals_the_one_before_and_nothing_was_dispatched():
    """F117. The reset hook empties the table in the transaction that resets the group."""
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock, Sales)
    for n in range(20):
        app.dispatch(AddItem(f"p{n % 3}", n), to=f"c{n % 7}")
    app.drain()
    before, log = dict(app.store.table("sales")), len(app.read_all())  # type: ignore[attr-defined]
    assert emptied(app) == before
    assert emptied(app) == before
    assert len(app.read_all()) == log


def test_a_reset_hook_that_fails_resets_nothing():
    """F117. The table is as it was, and so is the group."""

    class Clumsy(Counter, group="clumsy"):
        def on_reset(self, tx: Any) -> None:
            super().on_reset(tx)
            raise RuntimeError("no")

    app = Sourced()
    app.register(Clumsy)
    app.append("s", Noted())
    app.drain()
    with pytest.raises(RuntimeError):
        app.groups.reset(Clumsy)
    assert (counts(app), app.drain()) == ({"s": 1}, 0)


def test_workers_in_parallel_rebuild_what_one_alone_would_and_a_crash_resumes_from_the_checkpoints():
    """F118. Three threads, one of which dies on the way; nothing is counted twice, nothing settled is redone."""
    store, clock = MemoryStore(), VirtualClock()
    app = counting(store=store, clock=clock)
    for n in range(300):
        app.append(f"s{n % 30}", Noted())
    app.drain()
    before, log = counts(app), len(app.read_all())
    app.groups.reset(Counter)

    class Dying(Counter, group="counter"):
        saves = 0

        @sync
        def die(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
            self.saves += 1
            if self.saves > 15:
                raise Crash

    def worker(kind: type[Counter]) -> Callable[[], object]:
        each = Sourced(store, clock=clock, batch=10)
        each.register(kind)
        return each.drain

    with pytest.raises(Crash):
        worker(Dying)()
    assert 0 < sum(counts(app).values()) < 300
    together(worker(Counter), worker(Counter))
    clock.advance(31)
    together(worker(Counter), worker(Counter), worker(Counter))
    assert counts(app) == before
    assert len(app.read_all()) == log
    info = app.groups.get(Counter)
    assert (info.lag, info.stragglers) == (0, ())


def test_a_crash_alone_resumes_a_rebuild_from_the_checkpoints():
    """F118. What was settled before the process died is not handled again; only the last batch is."""
    app, listener = listening(batch=10)
    app.append("s", [Noted() for _ in range(50)])
    app.drain()
    app.groups.reset(listener)
    listener.forget()

    def die(delivery: Delivery) -> Actions:
        if delivery.message.seq == 35:
            listener.answer = lambda delivery: ()
            raise Crash
        return ()

    listener.answer = die
    with pytest.raises(Crash):
        app.drain()
    app._engine.clock.advance(31)  # type: ignore[attr-defined]
    app.drain()
    assert [seq for _, seq in listener.places] == [*range(1, 36), *range(31, 51)]
    assert all(listener.replays)


def test_what_one_process_remembers_does_not_spoil_a_replay_that_another_one_asked_for():
    """F113. A state kept from before the reset is ahead of what is replayed: it starts over."""
    saved: list[int] = []

    class History(EventSourced[dict[str, int]], group="history"):
        def initial(self, stream: str) -> dict[str, int]:
            return {"n": 0}

        @evolve
        def noted(self, row: dict[str, int], event: Noted) -> None:
            row["n"] += 1

        @sync
        def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
            saved.append(row["n"])

    store = MemoryStore()
    one, two = Sourced(store, batch=1), Sourced(store, batch=1)
    one.register(History)
    two.register(History)
    one.append("s", [Noted(), Noted(), Noted()])
    one.drain()
    two.groups.reset(History)
    one.drain()
    assert saved == [1, 2, 3, 1, 2, 3]


def test_other_groups_are_not_affected_by_a_reset():
    """F119."""
    app, listener = listening()

    class Other(Listener, group="other"): ...

    other = Other()
    app.register(other)
    app.append("s", Noted())
    app.drain()
    app.groups.reset(listener)
    app.drain()
    assert (len(listener.seen), len(other.seen)) == (2, 1)


@pytest.mark.parametrize("verdict", [Park(), Retry(after=3600)])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_a_stream_that_waits_is_replayed_up_to_where_it_failed_and_live_from_there(verdict: Any, batch: int):
    """F107, F116. A reset gives parked streams another chance; what they never got through is no replay."""
    app, listener = listening(lambda d: 1 / 0 if d.message.payload.text == "bad" else (), errors=verdict, batch=batch)  # type: ignore[arg-type,return-value]
    bad, fine = (name for name, _ in zip(streams(apart=False), range(2), strict=False))
    app.append(bad, [Noted("1"), Noted("bad"), Noted("3")])
    app.append(fine, [Noted("a"), Noted("b")])
    app.drain()
    listener.answer = lambda delivery: ()
    listener.forget()
    app.groups.reset(listener)
    app.append(bad, Noted("4"))
    app.append(fine, Noted("c"))
    app.drain()
    flags = {each.message.payload.text: each.replaying for each in listener.seen}
    assert flags == {"1": True, "bad": False, "3": False, "4": False, "a": True, "b": True, "c": False}
    assert [text for text in listener.texts if text in ("1", "bad", "3", "4")] == ["1", "bad", "3", "4"]
    assert len(listener.seen) == 7
    app.groups.reset(listener)
    listener.forget()
    app.drain()
    assert listener.replays == [True] * 7


def test_a_reset_after_a_reset_remembers_what_had_been_handled_before_the_first():
    """F107. Also of a stream that waits and was not replayed in between."""
    app, listener = listening(lambda d: 1 / 0 if d.message.payload.text == "bad" else (), errors=Park())  # type: ignore[arg-type,return-value]
    app.append("s", [Noted("1"), Noted("2"), Noted("bad")])
    app.drain()
    app.groups.reset(listener)
    app.groups.reset(listener)
    listener.forget()
    app.drain()
    assert list(zip(listener.texts, listener.replays, strict=True)) == [("1", True), ("2", True), ("bad", False)]


def test_a_stream_skipped_to_its_end_is_replayed_and_waits_no_longer():
    """F107. What was given up comes again after a reset, and the stream is like any other."""
    app, listener = listening(lambda d: 1 / 0 if d.message.payload.text == "bad" else (), errors=Park())  # type: ignore[arg-type,return-value]
    app.append("other", Noted("0"))
    app.append("s", [Noted("1"), Noted("bad")])
    app.drain()
    app.parked.skip(listener, "s", reason="not needed")
    listener.answer = lambda delivery: ()
    app.groups.reset(listener)
    app.append("other", [Noted("2"), Noted("3")])
    app.drain()
    assert sorted(listener.texts[3:]) == ["0", "1", "2", "3", "bad"]
    assert app.groups.get(listener).stragglers == ()


@pytest.mark.parametrize("start", ["now", "time"])
def test_a_reset_never_reaches_back_before_where_the_group_started(start: str):
    """F113, G131. Not even for a stream that waits for itself."""
    store, clock = MemoryStore(), VirtualClock()
    early, _ = listening(store=store, clock=clock)
    early.append("s", [Noted("old")])
    clock.advance(1)

    class Late(Listener, group="late"):
        start_from = "now" if start == "now" else clock.now()

    app, late = Sourced(store, clock=clock, errors=Park()), Late(lambda d: 1 / 0)  # type: ignore[arg-type,return-value]
    app.register(late)
    app.drain()
    clock.advance(1)
    app.append("s", Noted("new"))
    app.drain()
    late.answer = lambda delivery: ()
    late.forget()
    app.groups.reset(late)
    app.drain()
    assert late.texts == ["new"]
    app.groups.reset(late)
    app.drain()
    assert late.texts == ["new", "new"]


def test_a_failure_in_the_middle_of_a_replay_keeps_replays_apart_from_what_is_live():
    """F107. The stream waits, is replayed from there when it is mended, and turns live exactly where it should."""
    app, listener = listening(batch=3)
    app.append("s", [Noted(str(n)) for n in range(5)])
    app.drain()
    app.groups.reset(listener)
    listener.answer = lambda d: 1 / 0 if d.message.payload.text == "2" else ()  # type: ignore[assignment,return-value]
    app.append("s", [Noted("5"), Noted("6")])
    listener.forget()
    app.drain()
    assert listener.texts == ["0", "1", "2"]
    listener.answer = lambda delivery: ()
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert listener.texts[3:] == ["2", "3", "4", "5", "6"]
    assert listener.replays == [True] * 6 + [False] * 2


def test_settled_by_is_respected_by_workers_and_set_aside_by_a_reset():
    """F107, K189. What was decided in the foreground is passed over, older commands are not; a reset sees both."""
    seen: list[tuple[int, bool]] = []

    class Watchful(Actor[None], group="watchful"):
        @decide
        def note(self, state: None, command: Alarm): ...

        def handle(self, delivery: Delivery) -> Actions:
            seen.append((delivery.message.seq, delivery.replaying))
            return super().handle(delivery)

    app = Sourced()
    app.register(Watchful)
    app.dispatch(Alarm(1), to="s")
    app.execute(Alarm(2), to="s")
    app.dispatch(Alarm(3), to="s")
    app.drain()
    assert seen == [(1, False), (3, False)]
    app.groups.reset(Watchful)
    app.execute(Alarm(4), to="s")
    app.drain()
    assert seen[2:] == [(1, True), (2, True), (3, True)]


def test_a_sync_block_may_not_reset_its_own_group():
    """It runs inside the transaction that the reset would need: the message fails, and the reason says so."""
    app, listener = listening(errors=Park())
    listener.answer = lambda delivery: (Sync(lambda tx: app.groups.reset(listener)),)
    app.append("s", Noted())
    app.drain()
    assert [row.error.partition(":")[0] for row in app.parked.list()] == ["InTransaction"]
