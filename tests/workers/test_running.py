"""A worker on every store: it finds its work, shares it, ends in order, and nothing but being told to ends it."""

import asyncio
import contextlib
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sourced import Delivery, Retry, Sourced
from sourced.errors import DefinitionError, Unavailable
from sourced.ops import Statement
from sourced.runtime.workers import shift
from sourced.runtime.workers import worker as working
from sourced.runtime.workers.attendance import Attendance
from sourced.runtime.workers.worker import Worker
from sourced.testing import CrashingStore, DeafNotifier
from sourced.testing.shop import AddItem, Cart, Stock
from tests.facts import PATIENCE, eventually, until
from tests.runtime.listener import Ignored, Listener, Noted, echo, handled, streams, waiting
from tests.workers.crew import at_work, held, on_a_loop, owners, threads, until_only_handlers_are_waited_for

Make = Callable[..., Sourced]


class Other(Listener, group="other"):
    """A second group."""


def test_what_is_dispatched_is_handled_with_all_that_follows_from_it(make: Make):
    """J169. Workers begin, work, and end; nothing of them is left behind."""
    app = make()
    app.register(Cart, Stock)
    before = threads()

    async def main() -> None:
        early = app.dispatch(AddItem("tea"), to="c0")
        async with app.running(rounds=3):
            assert [each.rounds for each in await until(app.workers)] == [3]
            late = [await app.aio.dispatch(AddItem("tea"), to=f"c{n}") for n in range(1, 30)]
            for each in (early, *late):
                await app.aio.wait_for(each)
            await until(lambda: app.load(Stock, "stock-tea").state.reserved == 30)
        assert app.workers() == []

    on_a_loop(main())
    assert held(app) == []
    eventually(lambda: threads() <= before | {"sourced-teller"})  # they were told, and nobody waits for them
    assert not app.groups.get(Cart).stragglers


def test_fewer_than_one_round_is_no_worker_and_is_refused(make: Make):
    """J168. The count of nothing is a mistake here, said at once, and nothing is started."""
    app = make()

    async def main() -> None:
        with pytest.raises(DefinitionError, match="expected 1 or more, found 0"):
            async with app.running(rounds=0):
                pass

    on_a_loop(main())
    with pytest.raises(DefinitionError, match="expected 1 or more"):
        app.run(rounds=0)
    assert app.workers() == []


def test_a_wake_up_that_is_lost_costs_a_look_and_no_message(make: Make, monkeypatch: pytest.MonkeyPatch):
    """J167. At the start, and for as long as it runs."""
    monkeypatch.setattr(working, "LOOK", 0.02)
    app, listener = make(), Listener(echo)
    app._engine.notifier = DeafNotifier()
    app.register(listener)

    async def main() -> None:
        app.append("s", Noted("before"))
        async with app.running():
            await until(lambda: handled(app, "before") == [1])
            app.append("s", Noted("meanwhile"))
            await until(lambda: handled(app, "meanwhile") == [1])

    on_a_loop(main())


@pytest.mark.parametrize("crews", [1, 2])
def test_producers_and_workers_lose_and_double_nothing(make: Make, crews: int):
    """J160, E79. Five who append at once, and workers beside each other; every stream in order."""
    apps = [make(batch=20) for _ in range(crews)]
    listeners = [Listener(echo) for _ in apps]
    for app, listener in zip(apps, listeners, strict=True):
        app.register(listener)

    def produce(who: int) -> None:
        for n in range(40):
            apps[0].append(f"s{n % 4}", Noted(f"{who}-{n}"))

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for app in apps:
                await stack.enter_async_context(app.running(rounds=3))
            await asyncio.gather(*(asyncio.to_thread(produce, who) for who in range(5)))
            await until(lambda: not apps[0].groups.get("listener").lag and not held(apps[0]))

    on_a_loop(main())
    texts = [f"{who}-{n}" for who in range(5) for n in range(40)]
    assert handled(apps[0], *texts) == [1] * 200
    for listener in listeners:
        for stream in ("s0", "s1", "s2", "s3"):
            mine = [seq for name, seq in listener.places if name == stream]
            assert mine == sorted(mine)
    assert sum(len(each.places) for each in listeners) == 200


def test_a_group_that_is_registered_later_is_attended_to_as_well(make: Make):
    app, first, second = make(), Listener(echo), Other(echo)
    app.register(first)

    async def main() -> None:
        async with app.running():
            app.append("s", Noted("1"))
            await until(lambda: first.texts == ["1"])
            app.register(second)
            app.append("s", Noted("2"))
            await until(lambda: second.texts == ["1", "2"] and first.texts == ["1", "2"])

    on_a_loop(main())


def test_what_becomes_due_is_handled_then(make: Make, monkeypatch: pytest.MonkeyPatch):
    """Scheduled messages, and streams that wait for their next try."""
    monkeypatch.setattr(working, "TICK", 0.01)
    monkeypatch.setattr(working, "LOOK", 60.0)  # nobody has to look for them
    app, fails = make(), ["1"]

    def once(delivery: Delivery) -> Any:
        if delivery.message.payload.text in fails:
            raise ValueError(fails.pop())
        return echo(delivery)

    listener = Listener(once)
    listener.errors = Retry(times=3, after=0.05)
    app.register(listener)

    async def main() -> None:
        async with app.running():
            app.append("s", [Noted("1"), Noted("2")])
            app.dispatch(Noted("3"), to="t", after=0.05)
            await until(lambda: handled(app, "1", "2", "3") == [1, 1, 1])

    on_a_loop(main())
    assert listener.texts.count("1") == 2


class Deaf(Listener, group="deaf"):
    """Wants something else."""

    handles = (Ignored,)  # type: ignore[assignment]


def test_only_groups_that_handle_what_was_stored_are_woken(make: Make, monkeypatch: pytest.MonkeyPatch):
    """J164. By name of the types; by a hint that says nothing, everybody, as at the start.

    The bounds leave room for that, and for what is heard of twice: here, and from the store they share.
    """
    monkeypatch.setattr(working, "LOOK", 60.0)
    app, listener, call, called = make(), Listener(), Attendance.call, Counter[str]()
    app.register(listener, Deaf())

    def counted(attendance: Attendance) -> None:
        called[attendance.group] += 1
        call(attendance)

    monkeypatch.setattr(Attendance, "call", counted)

    async def main() -> None:
        async with app.running():
            for n in range(20):
                await app.aio.append("s", Noted(str(n)))
                await until(lambda n=n: str(n) in listener.texts)  # type: ignore[misc]
            assert called["deaf"] < 5
            before = called.copy()
            for _ in range(20):
                await app.aio.append("s", Ignored())
                await until(lambda: not app.groups.get("deaf").lag)
            assert called["listener"] < before["listener"] + 5
            before = called.copy()
            await app.aio.wake()
            await until(lambda: all(called[group] > before[group] for group in before))

    on_a_loop(main())


def test_what_rounds_bring_about_wakes_whoever_handles_it(make: Make, monkeypatch: pytest.MonkeyPatch):
    """From one group to the next, with nobody looking by himself: orders, reservations, and a scheduled order."""
    monkeypatch.setattr(working, "LOOK", 60.0)
    monkeypatch.setattr(working, "TICK", 0.01)
    app = make()
    app.register(Cart, Stock)

    async def main() -> None:
        async with app.running():
            await until(app.workers)
            await app.aio.dispatch(AddItem("tea"), to="c1")
            await until(lambda: app.load(Stock, "stock-tea").state.reserved == 1)
            await app.aio.execute(AddItem("tea"), to="c1")
            await until(lambda: app.load(Stock, "stock-tea").state.reserved == 2)
            await app.aio.dispatch(AddItem("tea"), to="c1", after=0.02)
            await until(lambda: app.load(Stock, "stock-tea").state.reserved == 3)

    on_a_loop(main())


def test_a_backlog_takes_no_memory(tmp_path: Path):
    """A round holds its batch and no more: eight times as much to do takes no more room."""

    class Counts(Listener, group="counts"):
        handled = 0

        def handle(self, delivery: Delivery) -> Any:
            self.handled += 1
            return ()

    def peak(messages: int) -> int:
        with Sourced(f"sqlite:///{tmp_path}/{messages}.db", batch=100) as app:
            counts = Counts()
            app.register(counts)
            for n in range(messages // 500):
                app.append(f"s{n}", [Noted("x" * 500) for _ in range(500)])

            async def main() -> None:
                tracemalloc.start()
                async with app.running():
                    await until(lambda: counts.handled == messages)

            on_a_loop(main())
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return most

    peak(1_000)
    assert peak(8_000) < 1.5 * peak(1_000 + 500)


# -- errors


def test_a_group_whose_rounds_fail_goes_on_by_itself_and_holds_up_no_other(make: Make, caplog: Any):
    """J163. An error that escapes a round is logged, and the next round comes."""
    app, broken, other = make(), Listener(echo), Other(echo)
    app.register(broken, other)
    store, claim, times = app.store, app.store.claim, iter(range(3))

    def failing(group: str, *rest: Any, **options: Any) -> Any:
        if group == broken.group and next(times, None) is not None:
            raise RuntimeError("no claim today")
        return claim(group, *rest, **options)

    store.claim = failing  # type: ignore[method-assign]

    async def main() -> None:
        async with app.running():
            app.append("s", Noted("1"))
            await until(lambda: other.texts == ["1"])
            await until(lambda: broken.texts == ["1"])

    on_a_loop(main())
    assert "listener: the next round in 0.1 s, after: RuntimeError('no claim today')" in caplog.text


class Stumbling(CrashingStore):
    """A store that fails once at each of these statements, with an error instead of a death."""

    def __init__(self, store: Any) -> None:
        super().__init__(store, at=0)
        self.fails: set[str] = set()

    def reached(self, statement: Statement) -> None:
        if statement.verb in self.fails:
            self.fails.discard(statement.verb)
            raise Unavailable("the store", f"it fails at {statement.verb!r}")


def test_one_error_of_the_database_ends_nothing(make: Make, monkeypatch: pytest.MonkeyPatch):
    """J177. Whichever statement it hits: signs of life, the schedule, a claim, a settlement, a lease that is prolonged,
    the farewell."""
    monkeypatch.setattr(working, "TICK", 0.01)
    monkeypatch.setattr(working, "LOOK", 0.02)
    store, gate = Stumbling(make().store), threading.Event()
    app, listener = Sourced(store, lease=0.3), Listener(lambda delivery: echo(delivery) if gate.wait(PATIENCE) else ())
    app.register(listener)

    async def main() -> None:
        async with app.running():
            await until(app.workers)
            store.fails |= {"beat", "workers", "due", "claim", "pending", "fence", "renew", "settle", "leave"}
            app.append("s", Noted("1"))
            app.dispatch(Noted("2"), to="s", after=0.02)
            await until(lambda: store.fails <= {"fence", "settle", "leave"})
            gate.set()
            await until(lambda: handled(app, "1", "2") == [1, 1])
            await until(lambda: store.fails <= {"leave"})

    on_a_loop(main())
    assert store.fails == set()
    assert held(app) == []


# -- the end


@pytest.mark.parametrize("how", ["plain", "async"])
def test_the_rounds_in_hand_are_finished_and_no_new_message_is_begun(make: Make, how: str):
    """J169, J170. What was handled is settled, what was not begun is left for others at once."""
    app, begun, gate = make(), threading.Event(), threading.Event()

    def plain(delivery: Delivery) -> Any:
        begun.set()
        gate.wait(PATIENCE)
        return echo(delivery)

    async def awaited(delivery: Delivery) -> Any:
        begun.set()
        await until(gate.is_set)
        return echo(delivery)

    listener = Listener(plain if how == "plain" else awaited)
    app.register(listener)

    async def main() -> None:
        app.append("s", [Noted(str(n)) for n in range(5)])
        async with at_work(app) as (worker, task):
            await until(begun.is_set)
            worker.stop()
            await until_only_handlers_are_waited_for()
            assert not task.done()
            gate.set()

    on_a_loop(main())
    assert handled(app, *"01234") == [1, 0, 0, 0, 0]
    assert held(app) == []
    assert app.drain() == 4
    assert handled(app, *"01234") == [1] * 5


@pytest.mark.parametrize("how", ["plain", "async"])
def test_a_worker_that_is_cancelled_gives_back_what_it_holds(make: Make, how: str):
    """At once: what is awaited is cancelled; a message in a plain handler's hands is the last one it is given."""
    app, begun, gate = make(), threading.Event(), threading.Event()
    told: list[str] = []

    def plain(delivery: Delivery) -> Any:
        begun.set()
        gate.wait(PATIENCE)
        return echo(delivery)

    async def awaited(delivery: Delivery) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")
            raise

    listener = Listener(plain if how == "plain" else awaited)
    app.register(listener)

    async def main() -> None:
        app.append("s", [Noted("1"), Noted("2")])
        async with at_work(app) as (worker, task):
            await until(begun.is_set)
            (mine,) = worker._shifts.values()
            task.cancel()
            await until(lambda: all(each.hurried for each in [*mine.rounds]))
            gate.set()
            await asyncio.wait({task})
            assert task.cancelled()

    on_a_loop(main())
    assert told == ([] if how == "plain" else ["cancelled"])
    assert held(app) == []
    assert app.workers() == []
    assert handled(app, "1", "2") == [1 if how == "plain" else 0, 0]
    listener.answer = echo
    app.drain()
    assert handled(app, "1", "2") == [1, 1]
    assert [row.error for row in waiting(app)] == []


# -- several


def test_two_workers_of_one_process_or_of_hosts_with_equal_pids_are_two(make: Make):
    """J175. Whatever the process id."""
    app = make()
    app.register(Listener())

    async def main() -> None:
        async with app.running(), app.running():
            await until(lambda: len(app.workers()) == 2)
            assert len({each.pid for each in app.workers()}) == 1

    on_a_loop(main())
    ids = {Worker(app._engine).id for _ in range(100)}
    assert len(ids) == 100


def test_what_people_do_calls_every_group_whatever_it_handles(make: Make, monkeypatch: pytest.MonkeyPatch):
    """What is started, reset or retried in another process is begun at once."""
    monkeypatch.setattr(working, "LOOK", 3600.0)
    app = make()
    app.register(Listener(echo))

    async def main() -> None:
        async with at_work(app) as (each, _):
            (shift,) = await until(lambda: [*each._shifts.values()])
            await until(lambda: each._look_at and not shift.attendance._wanted)  # the first look is over
            wanted = []
            for types in ({"test.ignored"}, {"sourced.rejected"}, {"test.ignored", "sourced.group_started"}):
                each.call(types)
                wanted.append(shift.attendance._wanted)
            assert wanted == [0, 0, 1]

    on_a_loop(main())


def test_shards_are_shared_out_between_the_workers_that_live(make: Make, monkeypatch: pytest.MonkeyPatch):
    """Who comes later has its share as soon as rounds end, and who goes leaves it to the others."""
    monkeypatch.setattr(working, "LOOK", 0.02)
    monkeypatch.setattr(shift, "PATIENCE", 60.0)  # rounds wait for the handlers that are held here
    app, gate, shards = make(), threading.Event(), streams(64)

    def blocked(delivery: Delivery) -> Any:
        gate.wait(PATIENCE)

    app.register(Listener(blocked))

    async def main() -> None:
        async with at_work(app) as (first, _), at_work(app) as (second, leaving):
            await until(lambda: len(app.workers()) == 2)
            for each in (first, second):  # at the next sign of life
                await each._tell_that_i_live()
            assert (first._share, second._share) == (16, 16)
            before = {one for each in (first, second) for one in each._shifts["listener"].rounds}
            await until(lambda: all(before.isdisjoint(each._shifts["listener"].rounds) for each in (first, second)))
            with app.transaction() as tx:  # a round that met the first few would take these and no others
                for stream in shards:
                    tx.append(stream, Noted())
            await until(lambda: owners(app, "listener").total() == 64)
            assert {*owners(app, "listener").values()} == {32}
            gate.set()
            await until(lambda: not app.groups.get("listener").lag)
            second.stop()
            await leaving
            await first._tell_that_i_live()
            assert first._share == 32

    on_a_loop(main())


# -- attendance: rounds follow each other while they find something


def attending(found: list[int | None], slots: int = 1) -> tuple[Attendance, list[int]]:
    begun: list[int] = []

    async def begin(slot: int) -> int | None:
        begun.append(slot)
        await asyncio.sleep(0)
        return found.pop(0) if found else None

    return Attendance("g", slots, begin), begun


def test_rounds_follow_each_other_until_one_finds_nothing():
    """J161. Two that find something are three rounds. There is no cap to give way after: every group has rounds of
    its own, which no other group waits for."""

    async def main() -> None:
        attendance, begun = attending([5, 5])
        task = asyncio.create_task(attendance.run())
        await until(lambda: len(begun) == 3)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(begun) == 3
        attendance.stop()
        await task

    on_a_loop(main())


def test_wake_ups_that_come_during_rounds_are_one_and_never_too_many():
    """J159. There is no queue that could be full: a group that is called again and again looks once more."""

    async def main() -> None:
        attendance, begun = attending([])
        task = asyncio.create_task(attendance.run())
        await until(lambda: begun)
        for _ in range(1000):
            attendance.call()
        await until(lambda: len(begun) == 2)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(begun) == 2
        attendance.stop()
        await task

    on_a_loop(main())


def test_who_is_told_to_stop_ends_although_nothing_wakes_him():
    """J162, J169."""

    async def main() -> None:
        attendance, begun = attending([])
        task = asyncio.create_task(attendance.run())
        await until(lambda: begun)
        attendance.stop()
        await task

    on_a_loop(main())


def test_when_it_is_cancelled_all_rounds_have_ended_before_it_does():
    """J178. Nobody is left running behind the back of whoever waited."""
    ended: list[int] = []

    async def main() -> None:
        started = asyncio.Barrier(3)

        async def begin(slot: int) -> int | None:
            await started.wait()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(slot)
            return None

        attendance = Attendance("g", 2, begin)
        attendance._wanted = 2
        task = asyncio.create_task(attendance.run())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(ended) == [0, 1]

    on_a_loop(main())
