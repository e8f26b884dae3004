"""The room of workflows: runs page by page, and what is done to them, told with who and why."""

import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

import pytest

from sourced import Sourced
from sourced.audit import OPERATIONS, WorkflowCancelled, WorkflowForked
from sourced.codec import Record
from sourced.dashboard import dashboard
from sourced.ops import Op
from sourced.store import Range
from tests.dashboard.asking import Caller, text_of, typed
from tests.workflows.holiday import Agency, BookHoliday, FullyBooked, Sum, Trip, later, working


@pytest.fixture
def agency() -> Agency:
    return Agency()


@pytest.fixture
def app(agency: Agency) -> Sourced:
    return working("memory://", BookHoliday(agency), Sum(agency))


@pytest.fixture
def caller(app: Sourced) -> Caller:
    return Caller(dashboard(app))


def test_runs_are_found_page_by_page_by_status_and_by_workflow(app: Sourced, caller: Caller):
    assert "There are no such runs" in caller.see("/workflows")
    for number in range(101):
        app.start(Sum.named(f"{number:03}"), number)
    holiday = app.start(BookHoliday.named("rome"), Trip("Rome"))
    app.drain()
    page = caller.see("/workflows")
    assert (page.count("/runs/"), "/runs/book_holiday-rome" in page) == (100, True)
    page = caller.see("/workflows?before=sum-002")
    assert (page.count("/runs/"), 'rel="next"' in page) == (2, False)
    page = caller.see("/workflows?status=completed")
    assert (page.count("/runs/"), "/runs/book_holiday-rome" in page) == (100, False)
    assert 'rel="next" href="/workflows?status=completed&amp;before=sum-' in page
    page = caller.see("/workflows?status=running&workflow=BookHoliday")
    assert (page.count("/runs/"), holiday.id in page) == (1, True)
    assert "There are no such runs" in caller.see("/workflows?status=running&workflow=Sum")


def test_every_message_of_a_run_is_a_link_that_leads_to_it(app: Sourced, agency: Agency, caller: Caller):
    """Attempts are named after their step, `book_flight#1` and all."""
    agency.fails("flight to Rome", OSError("no dial tone"))
    run = app.start(BookHoliday.named("summer/rome"), Trip("Rome"))
    app.drain()
    later(app, 1)
    for page in (caller.see(f"/runs/{run.id}"), caller.see(f"/streams/{run.id}"), caller.see("/messages")):
        found = {unquote(path) for path in re.findall(r'href="(/messages/[^"?#]+)"', page)}
        assert found >= {f"/messages/{message.id}" for message in run.history()}
    assert any("#" in message.id for message in run.history())
    for message in run.history():
        assert message.type in caller.see(f"/messages/{message.id}")


def test_a_run_is_cancelled_once_somebody_has_said_so(app: Sourced, caller: Caller):
    run = app.start(BookHoliday.named("rome"), Trip("Rome"))
    app.drain()
    assert "Cancel" in caller.see(f"/runs/{run.id}")
    asked = caller.send("/act", act="cancel_run", run=run.id)
    assert "It is asked to end, and may take back what it has done." in text_of(asked.page)
    assert (run.status(), app.history(OPERATIONS)) == ("running", [])
    done = caller.send("/act", act="cancel_run", run=run.id, confirmed="1", reason="rain", back=f"/runs/{run.id}")
    assert (done.status, done.headers["location"]) == (303, f"/runs/{run.id}")
    app.drain()
    assert run.status() == "cancelled"
    (told,) = app.history(OPERATIONS)
    assert isinstance(told.payload, WorkflowCancelled)
    assert (told.payload.by, told.payload.reason, told.payload.run) == ("dashboard@127.0.0.1", "rain", run.id)


def test_a_run_is_forked_and_the_new_one_is_shown(app: Sourced, agency: Agency, caller: Caller):
    agency.fails("hotel in Rome", FullyBooked("Rome"))
    run = app.start(BookHoliday.named("rome"), Trip("Rome"))
    app.drain()
    assert "Fork before it" in caller.see(f"/runs/{run.id}")
    assert "knows the first 3 messages of" in text_of(
        caller.send("/act", act="fork", run=run.id, step="book_hotel#1").page
    )
    done = caller.send("/act", act="fork", run=run.id, step="book_hotel#1", confirmed="1")
    (told,) = app.history(OPERATIONS)
    assert isinstance(told.payload, WorkflowForked)
    assert (done.status, done.headers["location"]) == (303, f"/runs/{told.payload.fork}")
    assert "forked from" in caller.see(f"/runs/{told.payload.fork}")
    assert caller.send("/act", act="fork", run=run.id, step="fly").status == 422


def test_whatever_a_run_is_called_an_act_leads_back_to_it(app: Sourced, caller: Caller):
    run = app.start(BookHoliday.named("größe? #1/a b"), Trip("Rome"))
    app.drain()
    there = f"/runs/{quote(run.id, safe='')}"
    caller.see(there)
    assert caller.send(f"{there}/signal", message="trip_approved", **typed(by="Ann")).headers["location"] == there
    answer = caller.send(f"{there}/signal", {"hx-request": "true"}, message="trip_approved", **typed(by="Ann"))
    assert (answer.status, answer.headers["hx-redirect"]) == (204, there)
    told = [each.metadata for each in run.history() if each.type == "trip_approved"]
    assert told == [{"by": "dashboard@127.0.0.1"}] * 2  # a signal is in the log with who sent it, as every act is
    forked = caller.send("/act", act="fork", run=run.id, step="book_flight#1", confirmed="1").headers["location"]
    assert "forked from" in caller.see(forked)


def test_how_a_run_is_doing_and_what_tells_it_are_of_one_read(app: Sourced, caller: Caller, agency: Agency):
    """Or it has ended on one half of the page, and goes on on the other."""
    run = app.start(Sum.named("1"), 1)
    app.drain()
    read, histories = list[str](), app.store.histories

    def counted(ranges: Sequence[Range]) -> Op[list[Sequence[Record]]]:
        read.extend(each.stream for each in ranges)
        return (yield from histories(ranges))

    app.store.histories = counted  # type: ignore[method-assign]
    assert "completed" in caller.see(f"/runs/{run.id}")
    assert read == [run.id]
