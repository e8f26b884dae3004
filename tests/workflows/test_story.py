"""Given, when, then for workflows."""

import random
from datetime import timedelta

import pytest

from sourced import Actor, Command, DefinitionError, Event, Sourced, Workflow, decide, dispatch, step
from sourced.testing import VirtualClock, given
from tests.workflows.holiday import (
    Agency,
    BookHoliday,
    FullyBooked,
    LineDown,
    Sum,
    Trip,
    TripApproved,
    TripDeclined,
)

HOUR = timedelta(hours=1)


def test_a_holiday_is_booked():
    (
        given(BookHoliday(Agency()))
        .when_started(Trip("Rome"))
        .then_steps("book_flight", "book_hotel")
        .then_waits_for("2026-01-01 13:00:00")
        .after(HOUR)
        .then_waits_for(TripApproved)
        .when(TripApproved("Ann"))
        .then_result("flight to Rome 1 and hotel in Rome 2 for Ann")
    )


def test_time_that_passes_lets_happen_what_is_due_on_the_way():
    agency = Agency()
    agency.fails("flight to Rome", LineDown(), LineDown())
    story = given(BookHoliday(agency)).when_started(Trip("Rome")).after(HOUR + timedelta(days=3))
    story.then_raises(TimeoutError).then_steps("book_flight", "book_hotel", "cancel_hotel", "cancel_flight")
    flight, hotel, *_ = story.info.steps
    assert (flight.attempts, hotel.started_at - flight.started_at) == (3, timedelta(seconds=3))
    assert story.info.ended_at == hotel.started_at + HOUR + timedelta(days=2)


def test_a_refusal_is_compared_by_its_class_or_by_its_words_too():
    agency = Agency()
    agency.fails("flight to Rome", FullyBooked("Rome"))
    story = given(BookHoliday(agency)).when_started(Trip("Rome"))
    story.then_raises(FullyBooked).then_raises(FullyBooked("Rome"))
    with pytest.raises(AssertionError, match="FullyBooked\\('Oslo'\\), found FullyBooked: There is no room left: Rome"):
        story.then_raises(FullyBooked("Oslo"))
    with pytest.raises(AssertionError, match="expected the result 1, but it is failed: FullyBooked"):
        story.then_result(1)


def test_a_cancelled_run():
    story = given(BookHoliday(Agency())).when_started(Trip("Rome")).when_cancelled("rain").then_cancelled()
    assert story.info.reason == "rain"


def test_what_did_not_happen_is_told():
    story = given(Sum(Agency())).when_started(1)
    with pytest.raises(AssertionError, match=r"expected the result 3\n +found 2"):
        story.then_result(3)
    with pytest.raises(AssertionError, match=r"expected the steps triple\n +found double"):
        story.then_steps("triple")
    with pytest.raises(AssertionError, match="expected it to wait for trip_declined, but it is completed"):
        story.then_waits_for(TripDeclined)
    with pytest.raises(AssertionError, match="expected it to be cancelled, but it is completed"):
        story.then_cancelled()
    with pytest.raises(TypeError, match="a story is told of one run"):
        story.when_started(1)
    with pytest.raises(TypeError, match="there is no run yet"):
        given(Sum(Agency())).when(TripApproved("Ann"))
    waiting = given(BookHoliday(Agency())).when_started(Trip("Rome"))
    with pytest.raises(AssertionError, match=r"expected it to wait for trip_declined\n +found"):
        waiting.then_waits_for(TripDeclined)
    with pytest.raises(AssertionError, match="expected the result 1, but it is running, waiting for 2026"):
        waiting.then_result(1)


def test_code_that_is_not_the_same_every_time_is_found_out():
    """Every message takes the run through its whole history."""

    class Unsteady(Workflow):
        async def run(self) -> None:
            await self.roll(random.random())

        @step
        def roll(self, luck: float) -> None: ...

    story = given(Unsteady).when_started()
    with pytest.raises(AssertionError, match=r"it cannot go on: .* with other arguments here"):
        story.then_result(None)


class Ask(Command):
    run: str


class Asked(Event):
    run: str


class Office(Actor[None]):
    @decide
    def ask(self, state: None, command: Ask):
        yield Asked(command.run)


class Asking(Workflow):
    async def run(self) -> str:
        return (await self.wait_for(TripApproved)).by


def test_other_reactors_take_part():
    story = given(Asking, Office).when_started().when(dispatch(Ask("now"), to="office"))
    assert [each.type for each in story.app.history("office")] == ["ask", "asked"]
    story.when(TripApproved("Ann")).then_result("Ann")


def test_a_unit_takes_no_workflow():
    app = Sourced(clock=VirtualClock())
    app.register(Office, Sum(Agency()))
    with pytest.raises(DefinitionError, match="Sum is a workflow, and what its steps do is not taken back"):
        app.unit(Office, Sum)
