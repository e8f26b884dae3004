"""What `run` may do: wait, listen, branch out, be cancelled, take back; and what it may not."""

import asyncio
import gc
import re
from dataclasses import dataclass
from datetime import timedelta

import pytest

from sourced import DefinitionError, Event, Invalid, RunCancelled, RunFailed, Sourced, StepFailed, Workflow, step
from sourced.errors import NotKnown
from sourced.store import Store
from tests.workflows.holiday import (
    Agency,
    BookHoliday,
    FullyBooked,
    LineDown,
    Sum,
    Trip,
    TripApproved,
    TripDeclined,
    later,
    restarted,
    trail,
    working,
)

# -- waiting


class Deciding(Workflow):
    async def run(self) -> str:
        try:
            answer = await self.wait_for(TripApproved, TripDeclined, timeout=60)
        except TimeoutError:
            return "nobody"
        return f"{type(answer).__name__} by {answer.by}"


def test_what_is_first_in_the_log_decides_the_message_or_the_time(store: Store):
    app = working(store, Deciding())
    in_time, late = app.start(Deciding), app.start(Deciding)
    app.drain()
    in_time.signal(TripDeclined("Ann"))
    app._engine.clock.advance(60)  # type: ignore[attr-defined]
    assert app.scheduled.promote() == 2  # both timers are in the log now, for one of them it is too late
    late.signal(TripApproved("Bob"))
    app.drain()
    assert (in_time.result(), late.result()) == ("TripDeclined by Ann", "nobody")


def test_a_timer_that_nobody_waits_for_any_more_is_taken_off_the_schedule():
    app = working("memory://", Deciding())
    run = app.start(Deciding)
    app.drain()
    assert [each.at - app._engine.clock.now() for each in app.scheduled.list()] == [timedelta(seconds=60)]
    run.signal(TripApproved("Ann"))
    app.drain()
    assert app.scheduled.list() == []


def test_a_message_is_taken_by_one_wait_in_the_order_of_the_log(store: Store):
    class Votes(Workflow):
        async def run(self) -> list[str]:
            votes = await self.gather(self.vote(), self.vote(), self.vote())
            return [*votes]

        async def vote(self) -> str:
            return (await self.wait_for(TripApproved)).by

    app = working(store, Votes())
    run = app.start(Votes)
    run.signal(TripApproved("early"))
    app.drain()
    assert run.info().waiting_for == ("trip_approved", "trip_approved")
    for name in ("second", "third", "fourth"):
        run.signal(TripApproved(name))
    app.drain()
    assert run.result() == ["early", "second", "third"]


def test_a_message_nobody_could_be_woken_by_is_refused_where_it_is_waited_for():
    kinds = [TripDeclined]

    class Hidden(Workflow):
        async def run(self) -> None:
            await self.wait_for(*kinds)

    app = working("memory://", Hidden())
    run = app.start(Hidden)
    app.drain()
    assert "its own code has to name it" in run.info().parked


class Approval(Event, namespace="approval"): ...


class Given(Approval):
    by: str


def test_a_family_of_messages_can_be_waited_for():
    class Waits(Workflow):
        async def run(self) -> str:
            return type(await self.wait_for(Approval)).__name__

    app = working("memory://", Waits())
    run = app.start(Waits)
    app.drain()
    run.signal(Given("Ann"))
    app.drain()
    assert run.result() == "Given"


# -- side by side


def test_what_is_gathered_runs_side_by_side_and_in_its_own_order():
    """Two chains of steps, neither of which waits for the other."""

    class Chains(Workflow):
        async def run(self) -> tuple[list[int], list[int]]:
            return await self.gather(self.chain(1), self.chain(10))

        async def chain(self, first: int) -> list[int]:
            return [await self.add(first), await self.add(first + 1)]

        @step
        async def add(self, number: int) -> int:
            if number in (1, 10):
                await both.wait()
            return number + 1

    both = asyncio.Barrier(2)
    app = working("memory://", Chains())
    run = app.start(Chains)
    app.drain()
    assert run.result() == ([2, 3], [11, 12])
    assert [name for name in trail(app, run.id) if "started" in name][1:3] == [
        "step_started add#1",
        "step_started add#2",
    ]


def test_gather_waits_for_all_of_it_before_it_fails(store: Store):
    """So that whatever was done beside the failure is known, and can be taken back."""

    class Both(Workflow):
        async def run(self) -> list[str]:
            async with self.undoing() as undo:
                undo(self.note, "taken back")
                await self.gather(self.fails(), self.later())
            return []

        async def later(self) -> None:
            await self.sleep(60)
            await self.note("later")

        @step
        def fails(self) -> None:
            raise LineDown

        @step
        def note(self, what: str) -> None:
            noted.append(what)

    noted: list[str] = []
    app = working(store, Both())
    run = app.start(Both)
    app.drain()
    assert (noted, run.status()) == ([], "running")
    later(app, 60)
    assert (noted, run.status()) == (["later", "taken back"], "failed")


def test_failures_can_be_gathered_like_results():
    class All(Workflow):
        async def run(self) -> list[str]:
            results = await self.gather(self.half(4), self.half(3), return_exceptions=True)
            return [type(each).__name__ if isinstance(each, Exception) else str(each) for each in results]

        @step
        def half(self, number: int) -> int:
            if number % 2:
                raise FullyBooked(number)
            return number // 2

    app = working("memory://", All())
    run = app.start(All)
    app.drain()
    assert run.result() == ["2", "FullyBooked"]


# -- failing, and taking back


def test_an_error_is_caught_in_run_by_the_class_it_was_raised_with_then_and_after_a_restart():
    class Careful(Workflow):
        async def run(self) -> str:
            try:
                await self.book()
            except FullyBooked as full:
                await self.sleep(60)
                return f"{full.details} {isinstance(full, StepFailed)} {full}"
            return "booked"

        @step
        def book(self) -> None:
            raise FullyBooked("Rome", 3)

    app = working("memory://", Careful())
    run = app.start(Careful)
    app.drain()
    app = restarted(app, Careful())
    later(app, 60)
    assert app.workflows.run(run.id).result() == "('Rome', 3) True There is no room left: Rome, 3"


def test_compensation_goes_backwards_and_comes_through_although_a_part_of_it_fails(store: Store):
    agency = Agency()
    app = working(store, BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    agency.fails("cancel hotel in Rome 2", LineDown("closed"))
    later(app, timedelta(hours=1))
    later(app, timedelta(days=2))  # and nobody has approved
    assert agency.asked[2:] == ["cancel hotel in Rome 2", "cancel flight to Rome 1"]
    assert run.info().error is not None
    with pytest.raises(RunFailed, match="closed"):
        run.result()


def test_a_cancelled_run_takes_back_what_it_has_done(store: Store):
    agency = Agency()
    app = working(store, BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    assert run.cancel("the client has changed his mind").was == "running"
    assert run.cancel("twice").was == "running"
    app.drain()
    assert agency.asked[2:] == ["cancel hotel in Rome 2", "cancel flight to Rome 1"]
    assert app.scheduled.list() == []
    assert run.status() == "cancelled"
    with pytest.raises(RunCancelled, match="the client has changed his mind"):
        run.result()
    assert run.cancel().was == "cancelled"


def test_a_step_that_waits_for_its_next_attempt_is_cancelled_at_once():
    agency = Agency()
    agency.fails("flight to Rome", *[LineDown()] * 9)
    app = working("memory://", BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    run.cancel()
    app.drain()
    assert (run.status(), agency.asked, app.scheduled.list()) == ("cancelled", ["flight to Rome"], [])


def test_a_run_may_refuse_to_be_cancelled():
    class Stubborn(Workflow):
        async def run(self) -> str:
            try:
                await self.sleep(60)
            except asyncio.CancelledError as cancelled:
                await self.sleep(1)
                return f"not because of {cancelled}"
            return "slept"

    app = working("memory://", Stubborn())
    run = app.start(Stubborn)
    app.drain()
    run.cancel("hunger")
    app.drain()
    later(app, 1)
    assert run.result() == "not because of hunger"


def test_what_runs_side_by_side_is_cancelled_together():
    class Pair(Workflow):
        async def run(self) -> None:
            await self.gather(self.patient("a"), self.patient("b"))

        async def patient(self, name: str) -> None:
            try:
                await self.wait_for(TripApproved)
            finally:
                await self.note(name)

        @step
        def note(self, name: str) -> None:
            noted.append(name)

    noted: list[str] = []
    app = working("memory://", Pair())
    run = app.start(Pair)
    app.drain()
    run.cancel()
    app.drain()
    assert (noted, run.status()) == (["a", "b"], "cancelled")


def test_a_run_can_be_ended_at_once_without_its_code():
    agency = Agency()
    app = working("memory://", BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    assert run.cancel("a mistake", at_once=True).was == "running"
    later(app, timedelta(hours=1))
    assert (run.status(), len(agency.asked)) == ("cancelled", 2)


# -- other workflows


class Doubles(Workflow):
    async def run(self, number: int) -> int:
        if number < 0:
            raise FullyBooked(number)
        await self.sleep(60)
        return number * 2


class Parent(Workflow):
    async def run(self, number: int) -> str:
        child = await self.start(Doubles, 1)
        try:
            total = await self.call(Doubles, number)
        except FullyBooked:
            total = 0
        return f"{total} and {await child.result()}"


def test_a_run_starts_others_and_has_their_results(store: Store):
    app = working(store, Parent(), Doubles())
    run = app.start(Parent, 5)
    app.drain()
    children = app.workflows.list(Doubles)
    assert {child.parent for child in children} == {run.id}
    assert run.info().waiting_for == tuple(f"run {child.id}" for child in reversed(children))
    later(app, 60)
    assert run.result() == "10 and 2"


def test_the_failure_of_another_run_is_caught_like_that_of_a_step(store: Store):
    app = working(store, Parent(), Doubles())
    run = app.start(Parent, -1)
    app.drain()
    later(app, 60)
    assert run.result() == "0 and 2"


def test_who_is_cancelled_while_he_waits_for_another_run_cancels_it(store: Store):
    app = working(store, Parent(), Doubles())
    run = app.start(Parent, 5)
    app.drain()
    run.cancel()
    app.drain()
    assert run.status() == "cancelled"
    by_argument = {child.arguments["number"]: child.status for child in app.workflows.list(Doubles)}
    assert by_argument == {1: "running", 5: "cancelled"}


def test_a_run_that_would_go_on_for_ever_starts_the_next_one_and_ends():
    """However long the chain gets, the names in it do not."""

    class Poll(Workflow):
        async def run(self, cursor: int) -> int:
            await self.sleep(60)
            if cursor < 9:
                await self.start(Poll, cursor + 1)
            return cursor

    app = working("memory://", Poll())
    app.start(Poll, 1)
    app.drain()
    for _ in range(9):
        later(app, 60)
    runs = app.workflows.list(Poll)
    assert [run.result for run in runs] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert max(len(run.id) for run in runs) < 150


# -- what it may not


def parked(app: Sourced) -> str:
    (waiting,) = app.parked.list()
    return waiting.reason


@pytest.mark.parametrize("there_is_a_loop", [True, False])
def test_who_awaits_anything_but_steps_is_told_what_to_do(there_is_a_loop: bool):
    class Sleepy(Workflow):
        async def run(self) -> None:
            await asyncio.sleep(1)

    app = working("memory://", Sleepy())
    app.start(Sleepy)
    asyncio.run(app.aio.drain()) if there_is_a_loop else app.drain()
    assert "Sleepy.run asked for an event loop; only steps touch the world: put it into a @step" in parked(app)


def test_who_awaits_a_future_of_an_executor_is_told_what_to_do():
    class Foreign:
        def __await__(self):
            yield "a future"

    class Elsewhere(Workflow):
        async def run(self) -> None:
            await self.gather(self.helper())

        async def helper(self) -> None:
            await Foreign()

    app = working("memory://", Elsewhere())
    app.start(Elsewhere)
    app.drain()
    assert "Elsewhere.helper awaited 'a future'; only steps touch the world" in parked(app)


def test_nobody_keeps_anything_on_the_workflow_itself():
    class Keeps(Workflow):
        async def run(self) -> None:
            self.found = 1

    app = working("memory://", Keeps())
    app.start(Keeps)
    app.drain()
    assert "run set self.found, which nothing else would ever see" in parked(app)


def test_what_belongs_into_run_is_not_there_outside_of_it():
    with pytest.raises(DefinitionError, match=r"Deciding\.sleep belongs into `run`"):
        asyncio.run(Deciding().sleep(1))
    with pytest.raises(DefinitionError, match=r"Sum\.step_id belongs into a step"):
        _ = Sum(Agency()).step_id


def test_outside_of_a_run_a_step_is_the_method_it_was():
    agency = Agency()
    assert asyncio.run(BookHoliday(agency).book_flight(Trip("Rome"))).number == "flight to Rome 1"
    assert asyncio.run(Sum(agency).double(4)) == 8


def test_arguments_and_results_that_cannot_be_stored_are_refused_by_name():
    class Odd(Workflow):
        async def run(self, how: str) -> object:
            if how == "argument":
                await self.take(object())
            return object() if how == "result" else await self.give()

        @step
        def take(self, thing: object) -> None: ...

        @step(retries=3)
        def give(self) -> object:
            return object()

    app = working("memory://", Odd())
    taken, given, returned = (app.start(Odd, how) for how in ("argument", "step", "result"))
    app.drain()
    assert "thing: <object object at" in str(taken.info().error)
    assert "Odd.give returned <object object at" in str(given.info().error)
    assert "Odd.run returned <object object at" in returned.info().parked


def test_what_cannot_be_stored_does_not_get_into_the_context():
    class Odd(Workflow):
        async def run(self) -> None:
            await self.keep()

        @step(retries=3)
        def keep(self) -> None:
            self.context["it"] = object()

    app = working("memory://", Odd())
    run = app.start(Odd)
    app.drain()
    assert "Odd.keep put into the context what cannot be stored as JSON" in str(run.info().error)


def test_wrong_arguments_are_refused_before_anything_is_stored():
    app = working("memory://", BookHoliday(Agency()))
    with pytest.raises(TypeError, match=r"BookHoliday\.run\(self, trip: .*: missing a required argument: 'trip'"):
        app.start(BookHoliday)  # type: ignore[call-arg]
    with pytest.raises(Invalid, match="trip: Expected"):
        app.start(BookHoliday, "Rome")  # type: ignore[arg-type]
    assert app.streams() == []


# -- changed code


def changed(first: type[Workflow], then: type[Workflow]) -> str:
    """What is said when a run was begun with one code and goes on with another."""
    app = working("memory://", first())
    run = app.start(first)
    app.drain()
    app = restarted(app, then())
    later(app, 60)
    (waiting,) = app.parked.list()
    assert waiting.stream == run.id
    return waiting.reason


def code(body, *, version: int = 1) -> type[Workflow]:
    """A workflow called Changing whose `run` is this."""

    class Changing(Workflow, version=version):
        run = body

        @step
        def a(self, number: int = 0) -> int:
            return number

        @step
        def b(self, number: int = 0) -> int:
            return number

    return Changing


async def original(self) -> None:
    await self.a(1)
    await self.sleep(60)
    await self.b(2)


async def another_step_first(self) -> None:
    await self.b(1)
    await self.a(1)


async def other_arguments(self) -> None:
    await self.a(2)
    await self.sleep(60)


async def a_step_less(self) -> None:
    await self.sleep(60)


async def a_step_more(self) -> None:
    await self.a(1)
    await self.b(3)
    await self.sleep(60)


async def one_more_beside(self) -> None:
    await self.gather(self.a(1), self.b(3))
    await self.sleep(60)


async def ends_before(self) -> None:
    await self.a(1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (another_step_first, "step 'a#1:.*' was started at seq 2, where this code asks for 'b#1:"),
        (other_arguments, "step 'a#1:.*' was started at seq 2, with other arguments here: 'a#1:"),
        (a_step_less, "step 'a#1:.*' was started at seq 2, where this code asks for 'sleep#1'"),
        (a_step_more, "timer 'sleep#1' was set at seq 4, where this code asks for 'b#1:"),
        (one_more_beside, "before seq 3 this code asks for 'b#1:.*', of which its history knows nothing"),
        (ends_before, "timer 'sleep#1' was set at seq 4, where this code asks for 'the end'"),
    ],
)
def test_a_changed_code_path_is_refused_by_name(body, said: str):
    reason = changed(code(original), code(body))
    assert re.search(said, reason), reason
    assert "deploy the code it was begun with, branch on `self.version`, or fork it" in reason


def test_what_changes_only_what_is_still_to_come_is_no_divergence():
    async def longer(self) -> int:
        await self.a(1)
        await self.sleep(60)
        return int(await self.a(5))

    old = code(original)
    app = working("memory://", old())
    run = app.start(old)
    app.drain()
    app = restarted(app, code(longer)())
    later(app, 60)
    assert app.workflows.run(run.id).result() == 5


def test_code_can_branch_on_the_version_a_run_was_begun_with(store: Store):
    async def either(self) -> int:
        if self.version < 2:
            await self.a(1)
            await self.sleep(60)
            return 1
        return int(await self.b(2))

    old = code(original)
    app = working(store, old())
    first = app.start(old)
    app.drain()
    new = code(either, version=2)
    app = restarted(app, new())
    second = app.start(new)
    app.drain()
    later(app, 60)
    assert (app.workflows.run(first.id).result(), second.result()) == (1, 2)


def test_what_diverged_goes_on_once_the_code_is_back(store: Store):
    old = code(original)
    app = working(store, old())
    run = app.start(old)
    app.drain()
    wrong = restarted(app, code(other_arguments)())
    later(wrong, 60)
    with pytest.raises(TimeoutError, match="by its history step"):
        wrong.workflows.run(run.id).result(timeout=1)
    app = restarted(app, old())
    app.parked.retry()
    app.drain()
    assert app.workflows.run(run.id).status() == "completed"


# -- forking


def test_a_run_forked_from_a_step_keeps_what_was_before_and_goes_its_own_way(store: Store):
    agency = Agency()
    agency.fails("hotel in Rome", FullyBooked("Rome"))
    app = working(store, BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    assert run.status() == "failed"
    fork = app.workflows.run(app.workflows.fork(run, "book_hotel").fork)
    app.drain()
    assert trail(app, fork.id)[:5] == [
        "started",
        "step_started book_flight#1",
        "step_completed book_flight#1",
        "forked",
        "step_started book_hotel#1",
    ]
    assert agency.asked == ["flight to Rome", "hotel in Rome", "cancel flight to Rome 1", "hotel in Rome"]
    later(app, timedelta(hours=1))
    fork.signal(TripApproved("Ann"))
    app.drain()
    assert fork.result() == "flight to Rome 1 and hotel in Rome 4 for Ann"
    assert fork.info().forked_from == run.id


def test_a_fork_knows_the_messages_that_were_sent_and_does_again_what_was_under_way():
    class Wide(Workflow):
        async def run(self) -> str:
            by = (await self.wait_for(TripApproved)).by
            first, second = await self.gather(self.note("a"), self.chain())
            return f"{by} {first} {second}"

        async def chain(self) -> str:
            await self.sleep(60)
            return await self.note("b")

        @step
        def note(self, what: str) -> str:
            noted.append(what)
            return what

    noted: list[str] = []
    app = working("memory://", Wide())
    run = app.start(Wide)
    run.signal(TripApproved("Ann"))
    app.drain()
    fork = app.workflows.run(app.workflows.fork(run, "note#1").fork)
    app.drain()
    later(app, 60)
    assert (run.result(), fork.result()) == ("Ann a b", "Ann a b")
    assert noted == ["a", "a", "b", "b"]
    with pytest.raises(NotKnown, match="has not come to a step 'note#3'; it has called: note#1, note#2"):
        app.workflows.fork(run, "note#3")


# -- memory


def test_a_run_is_taken_through_its_history_only_when_nobody_remembers_it():
    class Long(Workflow):
        async def run(self) -> int:
            begun.append(self.id)
            total = 0
            for number in range(200):
                total += await self.add(number)
            return total

        @step
        def add(self, number: int) -> int:
            return number

    begun: list[str] = []
    app = working("memory://", Long())
    run = app.start(Long)
    app.drain()
    assert (run.result(), len(begun)) == (19_900, 1)
    app = working("memory://", Long(), cache=0)
    run = app.start(Long)
    app.drain()
    assert (run.result(), len(begun)) == (19_900, 202)


def test_a_run_that_is_forgotten_in_the_middle_does_nothing_more():
    """Its `finally` blocks get no further than their first await, and nothing is said of it."""

    class Last(Workflow):
        async def run(self) -> None:
            try:
                await self.sleep(60)
            finally:
                await self.note()

        @step
        def note(self) -> None:
            noted.append("noted")

    noted: list[str] = []
    app = working("memory://", Last())
    run = app.start(Last)
    app.drain()
    app._engine.memos.forget(next(iter(app._engine.router)))
    gc.collect()
    assert noted == []
    later(app, 60)
    assert (noted, run.status()) == (["noted"], "completed")


@dataclass
class Node:
    name: str
    next: "Node | None" = None


def test_time_and_luck_are_the_same_whenever_it_is_taken_through_its_history():
    class Lucky(Workflow):
        async def run(self) -> None:
            seen.append((self.now().isoformat(), self.random.random(), self.id))
            await self.sleep(60)
            seen.append((self.now().isoformat(), self.random.random(), self.id))

    seen: list[tuple[str, float, str]] = []
    app = working("memory://", Lucky(), cache=0)
    app.start(Lucky)
    app.drain()
    later(app, 60)
    assert seen[0] == seen[-2]
    assert seen[-1][0] == "2026-01-01T12:01:00+00:00"
    assert seen[-1][1] != seen[0][1]


def test_what_a_step_does_to_its_arguments_is_its_own_affair():
    class Own(Workflow):
        async def run(self, node: Node) -> str:
            await self.change(node)
            return node.name

        @step
        def change(self, node: Node) -> None:
            assert node.next is not None
            node.name = node.next.name

    app = working("memory://", Own())
    run = app.start(Own, Node("a", Node("b")))
    app.drain()
    assert run.result() == "a"
