"""The test that the time machine writes down runs as it is, whatever is in the messages."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from sourced import Actor, Command, Event, Rejection, decide, evolve
from sourced.dashboard.written import MOST, scenario
from sourced.messages import Payload


class Speed(Enum):
    FAST = "fast"


class Size(msgspec.Struct, frozen=True):
    width: int


@dataclass(frozen=True)
class Place:
    name: str
    size: Size | None = None


class Full(Rejection):
    """It is full."""


class Depot(Actor[list[Any]]):
    class Bring(Command):
        at: datetime
        speed: Speed = Speed.FAST
        places: tuple[Place, ...] = ()

    class Brought(Event):
        at: datetime
        day: date
        how: Mapping[str, Any]
        speed: Speed
        places: tuple[Place, ...]
        weight: Decimal
        number: UUID
        tags: frozenset[str]
        took: timedelta

    def initial(self, stream: str) -> list[Any]:
        return []

    @decide
    def bring(self, brought: list[Any], command: Bring):
        if len(brought) == 2:
            raise Full
        if command.at == LATE:
            raise ValueError("too late")
        yield what(command.at, command.places)

    @evolve
    def is_there(self, brought: list[Any], event: Brought):
        brought.append(event)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATE = datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"))
THERE = (Place("a 'shelf'", Size(3)), Place("größe\n☕"))


def what(at: datetime, places: tuple[Place, ...] = ()) -> Depot.Brought:
    return Depot.Brought(
        at, date(2026, 1, 1), {"a": [1, {"b": None}], "f": 1.5}, Speed.FAST, places, Decimal("1.50"),
        uuid.UUID(int=7), frozenset({"x"}), timedelta(seconds=3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("history", "command", "events", "refusal"),
    [
        ([], Depot.Bring(NOON, places=THERE), [what(NOON, THERE)], None),
        ([what(LATE, THERE[:1])], Depot.Bring(NOON), [what(NOON)], None),
        ([what(NOON), what(NOON)], Depot.Bring(NOON), [], Full()),
        ([], Depot.Bring(LATE), [], ValueError("too late")),
    ],
)
def test_it_runs_as_it_is(history: list[Payload], command: Payload, events: list[Payload], refusal: Exception | None):
    scope: dict[str, Any] = {}
    exec(scenario(Depot, "it's/one", history, command, events, refusal), scope)
    scope["test_bring"]()


def test_one_that_expects_something_else_fails():
    scope: dict[str, Any] = {}
    exec(scenario(Depot, "d", [], Depot.Bring(NOON), [what(LATE)], None), scope)
    with pytest.raises(AssertionError, match="expected"):
        scope["test_bring"]()


def test_what_is_longer_than_anybody_reads_is_not_written_down():
    assert "501 messages: too many" in scenario(Depot, "d", [what(NOON)] * (MOST + 1), Depot.Bring(NOON), [], None)
