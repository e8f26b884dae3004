"""`execute` decides a command here and now: all of it is stored with everything that belongs to it, or nothing is."""

from datetime import timedelta

import pytest

from sourced import Invalid, Message, Sourced
from sourced.errors import Duplicate, NotKnown
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, ItemAdded, Reserve, Reserved, Stock
from tests.notepad import Echo, Note, Noted, Notes
from tests.rows import table


def shop(**options):
    app = Sourced(clock=VirtualClock(), **options)
    app.register(Cart, Stock)
    return app


def log(app):
    return [(m.stream, m.seq, m.type) for m in app.read_all()]


def test_the_command_and_its_events_are_stored_and_come_back_with_their_places(store: Store):
    """K190. The result is the pair of the command and its events, as they were stored."""
    app = shop(store=store)
    command, events = app.execute(AddItem("tea", 2), to="c1")
    assert (command.seq, command.position, command.payload) == (1, 1, AddItem("tea", 2))
    assert [(e.seq, e.position, e.payload) for e in events] == [(2, 2, ItemAdded("tea", 2))]
    assert [command, *events] == app.history("c1")
    assert {e.causation_id for e in events} == {command.id} == {command.correlation_id, command.causation_id}
    assert {e.created_at for e in events} == {app._engine.clock.now()}


def test_a_loaded_actor_evolves_by_what_it_executed(store: Store):
    """K190."""
    app = shop(store=store)
    cart = app.load(Cart, "c1")
    cart.execute(AddItem("tea", 2))
    assert (cart.seq, cart.state.items) == (2, {"tea": 2})
    assert app.load(Cart, "c1").state == cart.state


def test_a_command_without_events_is_stored_and_is_no_error(store: Store):
    """B50 in the foreground: an answer of no events is a good answer."""
    app = shop(store=store)
    app.execute(Close(), to="c1")
    result = app.execute(Close(), to="c1")
    assert result.events == []
    assert log(app)[-1] == ("c1", 3, "shop.close")


@pytest.mark.parametrize("loaded", [True, False])
def test_a_rejection_reaches_the_caller_and_nothing_is_stored(loaded, store: Store):
    """K190. In the background a rejection is recorded in the stream; here the one who asked is told."""
    app = shop(store=store)
    app.execute(Close(), to="c1")
    cart = app.load(Cart, "c1")
    with pytest.raises(CartClosed, match="takes no more items: c1"):
        cart.execute(AddItem("tea")) if loaded else app.execute(AddItem("tea"), to="c1")
    assert len(log(app)) == cart.seq == 2


def test_an_invalid_command_is_refused_before_anybody_decides_on_it(store: Store):
    """K190. There are no invalid objects: `Invalid` is raised with every wrong field, and nothing is stored."""
    app = shop(store=store)
    with pytest.raises(Invalid) as refused:
        app.execute(AddItem(None, "many"), to="c1")  # type: ignore[arg-type]
    assert refused.value.fields == {"product": "Expected str, got null", "quantity": "Expected int, got str"}
    assert log(app) == []


def test_what_was_decided_here_is_not_handled_again_by_workers(store: Store):
    """K190. The decider's own worker finds nothing to do; the reaction to the event is left for it."""
    app = shop(store=store)
    app.execute(AddItem("tea", 2), to="c1")
    app.drain()
    assert log(app)[:2] == [("c1", 1, "shop.add_item"), ("c1", 2, "shop.item_added")]
    assert [m.type for m in app.history("c1")] == ["shop.add_item", "shop.item_added"]


def test_reactions_of_an_executed_command_run_exactly_once(store: Store):
    """K191."""
    app = shop(store=store)
    app.execute(AddItem("tea", 2), to="c1")
    app.drain()
    app.drain()
    assert [m.payload for m in app.history("stock-tea")] == [Reserve("tea", 2), Reserved(2)]


def test_a_queued_command_is_still_handled_after_a_newer_one_was_executed(store: Store):
    """K189."""
    app = shop(store=store)
    queued = app.dispatch(AddItem("old"), to="c1")
    cart = app.load(Cart, "c1")
    cart.execute(AddItem("new"))
    app.drain()
    assert cart.seq == 3
    assert app.load(Cart, "c1").state.items == {"new": 1, "old": 1}
    app.wait_for(queued, timeout=0)


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def app(notes, store: Store):
    app = Sourced(store, clock=VirtualClock())
    app.register(notes)
    return app


def test_sync_and_after_commit_run_exactly_once_for_an_executed_command(app, notes):
    """K191. With the command, the events, and the state that includes them."""
    app.execute(Note("a"), to="p")
    assert notes.calls == [("sync", [Note("a"), Noted("a")]), ("after_commit", [Noted("a")])]
    assert table(app.store, "pads")["p"] == ("a",)
    notes.calls.clear()
    app.drain()
    assert ("sync", [Echo("a")]) in notes.calls
    assert not [call for call in notes.calls if Noted("a") in call[1]]


def test_a_message_id_is_executed_once(app):
    """D69 in the foreground: the second is told that it is stored, and by what."""
    message = Message.new(Note("a"), stream="p")
    app.execute(message)
    with pytest.raises(Duplicate) as refused:
        app.execute(message)
    assert [record.id for record in refused.value.records] == [message.id]
    assert app.load(Notes, "p").state.texts == ["a"]


def test_a_command_is_routed_to_the_one_who_decides_it(store: Store):
    app = shop(store=store)
    app.execute(Reserve("tea", 3), to="anything")
    assert app.load(Stock, "anything").state.reserved == 3


def test_a_command_nobody_decides_says_who_could(store: Store):
    app = Sourced(store)
    with pytest.raises(NotKnown, match=r"decides AddItem; register the actor .*: none"):
        app.execute(AddItem("tea"), to="c1")
    app.register(Stock)
    with pytest.raises(NotKnown, match="an event is nobody's to decide"):
        app.execute(ItemAdded("tea", 1), to="c1")  # type: ignore[arg-type]
    with pytest.raises(NotKnown, match="Stock decides no AddItem"):
        app.load(Stock, "s").execute(AddItem("tea"))


def test_metadata_runs_through_and_an_envelopes_own_is_kept(store: Store):
    app = shop(store=store)
    user = {"user": {"id": 7}, "tags": ["a"]}
    app.execute(AddItem("tea"), to="c1", metadata=user)
    app.drain()
    assert all(m.metadata | user == m.metadata for m in app.read_all())
    assert len({m.correlation_id for m in app.read_all()}) == 1
    enveloped = Message.new(Close(), stream="c1", metadata={"a": 1, "b": 1})
    assert app.execute(enveloped, metadata={"b": 2}).command.metadata == {"a": 1, "b": 2}


@pytest.mark.parametrize("metadata", ["user", ["user"], 3, {"user": object()}, {"user": "\ud800"}])
def test_metadata_that_cannot_be_kept_is_refused_by_name(metadata, store: Store):
    app = shop(store=store)
    with pytest.raises(Invalid) as refused:
        app.execute(AddItem("tea"), to="c1", metadata=metadata)
    assert list(refused.value.fields) == ["metadata"]
    assert log(app) == []


def test_an_envelope_goes_where_it_says_and_nowhere_else(app):
    message = Message.new(Note("a"), stream="p")
    with pytest.raises(Invalid, match="expected a message of 'q', found one of 'p'"):
        app.execute(message, to="q")
    with pytest.raises(Invalid, match="expected a message of 'q', found one of 'p'"):
        app.load(Notes, "q").execute(message)
    assert app.execute(message, to="p").command.stream == "p"


def test_to_is_a_name_a_loaded_actor_or_an_actor_class_for_a_new_stream(app):
    assert app.execute(Note("a"), to=app.load(Notes, "p")).command.stream == "p"
    one, other = (app.execute(Note("a"), to=Notes).command for _ in range(2))
    assert one.stream.startswith("notes-")
    assert (one.seq, other.seq) == (1, 1)
    assert one.stream != other.stream


def test_commands_can_be_called_by_name_on_a_loaded_actor(store: Store):
    """B49."""
    app = shop(store=store)
    cart = app.load(Cart, "c1")
    assert cart.add_item("tea", quantity="2").events == app.history("c1")[1:]
    assert cart.state.items == {"tea": 2}
    with pytest.raises(Invalid):
        cart.add_item(quantity="many")
    assert cart.seq == 2


def test_time_stands_still_within_a_decision(app):
    app._engine.clock.advance(timedelta(days=1))
    command, events = app.execute(Note("a"), to="p")
    assert {m.created_at for m in (command, *events)} == {app._engine.clock.now()}
