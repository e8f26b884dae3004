"""Handlers that take long hold up nobody else: not other streams, not other groups, not what keeps a worker alive."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from sourced import Actor, AfterCommit, Command, Delivery, Event, Events, Retry, Sourced, decide, evolve, react
from sourced.actions import Actions, Stop
from sourced.clock import SystemClock
from sourced.runtime.workers import hands, shift, worker
from sourced.runtime.workers.shift import Shift
from sourced.runtime.workers.worker import Worker
from tests.facts import PATIENCE, until
from tests.runtime.listener import Listener, Noted, echo, handled, streams, waiting
from tests.workers.crew import TurnedByHand, at_work, held, on_a_loop, until_only_handlers_are_waited_for

Make = Callable[..., Sourced]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "PATIENCE", 0.03)
    monkeypatch.setattr(worker, "LOOK", 0.1)


class Slow(Listener, group="slow"):
    """Takes as long as its gate is closed, for streams that are called so."""

    def __init__(self) -> None:
        super().__init__(echo)
        self.gate = asyncio.Event()
        self.begun: list[str] = []

    async def handle(self, delivery: Delivery) -> Actions:  # type: ignore[override]
        text = delivery.message.payload.text
        self.begun.append(text)
        if text.startswith("slow"):
            await self.gate.wait()
        self.seen.append(delivery)
        answer: Any = self.answer(delivery)
        return answer


class Heir(Listener, group="slow"):
    """The same group, and not slow."""


class Other(Listener, group="other"):
    """A group beside it."""


def slow_app(make: Make, **options: Any) -> tuple[Sourced, Slow]:
    app, slow = make(**options), Slow()
    app.register(slow)
    return app, slow


def rows(app: Sourced) -> dict[str, Any]:
    return {each.stream: each for each in waiting(app)}


# -- what is awaited


def test_a_stream_that_waits_holds_up_no_other_not_even_of_its_shard_and_of_its_round(make: Make):
    """The others are through and stored while it waits, then it is, and its later messages come in order."""
    app, slow = slow_app(make)
    first, second = streams(2, apart=False)

    async def main() -> None:
        app.append(first, [Noted("slow"), Noted("behind")])
        app.append(second, Noted("1"))
        async with app.running(rounds=1):
            await until(lambda: handled(app, "1") == [1])
            await app.aio.append(second, Noted("2"))
            await until(lambda: handled(app, "2") == [1])
            await app.aio.append(first, Noted("last"))
            assert handled(app, "slow", "behind", "last") == [0, 0, 0]
            assert slow.begun.count("slow") == 1
            slow.gate.set()
            await until(lambda: handled(app, "slow", "behind", "last") == [1, 1, 1])
            await until(lambda: not waiting(app))

    on_a_loop(main())
    assert [text for text in slow.begun if text in ("slow", "behind", "last")] == ["slow", "behind", "last"]
    assert held(app) == []


def test_while_it_waits_everybody_can_see_who_has_it(make: Make):
    app, slow = slow_app(make)

    async def main() -> None:
        message = app.append("s", Noted("slow"))[0]
        async with at_work(app) as (each, _):
            row = await until(lambda: rows(app).get("s"))
            assert (row.from_seq, row.attempts, row.running) == (1, 1, True)
            assert row.holder.startswith(each.id)
            (found,) = [each for each in app.doctor() if "'s'" in each.about]
            assert found.why == f"seq 1 takes long; {each.id} is at it"
            waits = app.aio.wait_for(message, timeout=PATIENCE)
            slow.gate.set()
            await waits

    on_a_loop(main())


def test_many_that_wait_are_bounded_and_then_rounds_wait_for_their_slowest(make: Make, monkeypatch: pytest.MonkeyPatch):
    """No backlog of slow messages fills the memory: as many are left as fit in a round."""
    app, slow = slow_app(make, batch=4)
    asked, may_leave = list[tuple[int, int]](), Shift._may_leave

    def noted(mine: Shift, count: int) -> bool:
        asked.append((len(mine.late), len(slow.begun)))
        return may_leave(mine, count)

    monkeypatch.setattr(Shift, "_may_leave", noted)

    async def main() -> None:
        for stream in streams(30):
            app.append(stream, Noted(f"slow {stream}"))
        async with app.running(rounds=2):
            await until(lambda: waiting(app) and len(asked) > 12)
            slow.gate.set()
            await until(lambda: not app.groups.get(slow).lag and not waiting(app))

    on_a_loop(main())
    assert all(late <= 2 * 4 and begun <= 2 * 4 + 2 * 4 for late, begun in asked[:12])  # two may leave at one moment
    assert sorted(slow.begun) == sorted({*slow.begun})
    assert len(slow.begun) == 30


def test_what_it_does_late_is_a_failure_like_any_other(make: Make):
    """Retried and parked by the policy, counted, and nobody else is touched."""
    app, slow = slow_app(make)
    slow.errors = Retry(times=1, after=0.01)

    def fail(delivery: Delivery) -> Any:
        raise ValueError("too late")

    async def main() -> None:
        app.append("s", [Noted("slow"), Noted("behind")])
        async with app.running():
            await until(lambda: rows(app).get("s"))
            slow.answer = fail
            slow.gate.set()
            await until(lambda: rows(app)["s"].parked)
            slow.answer = echo
            app.append("t", Noted("1"))
            await until(lambda: handled(app, "1") == [1] and [*rows(app)] == ["s"])  # which may be late as well

    on_a_loop(main())
    (row,) = waiting(app)
    assert (row.from_seq, row.attempts, row.error, row.holder) == (1, 2, "ValueError: too late", "")
    assert handled(app, "slow", "behind") == [0, 0]
    app.parked.retry()
    app.drain()
    assert handled(app, "slow", "behind") == [1, 1]


def test_what_it_does_late_may_stop_the_group(make: Make):
    app, slow = slow_app(make)
    slow.errors = Retry(times=0, then=Stop())

    def fail(delivery: Delivery) -> Any:
        raise ValueError("no more")

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with app.running():
            await until(lambda: rows(app).get("s"))
            slow.answer = fail
            slow.gate.set()
            await until(lambda: app.groups.get(slow).status == "stopped")

    on_a_loop(main())


def test_after_commit_work_of_a_latecomer_runs_when_it_is_stored(make: Make):
    app, slow, told = *slow_app(make), threading.Event()

    def answer(delivery: Delivery) -> Any:
        echoed: Any = echo(delivery)
        return (*echoed, AfterCommit(told.set))

    slow.answer = answer

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with app.running():
            await until(lambda: rows(app).get("s"))
            assert not told.is_set()
            slow.gate.set()
            await until(told.is_set)
            assert handled(app, "slow") == [1]

    on_a_loop(main())


def test_who_is_told_to_stop_waits_for_those_who_wait(make: Make):
    """J170. And takes no other message of theirs."""
    app, slow = slow_app(make)

    async def main() -> None:
        app.append("s", [Noted("slow"), Noted("behind")])
        async with at_work(app) as (each, task):
            await until(lambda: rows(app).get("s"))
            each.stop()
            await until_only_handlers_are_waited_for()
            assert not task.done()
            slow.gate.set()
            await task
        assert handled(app, "slow", "behind") == [1, 0]
        assert rows(app)["s"].holder == ""
        await app.aio.drain()

    on_a_loop(main())
    assert handled(app, "slow", "behind") == [1, 1]
    assert (waiting(app), held(app)) == ([], [])


def test_who_is_cancelled_puts_back_those_who_wait(make: Make):
    """At once, with no attempt counted."""
    app, slow = slow_app(make)

    async def main() -> None:
        app.append("s", [Noted("slow"), Noted("behind")])
        async with at_work(app) as (_, task):
            await until(lambda: rows(app).get("s"))
            task.cancel()
            await asyncio.wait({task})
        row = rows(app)["s"]
        assert (row.from_seq, row.attempts, row.running, row.retry_at, row.holder) == (1, 0, False, None, "")
        slow.gate.set()
        await app.aio.drain()

    on_a_loop(main())
    assert handled(app, "slow", "behind") == [1, 1]
    assert waiting(app) == []


# -- and does it lose its hold, it is fenced


def test_its_hold_is_prolonged_for_as_long_as_it_takes(make: Make):
    """Three times as long as a lease, with somebody else about who would take it."""
    lease, clock = timedelta(seconds=0.3), TurnedByHand()
    app, slow = slow_app(make, lease=lease, clock=clock)

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with app.running(), app.running():
            await until(lambda: rows(app).get("s"))
            for _ in range(9):
                now = clock.advance(lease / 3)
                await until(lambda now=now: rows(app)["s"].retry_at >= now + lease)  # type: ignore[misc]
            slow.gate.set()
            await until(lambda: handled(app, "slow") == [1])

    on_a_loop(main())
    assert slow.begun == ["slow"]


def test_a_latecomer_whose_stream_was_taken_over_changes_nothing(make: Make, monkeypatch: pytest.MonkeyPatch):
    """As after a pause: its time is up, somebody else handles the stream, and then it comes back."""
    monkeypatch.setattr(Worker, "_prolong", lambda self: asyncio.sleep(0))
    app, slow = slow_app(make, lease=0.3)
    heir = make(errors=Retry(after=0.01))
    heir.register(Heir(echo))

    async def main() -> None:
        app.append("s", [Noted("slow"), Noted("behind")])
        async with at_work(app) as (each, _):
            await until(lambda: rows(app).get("s"))
            (mine,) = each._shifts.values()
            mine.attendance.stop()
            await until(lambda: heir.drain() and handled(app, "slow", "behind") == [1, 1])
            assert mine.late
            slow.gate.set()
            await until(lambda: not mine.late)

    on_a_loop(main())
    assert slow.texts == ["slow"]
    assert handled(app, "slow", "behind") == [1, 1]
    assert waiting(app) == []


@pytest.mark.parametrize("meanwhile", ["stopped", "reset"])
def test_a_group_that_is_stopped_or_reset_meanwhile(make: Make, meanwhile: str):
    """A stop lets it finish, as it does rounds in hand; a reset does not."""
    app, slow = slow_app(make)

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with at_work(app) as (each, _):
            await until(lambda: rows(app).get("s"))
            (mine,) = each._shifts.values()
            app.groups.stop(slow)
            if meanwhile == "reset":
                app.groups.reset(slow)
            slow.gate.set()
            await until(lambda: not mine.late)

    on_a_loop(main())
    assert handled(app, "slow") == [1 if meanwhile == "stopped" else 0]
    app.groups.start(slow)
    asyncio.run(app.aio.drain())
    assert handled(app, "slow") == [1]


def test_what_a_latecomer_handled_is_a_replay_after_a_reset_although_it_was_the_last(make: Make):
    """F110. Its shard has never seen it handled in a round."""
    app, slow = slow_app(make)

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with app.running():
            await until(lambda: rows(app).get("s"))
            slow.gate.set()
            await until(lambda: handled(app, "slow") == [1] and not waiting(app))
        slow.forget()
        app.groups.reset(slow)
        await app.aio.drain()

    on_a_loop(main())
    assert slow.replays == [True]


# -- with a state


class Ask(Command, type="slow.ask"):
    number: int


class Asked(Event, type="slow.asked"):
    number: int


class Answer(Command, type="slow.answer"):
    total: int


class Asker(Actor[list[int]], group="asker"):
    """Its reactions take long, one by one."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    def initial(self, stream: str) -> list[int]:
        return []

    @decide
    def ask(self, numbers: list[int], command: Ask) -> Events[list[int]]:
        yield Asked(command.number)

    @decide
    def answer(self, numbers: list[int], command: Answer): ...

    @evolve
    def asked(self, numbers: list[int], event: Asked) -> None:
        numbers.append(event.number)

    @react
    async def look(self, numbers: list[int], event: Asked) -> Any:
        total = sum(numbers)
        if event.number == 2:
            await self.gate.wait()
        return iter([Answer(total)])


def test_an_actor_whose_reaction_is_late_has_seen_what_it_would_have_seen(make: Make):
    """Every answer carries the sum as of its own event, whoever came between."""
    app, asker = make(), Asker()
    app.register(asker)

    async def main() -> None:
        for stream in ("a", "b"):
            for number in (1, 2, 3) if stream == "a" else (1, 3):
                app.dispatch(Ask(number), to=stream)
        async with app.running():
            await until(lambda: [m.payload.total for m in app.history("b") if m.type == "slow.answer"] == [1, 4])
            await until(lambda: rows(app).get("a") and rows(app)["a"].holder)
            app.dispatch(Ask(4), to="a")
            asker.gate.set()
            await until(lambda: len([m for m in app.history("a") if m.type == "slow.answer"]) == 4)
            await until(lambda: not waiting(app) and not app.groups.get(asker).lag)

    on_a_loop(main())
    assert [m.payload.total for m in app.history("a") if m.type == "slow.answer"] == [1, 3, 6, 10]
    assert app.load(Asker, "a").state == [1, 2, 3, 4]


# -- what is not awaited


class Stuck(Listener, group="stuck"):
    """A plain handler, which nobody can take from its thread."""

    def __init__(self) -> None:
        super().__init__(self.take)
        self.gate = threading.Event()
        self.begun: list[str] = []

    def take(self, delivery: Delivery) -> Actions:
        self.begun.append(delivery.message.payload.text)
        if self.begun[-1].startswith("slow"):
            self.gate.wait(PATIENCE)
        return echo(delivery)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    reactor = Stuck()
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.callback(reactor.gate.set)
        yield reactor


def test_a_plain_handler_that_hangs_holds_up_no_other_group_no_schedule_and_no_sign_of_life(
    make: Make, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker, "BEATS", 60)
    app, other = make(), Other(echo)
    app.register(stuck, other)

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with app.running():
            await until(lambda: stuck.begun)
            (before,) = app.workers()
            app.append("t", Noted("1"))
            await until(lambda: {*other.texts} == {"slow", "1"})
            app.dispatch(Noted("2"), to="t", after=0.01)
            await until(lambda: "2" in other.texts)
            await until(lambda: app.workers()[0].beat_at > before.beat_at)
            stuck.gate.set()
            await until(lambda: app.groups.get(stuck).lag == 0)

    on_a_loop(main())
    assert stuck.begun.count("slow") == 1


def test_a_plain_handler_that_hangs_leaves_other_shards_to_the_other_rounds(make: Make, stuck: Stuck):
    """Its round takes no more than its share, and another one goes on."""
    app = make()
    app.register(stuck)
    names = streams(20)

    async def main() -> None:
        app.append(names[0], Noted("slow"))
        async with app.running(rounds=2):
            await until(lambda: stuck.begun)
            for stream in names[1:]:
                app.append(stream, Noted(stream))
            await until(lambda: handled(app, *names[1:]) == [1] * 19)
            stuck.gate.set()

    on_a_loop(main())


def test_a_plain_handler_that_hangs_holds_up_no_other_stream_of_its_round(make: Make, stuck: Stuck):
    """Its round goes on in another thread and settles the others; it is stored by itself when it is through."""
    app = make()
    app.register(stuck)
    first, second, third = streams(3, apart=False)

    async def main() -> None:
        app.append(first, [Noted("slow"), Noted("behind")])
        app.append(second, Noted("1"))
        async with app.running(rounds=1):
            await until(lambda: handled(app, "1") == [1])
            app.append(third, Noted("2"))
            await until(lambda: handled(app, "2") == [1])
            row = rows(app)[first]
            assert (row.from_seq, row.attempts, row.running, bool(row.holder)) == (1, 1, True, True)
            assert handled(app, "slow", "behind") == [0, 0]
            stuck.gate.set()
            await until(lambda: handled(app, "slow", "behind") == [1, 1] and not waiting(app))

    on_a_loop(main())
    assert [text for text in stuck.begun if text in ("slow", "behind")] == ["slow", "behind"]
    assert held(app) == []


def test_what_a_plain_handler_does_late_is_a_failure_like_any_other(make: Make, stuck: Stuck):
    app = make(errors=Retry(times=0))
    app.register(stuck)

    def fail(delivery: Delivery) -> Actions:
        stuck.take(delivery)
        raise ValueError("too late")

    stuck.answer = fail

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with app.running():
            await until(lambda: rows(app).get("s"))
            stuck.gate.set()
            await until(lambda: rows(app)["s"].parked)

    on_a_loop(main())
    assert (rows(app)["s"].error, rows(app)["s"].attempts) == ("ValueError: too late", 1)


def test_plain_handlers_that_hang_take_no_more_threads_than_are_allowed(
    make: Make, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
):
    """Beyond that rounds wait for theirs, and all of it is done once when they are through."""
    monkeypatch.setattr(hands, "MOST", 2)
    app = make()
    app.register(stuck)
    names = streams(6)

    async def main() -> None:
        for stream in names:
            app.append(stream, Noted(f"slow {stream}"))
        async with app.running(rounds=1):
            await until(lambda: len(stuck.begun) == 3)  # the third in a round that waits for it
            assert len([row for row in waiting(app) if row.holder]) == 2
            stuck.gate.set()
            await until(lambda: not app.groups.get(stuck).lag and not waiting(app))

    on_a_loop(main())
    assert sorted(stuck.begun) == sorted(f"slow {stream}" for stream in names)
    assert handled(app, *stuck.begun) == [1] * 6


def test_who_is_cancelled_puts_back_what_a_plain_handler_hangs_in(make: Make, stuck: Stuck):
    """Nobody waits for it any more, and what it comes to is not stored."""
    app = make()
    app.register(stuck)

    async def main() -> None:
        app.append("s", Noted("slow"))
        async with at_work(app) as (_, task):
            await until(lambda: rows(app).get("s"))
            task.cancel()
            await asyncio.wait({task})
        row = rows(app)["s"]
        assert (row.from_seq, row.attempts, row.running, row.retry_at, row.holder) == (1, 0, False, None, "")
        stuck.gate.set()
        await app.aio.drain()

    on_a_loop(main())
    assert stuck.begun == ["slow", "slow"]
    assert handled(app, "slow") == [1]


class TurnedByHandlers(SystemClock):
    """Only they take time, and as much of it as they are told to."""

    passed, each_takes = 0.0, 0.01

    def elapsed(self) -> float:
        return self.passed


def test_rounds_of_plain_handlers_are_as_large_as_can_be_handled_in_time(make: Make):
    """What was done is stored soon, and a round that was too large is followed by a smaller one, and by larger ones."""
    clock, done = TurnedByHandlers(), list[str]()
    app = make(batch=64, clock=clock)

    def take(delivery: Delivery) -> Actions:
        done.append(delivery.message.payload.text)
        clock.passed += clock.each_takes
        return echo(delivery)

    app.register(Listener(take))

    async def main() -> None:
        for n in range(40):
            app.append(f"s{n}", Noted(str(n)))
        async with at_work(app, rounds=1) as (each, _):
            await until(lambda: handled(app, *map(str, range(40))).count(1) >= 1)
            assert len(done) < 40
            (mine,) = each._shifts.values()
            await until(lambda: mine._limit < 16)
            await until(lambda: not app.groups.get("listener").lag and not waiting(app))
            clock.each_takes = 0.0
            for n in range(40, 400):
                app.append(f"s{n % 40}", Noted(str(n)))
            await until(lambda: not app.groups.get("listener").lag and mine._limit == 64)

    on_a_loop(main())
    assert handled(app, *map(str, range(400))) == [1] * 400
    assert sorted(done, key=int) == [str(n) for n in range(400)]
