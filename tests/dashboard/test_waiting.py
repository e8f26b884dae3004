"""What waits for people: what is parked, by what went wrong, and what is scheduled."""

import re
from datetime import timedelta
from html import unescape

import pytest

from sourced import Actor, Command, Park, Retry, Sourced, decide
from sourced.audit import OPERATIONS
from sourced.dashboard import dashboard, waiting
from sourced.dashboard.veil import Veil
from sourced.dashboard.waiting import cause_of
from sourced.store import Store, Straggler
from tests.dashboard.asking import Caller, text_of


class Pack(Command):
    item: str


class Packer(Actor[list[str]]):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def pack(self, packed: list[str], command: Pack) -> None:
        if command.item == "glass":
            raise RuntimeError("it is broken")
        raise ValueError(f"there is no box for {command.item}")


@pytest.fixture
def app(store: Store) -> Sourced:
    app = Sourced(store, errors=Retry(times=0, then=Park()))
    app.register(Packer)
    for stream, item in (("s1", "a mug"), ("s2", "a jug"), ("s3", "glass"), ("s4", "a pot")):
        app.dispatch(Pack(item), to=stream)
    app.drain()
    return app


@pytest.fixture
def caller(app: Sourced) -> Caller:
    return Caller(dashboard(app))


def test_one_cause_is_told_once_whatever_the_exceptions_name(caller: Caller):
    """Those that name what they were about are no less alike; what each said is told beside it."""
    page = text_of(caller.see("/parked"))
    many, one = page.index("Packer: ValueError in pack (test_waiting.py:"), page.index("Packer: RuntimeError: it is br")
    assert many < one
    assert ("3 streams" in page[many:one], "1 stream" in page[one:]) == (True, True)
    for item in ("a mug", "a jug", "a pot"):
        assert f"ValueError: there is no box for {item}" in page[many:one]


def test_all_of_one_cause_are_retried_together(app: Sourced, caller: Caller):
    caller.see("/parked")
    cause = cause_of(app.parked.list()[0], Veil())
    assert "3 streams are handed to workers again" in caller.send("/act", act="retry", group="Packer", cause=cause).page
    caller.send("/act", act="retry", group="Packer", cause=cause, confirmed=1)
    (retried,) = app.history(OPERATIONS)
    assert {each.stream for each in retried.payload.streams} == {"s1", "s2", "s4"}


def test_whoever_retried_sees_it_come_back_if_it_fails_again(app: Sourced, caller: Caller):
    assert "there is no box for a jug" in caller.live("/parked/updates")


@pytest.mark.parametrize("trace", ["", "Traceback (most recent call last):\n  gone"])
def test_without_a_place_the_whole_of_it_is_the_cause(trace: str):
    row = Straggler("g", "s", 1, parked=True, error="ValueError: no box for 7", traceback=trace)
    assert cause_of(row, Veil()) == "ValueError: no box for 7"
    assert cause_of(row, Veil(lambda thing, plain: plain)) == "ValueError: (masked)"


def test_what_is_scheduled_comes_in_pages(app: Sourced, caller: Caller, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(waiting, "SHOWN", 2)
    for days in (1, 2, 3):
        app.dispatch(Pack("ink"), to=f"due-{days}", after=timedelta(days=days))
    first = caller.see("/scheduled")
    assert [f"due-{days}" in first for days in (1, 2, 3)] == [True, True, False]
    (later,) = re.findall(r'rel="next" href="([^"]*)"', first)
    second = caller.see(unescape(later))
    assert [f"due-{days}" in second for days in (1, 2, 3)] == [False, False, True]
    assert 'rel="next"' not in second
    (updates,) = re.findall(r'sse-connect="([^"]*)"', second)
    live = caller.live(unescape(updates))
    assert ("due-3" in live, "due-1" in live) == (True, False)
    for due in ("yesterday", "2030-01-01T12:00:00"):
        assert f"found {due!r}" in text_of(caller.get(f"/scheduled?due={due}").page)


def test_what_is_scheduled_says_when_and_goes_when_its_time_has_come(app: Sourced, caller: Caller):
    app.dispatch(Pack("tea"), to="s9", after=timedelta(days=3))
    assert "in 2 d 23 h" in text_of(caller.see("/scheduled"))
    assert "s9" in caller.live("/scheduled/updates")
