"""Forms made from messages: what comes with a form is what the message would be without it."""

from datetime import UTC, datetime
from enum import Enum
from typing import Literal

import pytest

from sourced import Actor, Command, Event, Sourced, decide, evolve, parse
from sourced.dashboard import dashboard
from sourced.dashboard.fields import fields_of, given_fields
from tests.dashboard.asking import Caller, typed


class Speed(Enum):
    SLOW = 1
    FAST = 2


class Send(Command):
    item: str
    count: int = 2
    note: str | None = None
    at: datetime | None = None
    speed: Speed = Speed.FAST
    size: Literal["s", "m"] | None = None
    gift: bool | None = None
    tags: list[str] = []
    price: float | dict[str, float] = 1.5


def filled(**said: str) -> dict[str, str]:
    given = {field.name: field.default for field in fields_of(Send)} | {"item": "tea"} | said
    return {f"field.{name}": value for name, value in given.items()}


def test_a_form_that_is_sent_as_it_came_says_what_the_defaults_say():
    assert parse(Send, given_fields(fields_of(Send), filled())) == Send("tea")


@pytest.mark.parametrize(("name", "choices"), [("size", ("", "m", "s")), ("gift", ("", "true", "false"))])
def test_what_may_be_nothing_may_be_chosen_to_be_nothing(name: str, choices: tuple[str, ...]):
    (field,) = [each for each in fields_of(Send) if each.name == name]
    assert (field.choices, field.default) == (choices, "")


def test_what_is_said_is_taken():
    said = filled(count="3", note="null", at="2026-01-01T12:00:00Z", speed="1", size="m", gift="true", tags='["a"]')
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert parse(Send, given_fields(fields_of(Send), said)) == Send("tea", 3, "null", at, Speed.SLOW, "m", True, ["a"])


class Odd(Command):
    at: str
    command: str
    _token: str = "mine"


class Done(Event):
    how: str


class Oddity(Actor[list[str]]):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def odd(self, done: list[str], command: Odd):
        yield Done(f"{command.at} {command.command} after {len(done)}")

    @evolve
    def is_done(self, done: list[str], event: Done):
        done.append(event.how)


def test_any_name_of_a_field_is_the_messages():
    """The form has fields of its own: which command, and as of when."""
    app = Sourced()
    app.register(Oddity)
    for number in range(3):
        app.execute(Odd("noon", str(number)), to="s")
    caller = Caller(dashboard(app))
    assert 'name="field.at"' in caller.see("/would/s?command=odd&at=4")
    page = caller.send("/would/s", command="odd", at=4, **typed(at="noon", command="stop", _token="yours")).page
    assert ("noon stop after 2" in page, "decide at 4?" in page) == (True, True)
