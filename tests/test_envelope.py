"""The envelope: who a message is, where it stands, what caused it, and what it carries along."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from sourced import Actor, Command, Event, Invalid, Message, Sourced, Unknown, decide, dispatch
from sourced.envelope import address
from sourced.errors import PastDate
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, ItemAdded

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def message(stream="cart-1", now=NOON, **options):
    return Message.new(ItemAdded("tea", 1), stream=stream, now=now, **options)


# -- identity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["", None, 7, object()])
def test_a_message_needs_a_stream(stream):
    """A3. With one it is valid; without one it is never made."""
    assert message(stream="cart-1").stream == "cart-1"
    with pytest.raises(Invalid) as refused:
        message(stream=stream)
    assert refused.value.fields.keys() == {"stream"}


def test_a_root_message_causes_itself():
    """A4."""
    root, other = message(), message()
    assert root.id == root.causation_id == root.correlation_id != other.id
    assert (root.type, root.version, root.seq, root.position) == ("shop.item_added", 1, 0, 0)
    assert message(id="mine").correlation_id == "mine"


@pytest.mark.parametrize("payload", [ItemAdded, "tea", None, {"product": "tea"}, Unknown("shop.gone", {})])
def test_only_a_command_or_an_event_goes_into_an_envelope(payload):
    """The class itself is not one; an `Unknown` is passed on in the envelope it was read in."""
    with pytest.raises(Invalid, match="expected a command or an event"):
        Message.new(payload, stream="cart-1")


def test_times_have_a_zone():
    wrong: list[Any] = [datetime(2026, 1, 1), "2026-01-01T00:00:00Z"]  # noqa: DTZ001
    for time in wrong:
        with pytest.raises(Invalid, match="expected a datetime with a zone, found"):
            message(now=time)
        with pytest.raises(Invalid, match="expected a datetime with a zone, found"):
            message().at(time)


# -- causes ------------------------------------------------------------------------------------------------------


def test_what_follows_carries_its_cause_its_story_and_its_metadata():
    source = message(metadata={"user": "ann"})
    following = source.follow(AddItem("pot"))
    assert (following.causation_id, following.correlation_id) == (source.id, source.id)
    assert (following.stream, following.seq, following.metadata) == ("cart-1", 0, {"user": "ann"})
    assert following.id != source.id


def test_what_follows_may_stand_elsewhere():
    """A8. Another stream, another seq: its cause and its story stay."""
    source = message()
    following = source.follow(ItemAdded("pot", 1), stream="cart-2", seq=7)
    assert (following.stream, following.seq) == ("cart-2", 7)
    assert (following.causation_id, following.correlation_id) == (source.id, source.id)


def test_a_story_goes_through_many_messages():
    """A9."""
    first = message()
    second = first.correlate(message())
    third = second.correlate(message())
    assert (third.causation_id, third.correlation_id) == (second.id, first.id)


def test_a_correlated_message_keeps_its_own_metadata_over_its_causes():
    """A10."""
    source, target = message(metadata={"a": 1, "b": 1}), message(metadata={"b": 2})
    correlated = source.correlate(target)
    assert correlated.metadata == {"a": 1, "b": 2}
    assert (target.metadata, target.causation_id) == ({"b": 2}, target.id)
    assert source.metadata == {"a": 1, "b": 1}


# -- copies ------------------------------------------------------------------------------------------------------


def test_a_message_moves_to_a_later_time_and_never_to_an_earlier_one():
    """A11. The same moment is allowed, in whatever zone it is told."""
    original = message()
    assert original.at(NOON + timedelta(seconds=1)).created_at == NOON + timedelta(seconds=1)
    assert original.at(NOON.astimezone(timezone(timedelta(hours=2)))).created_at == NOON
    with pytest.raises(PastDate) as refused:
        original.at(NOON - timedelta(microseconds=1))
    assert refused.value.created_at == original.created_at == NOON
    assert isinstance(refused.value, Invalid)


def test_a_message_is_sent_to_a_name_or_to_whatever_has_a_stream():
    """A12. An actor's class stands for a new stream of its own each time."""
    app = Sourced()
    app.register(Cart)
    original = message()
    assert original.to("cart-2").stream == "cart-2"
    assert original.to(message(stream="cart-3")).stream == "cart-3"
    assert original.to(app.load(Cart, "cart-4")).stream == "cart-4"
    assert original.stream == "cart-1"
    new = {original.to(Cart).stream for _ in range(100)}
    assert len(new) == 100
    assert all(stream.startswith("cart-") for stream in new)


def test_asking_for_an_actors_address_never_runs_a_command_of_it():
    """A loaded actor has its commands as methods, whatever they are called."""

    class NewStream(Command): ...

    class Opened(Event): ...

    class River(Actor[None]):
        @decide
        def open(self, river: None, command: NewStream):
            yield Opened()

    app = Sourced()
    app.register(River)
    assert address(app.load(River, "nile")) == "nile"
    assert app.history("nile") == []


def test_no_metadata_is_no_change():
    """A16."""
    original = message(metadata={"user": "ann"})
    assert original.with_metadata({}) is original
    assert original.with_metadata({"user": "bob", "ip": "::1"}).metadata == {"user": "bob", "ip": "::1"}
    assert original.metadata == {"user": "ann"}


def test_a_changed_payload_leaves_the_rest_as_it_was():
    """A17. A field the class does not have is refused."""
    original = message(metadata={"user": "ann"})
    changed = original.with_payload(quantity=5)
    assert changed.payload == ItemAdded("tea", 5)
    assert (changed.id, changed.metadata, changed.type) == (original.id, original.metadata, original.type)
    assert original.payload == ItemAdded("tea", 1)
    with pytest.raises(TypeError, match="colour"):
        original.with_payload(colour="red")


def test_the_metadata_that_was_given_can_be_changed_afterwards():
    mine = {"user": "ann"}
    original = message(metadata=mine)
    mine["user"] = "bob"
    assert original.metadata == {"user": "ann"}
    with pytest.raises(Invalid, match="metadata: expected a mapping"):
        message(metadata="user=ann")


# -- stored and read -----------------------------------------------------------------------------------------------


def test_a_message_is_read_as_it_was_stored():
    """A18. Field by field, the time to the microsecond, the metadata with all that JSON holds."""
    metadata = {"user": "änn", "tags": ["a", None, 1.5, True], "deep": {"er": {}}}
    original = message(now=NOON + timedelta(microseconds=123_456), metadata=metadata)
    app = Sourced()
    (stored,) = app.append("cart-1", original)
    (read,) = app.history("cart-1")
    assert read == stored == app.read_all()[0]
    for field in set(Message.__struct_fields__) - {"seq", "position"}:
        assert getattr(read, field) == getattr(original, field), field
    assert (read.seq, read.position) == (1, 1)


def test_the_clock_of_the_app_dates_what_is_made_without_a_time():
    app = Sourced(clock=VirtualClock(NOON))
    app.register(Cart)
    app.execute(AddItem("tea"), to="cart-1")
    assert {each.created_at for each in app.read_all()} == {NOON}


def test_metadata_that_cannot_be_stored_is_refused_before_anything_is():
    app = Sourced()
    with pytest.raises(Invalid, match="metadata"):
        app.append("cart-1", [ItemAdded("tea", 1), message(metadata={"socket": object()})])
    assert app.read_all() == []


# -- directions ----------------------------------------------------------------------------------------------------


def test_directions_say_when_once_and_with_a_zone():
    with pytest.raises(Invalid, match="expected either `at` or `after`, found both"):
        dispatch(AddItem("tea"), at=NOON, after=5)
    with pytest.raises(Invalid, match="expected a datetime with a zone"):
        dispatch(AddItem("tea"), at=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(Invalid, match="expected a command or an event, found the class"):
        dispatch(AddItem)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({}, None),
        ({"after": 0}, None),
        ({"after": -5}, None),
        ({"at": NOON}, None),
        ({"after": 5}, NOON + timedelta(seconds=5)),
        ({"after": timedelta(minutes=5)}, NOON + timedelta(minutes=5)),
        ({"at": NOON + timedelta(microseconds=1)}, NOON + timedelta(microseconds=1)),
    ],
)
def test_only_what_is_due_later_has_to_wait(options, due):
    assert dispatch(AddItem("tea"), **options).due(NOON) == due


def test_metadata_of_the_directions_wins_over_the_reactions_and_the_sources():
    source = message(metadata={"user": "ann", "producer": "them", "ip": "::1"})
    outgoing = dispatch(AddItem("tea"), metadata={"user": "bob"})
    following = outgoing.following(source, NOON, producer="us", user="nobody")
    assert following.metadata == {"user": "bob", "producer": "us", "ip": "::1"}
    assert (following.stream, following.causation_id) == ("cart-1", source.id)
