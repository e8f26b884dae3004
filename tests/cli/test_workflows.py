"""Runs of workflows on the command line: what each waits for, and what to do about it."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sourced.cli.program import program

APP = """
from datetime import timedelta
from sourced import Event, Rejection, Sourced, Workflow, step

class Approved(Event, type="approved"):
    by: str

class FullyBooked(Rejection):
    '''There is no room left.'''

class Book(Workflow):
    async def run(self, to: str) -> str:
        flight = await self.flight(to)
        approved = await self.wait_for(Approved)
        return f"{flight} for {approved.by}"

    @step
    def flight(self, to: str) -> str:
        if to == "Atlantis":
            raise FullyBooked(to)
        return f"flight to {to}"

class Other(Workflow):
    async def run(self) -> None: ...

app = Sourced("sqlite:///trips.db")
app.register(Book, Other)
"""


@pytest.fixture
def trips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with an app in it; `drain()` works on what there is."""
    (tmp_path / "trips.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def sourced(*words: object, code: int = 0) -> str:
        forgotten()
        result = CliRunner().invoke(program, ["workflows", *map(str, words)], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    yield sourced
    forgotten()


def forgotten() -> None:
    """Every command is a process of its own."""
    if module := sys.modules.pop("trips", None):
        module.app.close()


def begun(*places: str) -> list[str]:
    """Runs that have got as far as they get."""
    forgotten()
    sys.path.insert(0, ".")
    try:
        import trips  # type: ignore[import-not-found]  # it is written by the fixture

        runs = [trips.app.start(trips.Book.named(place), place).id for place in places]
        trips.app.drain()
        trips.app.close()
        return runs
    finally:
        sys.path.remove(".")


def test_runs_are_listed_newest_first_with_what_each_waits_for(trips):
    assert trips("list", "trips:app") == "no run has been started"
    rome, atlantis = begun("Rome", "Atlantis")
    told = trips("list", "trips:app")
    assert told.index(atlantis) < told.index(rome)
    assert "running" in told
    assert "waits for approved" in told
    assert "FullyBooked: There is no room left: Atlantis" in told
    assert rome not in trips("list", "trips:app", "--status", "failed")
    assert trips("list", "trips:app", "--workflow", "Other") == "no run has been started"
    found = json.loads(trips("list", "trips:app", "-w", "book", "--json"))
    assert [each["id"] for each in found] == [atlantis, rome]
    assert "expected one of running, completed" in trips("list", "trips:app", "--status", "odd", code=2)
    assert "registered are: Book, Other" in trips("list", "trips:app", "-w", "Odd", code=1)


def test_a_run_is_shown_step_by_step(trips):
    rome, atlantis = begun("Rome", "Atlantis")
    told = trips("show", "trips:app", rome)
    assert 'with {"to":"Rome"}' in told
    assert "flight#1 completed 1" in told
    assert '→ "flight to Rome"' in told
    assert "waits for approved" in told
    told = trips("show", "trips:app", atlantis)
    assert "failed" in told
    assert "in flight raise FullyBooked(to)" in told
    assert json.loads(trips("show", "trips:app", rome, "--json"))["arguments"] == {"to": "Rome"}
    assert "there is no run 'book-Oslo'" in trips("show", "trips:app", "book-Oslo", code=1)


def test_a_run_is_sent_what_it_waits_for(trips):
    (rome,) = begun("Rome")
    assert "stored as book-Rome#5" in trips("signal", "trips:app", rome, "approved", '{"by": "Ann"}')
    begun("Rome")
    assert '→ "flight to Rome for Ann"' in trips("show", "trips:app", rome)
    assert "expected a JSON object" in trips("signal", "trips:app", rome, "approved", "{", code=2)
    assert "no message named 'odd'" in trips("signal", "trips:app", rome, "odd", code=1)


def test_a_run_is_cancelled_with_who_and_why(trips):
    (rome,) = begun("Rome")
    asked = ("cancel", "trips:app", rome, "--reason", "rain", "--by", "ann")
    assert trips(*asked, "--dry-run") == "would cancel book-Rome, which waits for approved"
    assert trips(*asked) == "asked to end: book-Rome, which waits for approved"
    begun("Rome")
    assert trips(*asked) == "book-Rome is over: it is cancelled"
    told = trips("show", "trips:app", rome)
    assert "cancelled" in told
    assert "rain" in told


def test_a_run_is_ended_at_once(trips):
    (rome,) = begun("Rome")
    assert trips("cancel", "trips:app", rome, "--at-once") == "cancelled book-Rome, which waits for approved"
    assert "cancelled" in trips("show", "trips:app", rome)


def test_a_run_is_forked_before_a_step(trips):
    (rome,) = begun("Rome")
    new = trips("fork", "trips:app", rome, "flight").split()[0]
    assert f"forked from: {rome}" in trips("show", "trips:app", new)
    assert "has called: flight#1" in trips("fork", "trips:app", rome, "hotel", code=1)


def test_a_run_is_started_once_under_its_name(trips):
    assert trips("start", "trips:app", "Book", "to=Rome", "--id", "r 1") == (
        "book-r 1 is started; how it does: sourced workflows show trips:app 'book-r 1'"
    )
    told = trips("start", "trips:app", "book", '{"to": "Oslo"}', "--id", "r 1")
    assert "book-r 1 was started before, and goes on as it was" in told
    assert [each["arguments"] for each in json.loads(trips("list", "trips:app", "--json"))] == [{"to": "Rome"}]


def test_a_run_is_started_with_arguments_that_fit_or_not_at_all(trips):
    assert "a: there is no such parameter; to: Required" in trips("start", "trips:app", "Book", "a=1", code=1)
    assert "to: Expected str, got int" in trips("start", "trips:app", "Book", "to:=1", code=1)
    assert "registered are: Book, Other" in trips("start", "trips:app", "Odd", code=1)
    for wrong in (["Rome"], ["=Rome"], ["to:={"], ["{}", "to=Rome"]):
        assert "expected a JSON object" in (told := trips("start", "trips:app", "Book", *wrong, code=2)) or ":=" in told
    assert trips("list", "trips:app") == "no run has been started"


def test_a_run_is_started_and_waited_for(trips):
    for place, odd in (("Rome", 0), ("Atlantis", 1)):
        begin = ("start", "trips:app", "Book", f"to={place}", "--id", place)
        told = trips(*begin, "--wait", "0", code=1)
        assert "nobody has come to it yet; is a worker running?" in told
        begun(place)
        if not odd:
            assert "approved" in trips(*begin, "--wait", "0", code=1)
            trips("signal", "trips:app", f"book-{place}", "approved", "by=Ann")
            begun(place)
        told = trips(*begin, "--wait", "0", code=odd)
        assert ("FullyBooked: There is no room left" if odd else "completed after") in told
        found = trips(*begin, "--wait", "0", "--json", code=odd)
        assert f'"status": "{"failed" if odd else "completed"}"' in found
