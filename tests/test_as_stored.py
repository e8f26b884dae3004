"""A value is the same whoever looks at it: in the foreground, in the background, in memory and in the log."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import inf, nan
from typing import Annotated, Any, Literal, NewType
from zoneinfo import ZoneInfo

import msgspec
import pytest

from sourced import Actor, Command, Event, Invalid, Message, Meta, Sourced, decide, dispatch, evolve, react
from sourced.errors import DefinitionError
from sourced.messages import detached
from sourced.reactor import Delivery, Reactor
from sourced.store import Store

Price = NewType("Price", Decimal)


class Size(Enum):
    SMALL = "small"


class Place(msgspec.Struct):
    name: str
    since: date | None = None


class Deliver(Command, type="as stored.deliver"):
    on: date
    places: list[Place] = []
    weight: float = 0.5
    size: Size = Size.SMALL


class Delivered(Event, type="as stored.delivered"):
    on: date
    places: tuple[Place, ...] = ()
    weight: float = 0.5
    size: Size = Size.SMALL


class Parcels(Actor[list[Any]], group="parcels"):
    """Keeps all that its methods were given; yields its events as text again."""

    def initial(self, stream: str) -> list[Any]:
        return []

    @decide
    def deliver(self, seen: list[Any], command: Deliver) -> Any:
        seen += command.on, command.places, command.weight, command.size
        yield Delivered(str(command.on), [{"name": "Oslo", "since": "2026-01-02"}], 3, "small")  # type: ignore[arg-type]

    @evolve
    def delivered(self, seen: list[Any], event: Delivered) -> None:
        seen += event.on, event.places, event.weight, event.size


AS_TEXT = Deliver("2026-12-24", [{"name": "Rome"}], 2, "small")  # type: ignore[arg-type,list-item]
WANTED = [date(2026, 12, 24), [Place("Rome")], 2.0, Size.SMALL]
ANSWERED = [date(2026, 12, 24), (Place("Oslo", date(2026, 1, 2)),), 3.0, Size.SMALL]


@pytest.mark.parametrize("how", ["in memory", "loaded", "routed", "a message", "unit", "transaction", "queued"])
def test_what_was_written_as_text_is_what_its_field_says_wherever_it_is_looked_at(how: str, store: Store):
    app = Sourced(store)
    app.register(Parcels)
    decision: Any = None
    loaded: Any = Parcels.blank("p") if how == "in memory" else app.load(Parcels, "p")
    if how in ("in memory", "loaded"):
        decision = loaded.decide(AS_TEXT) if how == "in memory" else loaded.execute(AS_TEXT)
        seen = loaded.state
    else:
        actor = app._engine.router.actor(Parcels)
        if how == "routed":
            decision = app.execute(AS_TEXT, to="p")
        elif how == "a message":
            decision = app.execute(Message.new(AS_TEXT, stream="p"))
        elif how == "unit":
            decision = app.unit(Parcels).execute(AS_TEXT, to="p")
        elif how == "transaction":
            with app.transaction() as client:
                decision = client.execute(AS_TEXT, to="p")
        else:
            app.dispatch(AS_TEXT, to="p")
            app.drain(raise_errors=True)
        memo: Any = app._engine.memos.take(actor, "p")
        seen = memo.head.state
    if how != "transaction":  # which remembers nothing
        assert seen == WANTED + ANSWERED
    if decision is not None:
        assert values(decision.command.payload) == WANTED
        assert values(decision.events[0].payload) == ANSWERED
    if how != "in memory":
        assert [values(message.payload) for message in app.history("p")] == [WANTED, ANSWERED]


def values(payload: Any) -> list[Any]:
    return [payload.on, payload.places, payload.weight, payload.size]


def test_what_is_appended_comes_back_as_it_is_stored(store: Store):
    app = Sourced(store)
    (message,) = app.append("p", Delivered("2026-12-24"))  # type: ignore[arg-type]
    assert message.payload == Delivered(date(2026, 12, 24)) == app.history("p")[0].payload


def test_what_does_not_fit_is_refused_at_the_door_and_names_every_field():
    app = Sourced()
    app.register(Parcels)
    wrong = Deliver(1, [], "heavy", "large")  # type: ignore[arg-type]
    for refusing in (app.execute, app.dispatch, app.unit(Parcels).execute):
        with pytest.raises(Invalid) as caught:
            refusing(wrong, to="p")
        assert caught.value.fields == {
            "on": "Expected date, got int",
            "weight": "Expected float, got str",
            "size": "Invalid enum value 'large'",
        }
    with pytest.raises(Invalid):
        app.append("p", Delivered("no day"))  # type: ignore[arg-type]
    assert app.history("p") == []


class Wide(Event, type="as stored.wide"):
    number: Annotated[int, Meta(gt=0)] | None
    kind: Literal["a", "b"]
    price: Price
    text: str
    anything: Any = None


def test_only_what_would_be_read_otherwise_is_read():
    """The others are passed on as they are: that costs next to nothing."""
    for plain in (Wide(1, "a", Price(Decimal(2)), "x"), Wide(None, "b", Price(Decimal("2.50")), "x")):
        assert detached(plain) is plain
    text: Any = "2.5"
    assert detached(Wide(1, "a", text, "x")) == Wide(1, "a", Price(Decimal("2.5")), "x")
    anything = (1, date(2026, 1, 2))
    assert detached(Wide(1, "a", Price(Decimal(2)), "x", anything)).anything == [1, "2026-01-02"]


def test_what_json_cannot_hold_is_told_where_it_is_yielded():
    with pytest.raises(DefinitionError, match="Wide cannot be stored as JSON"):
        detached(Wide(1, "a", Price(Decimal(1)), "x", object()))


class Open(Command, type="as stored.open"): ...


class Opened(Event, type="as stored.opened"): ...


class Doors(Actor[None], group="doors"):
    @decide
    def open(self, state: None, command: Open) -> Any:
        yield Opened()

    @react
    def opened(self, state: None, event: Opened) -> Any:
        yield AS_TEXT
        yield dispatch(AS_TEXT, after=60)


class Noting(Reactor, group="noting"):
    handles = (Deliver,)

    def __init__(self) -> None:
        self.noted: list[list[Any]] = []

    def handle(self, delivery: Delivery) -> None:
        self.noted.append(values(delivery.message.payload))


def test_what_a_reaction_sends_in_a_unit_is_what_it_would_be_from_the_log(store: Store):
    app, noting = Sourced(store), Noting()
    app.register(Doors, noting)
    cascade = app.unit(Doors, noting).execute(Open(), to="d")
    assert noting.noted == [WANTED]
    assert [values(each.payload) for each in (cascade.messages[-1], *cascade.scheduled)] == [WANTED, WANTED]


class Measured(Event, type="as stored.measured"):
    at: datetime
    by: time = time()
    found: float | None = None


def test_a_time_has_no_place_and_a_number_is_a_number_or_nothing():
    """JSON knows how far ahead a time is, and not where, so that a day later it is another hour there."""
    there = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    read = detached(Measured(there)).at
    assert read == there
    assert read + timedelta(days=1) == datetime(2026, 3, 29, 11, tzinfo=UTC) != there + timedelta(days=1)
    for number in (nan, inf):
        assert detached(Measured(read, found=number)).found is None
    for plain in (Measured(read, found=0.5), Measured(datetime(2026, 1, 1, tzinfo=UTC), time(1, tzinfo=UTC))):
        assert detached(plain) is plain
