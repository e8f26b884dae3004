"""Forms made from messages: what comes with a form is what the message would be without it."""

from datetime import UTC, datetime
from enum import Enum
from typing import Literal

import pytest

from sourced import Command, parse
from sourced.dashboard.fields import fields_of, given_fields


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
    return {**{field.name: field.default for field in fields_of(Send)}, "item": "tea", **said}


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
