"""Workflows: ordinary code whose steps are carried out once, whatever becomes of the process."""

from datetime import timedelta

import pytest

from sourced import RunFailed, Sourced, Workflow, step
from sourced.errors import StillRunning, UnknownMessage
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


def test_a_run_is_written_down_event_by_event_and_has_a_result(store: Store):
    """L196."""
    app = working(store, Sum(Agency()))
    run = app.start(Sum, 2, 3)
    app.drain()
    assert trail(app, run.id) == [
        "started",
        "step_started double#1",
        "step_completed double#1",
        "step_started double#2",
        "step_completed double#2",
        "completed",
    ]
    assert (run.result(), run.status()) == (10, "completed")
    assert [message.type for message in run.history()][:2] == ["sum.started", "sum.step_started"]


def test_a_step_that_fails_is_written_down_readably_and_tried_again(store: Store):
    """L197."""
    agency = Agency()
    agency.fails("flight to Rome", LineDown("no dial tone"))
    app = working(store, BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    (failed,) = [message.payload for message in run.history() if isinstance(message.payload, BookHoliday.StepFailed)]
    assert (failed.attempt, failed.error.type, failed.error.message) == (1, "LineDown", "no dial tone")
    assert "in book_flight" in failed.error.traceback
    assert run.info().waiting_for[0].startswith("step book_flight#1, to be tried again at")
    later(app, 1)
    assert trail(app, run.id)[2:5] == [
        "step_failed book_flight#1",
        "step_started book_flight#1",
        "step_completed book_flight#1",
    ]
    assert agency.asked == ["flight to Rome", "flight to Rome", "hotel in Rome"]


def test_another_process_goes_on_where_the_first_one_was_with_what_it_had_come_to(store: Store):
    """L198. L199. Keys of steps are the same in every process."""
    first, second = Agency(), Agency()
    app = working(store, BookHoliday(first))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    app = restarted(app, BookHoliday(second))
    later(app, timedelta(hours=1))
    app.signal(run.id, TripApproved("Ann"))
    app.drain()
    assert app.workflows.run(run.id).result() == "flight to Rome 1 and hotel in Rome 2 for Ann"
    assert (first.asked, second.asked) == (["flight to Rome", "hotel in Rome"], [])


def test_equal_calls_of_a_step_that_is_done_once_are_one(store: Store):
    """L201."""

    class Once(Workflow):
        async def run(self) -> int:
            return await self.double(2) + await self.double(4) + await self.double(2)

        @step(once=True)
        def double(self, number: int) -> int:
            agency.ask(f"double {number}")
            return number * 2

    agency = Agency()
    app = working(store, Once())
    run = app.start(Once)
    app.drain()
    assert run.result() == 16
    assert agency.asked == ["double 2", "double 4"]


def test_a_step_that_always_fails_is_tried_so_often_and_then_the_run_has_failed(store: Store):
    """L202. `retries` come after the first attempt, as everywhere in Sourced: one retry is two attempts."""
    agency = Agency()
    agency.fails("hotel in Rome", *[LineDown("dead")] * 10)
    app = working(store, BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    later(app, 1)
    assert agency.asked == ["flight to Rome", "hotel in Rome", "hotel in Rome", "cancel flight to Rome 1"]
    assert run.status() == "failed"
    with pytest.raises(LineDown, match="dead") as failed:
        run.result()
    assert isinstance(failed.value, RunFailed)
    before = trail(app, run.id)
    app.signal(run.id, TripApproved("Ann"))
    later(app, timedelta(days=3))
    assert trail(app, run.id) == [*before, "trip_approved"]


def test_what_a_step_keeps_in_the_context_is_stored_although_it_fails(store: Store):
    """L204. The next attempt sees it, and so does `run`."""

    class Paging(Workflow):
        async def run(self) -> int:
            self.context["page"] = 0
            await self.fetch()
            return int(self.context["page"])

        @step(retries=3)
        def fetch(self) -> None:
            self.context["page"] += 1
            if self.context["page"] < 3:
                raise LineDown

    app = working(store, Paging())
    run = app.start(Paging)
    app.drain()
    later(app, 1)
    later(app, 2)
    assert run.result() == 3
    assert "context_changed" in trail(app, run.id)


def test_a_wait_is_over_when_its_time_has_come_and_not_before(store: Store):
    """L205. L206. Other messages of the run's stream do not end it."""
    app = working(store, BookHoliday(Agency()))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    (timer,) = [message.payload for message in run.history() if isinstance(message.payload, BookHoliday.TimerSet)]
    (scheduled,) = app.scheduled.list()
    assert scheduled.at == timer.at == app._engine.clock.now() + timedelta(hours=1)
    before = trail(app, run.id)
    app.append(run.id, TripDeclined("Bob"))
    app.signal(run.id, TripApproved("Ann"))
    later(app, timedelta(minutes=59))
    assert trail(app, run.id) == [*before, "trip_declined", "trip_approved"]
    later(app, timedelta(minutes=1))
    assert trail(app, run.id)[-2:] == ["timer_fired sleep#1", "completed"]
    assert run.result().endswith("for Ann")  # it had come before anybody waited for it


def test_a_message_that_the_workflow_does_not_know_is_refused(store: Store):
    """L207."""
    app = working(store, BookHoliday(Agency()), Sum(Agency()))
    run = app.start(BookHoliday, Trip("Rome"))
    with pytest.raises(UnknownMessage, match=r"'sum\.started' in BookHoliday, which waits for trip_approved"):
        app.signal(run, Sum.Started({}))
    with pytest.raises(UnknownMessage, match="trip_declined"):
        run.signal(TripDeclined("Bob"))
    app.append(run.id, Sum.StepCompleted("double#1", 4))  # by force
    app.drain()
    assert "sum.step_completed" in run.info().parked


def test_runs_of_two_workflows_are_completed_each_with_its_own_output(store: Store):
    """L208. A waiter gets it, or hears in time that there is none yet."""
    app = working(store, BookHoliday(Agency()), Sum(Agency()))
    holiday, total = app.start(BookHoliday, Trip("Rome")), app.start(Sum, 1)
    with pytest.raises(StillRunning, match="nobody has come to it yet"):
        total.result(timeout=1)
    app.drain()
    assert total.result() == 2
    with pytest.raises(TimeoutError, match="has no result after 1 s; it waits for: 2026-01-01 13:00:00"):
        holiday.result(timeout=1)


def test_many_steps_that_change_the_context_come_through_with_any_batch(store: Store):
    """L209."""

    class Counting(Workflow):
        async def run(self) -> int:
            await self.gather(*(self.count() for _ in range(5)))
            for _ in range(5):
                await self.count()
            return len(self.context)

        @step
        def count(self) -> None:
            self.context[self.step_id] = True

    app = working(store, Counting(), batch=50)
    runs = [app.start(Counting) for _ in range(3)]
    app.drain()
    assert [run.result() for run in runs] == [10, 10, 10]


def test_a_rejection_is_an_answer_and_no_reason_to_try_again():
    agency = Agency()
    agency.fails("flight to Rome", FullyBooked("Rome"))
    app = working("memory://", BookHoliday(agency))
    run = app.start(BookHoliday, Trip("Rome"))
    app.drain()
    with pytest.raises(FullyBooked, match="There is no room left: Rome") as refused:
        run.result()
    assert refused.value.details == ("Rome",)
    assert agency.asked == ["flight to Rome"]


def test_a_run_of_one_name_is_begun_once():
    app = working("memory://", Sum(Agency()))
    one, other = app.start(Sum.named("today"), 1), app.start(Sum.named("today"), 2)
    app.drain()
    assert (one.id, other.id, other.result()) == ("sum-today", "sum-today", 2)


def test_what_caused_what_can_be_told_of_a_run():
    app: Sourced = working("memory://", Sum(Agency()))
    run = app.start(Sum.named("today", metadata={"user": "ann"}), 1)
    app.drain()
    history = run.history()
    assert [each.causation_id for each in history[1:]] == [each.id for each in history[:-1]]
    assert {each.correlation_id for each in history} == {history[0].id}
    assert all(each.metadata == {"user": "ann"} for each in history)
