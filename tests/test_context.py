"""A `CommandContext` builds commands from what a web request sends, and trusts only what the server put in."""

import json
from typing import Any

import pytest

from sourced import Command, CommandContext, Invalid, Message, Sourced
from sourced.context import on
from sourced.errors import UnknownMessage
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, Close, ItemAdded, Stock


class Admin(Command, namespace="admin"): ...


class Purge(Admin):
    days: int = 1


class Retire(Admin): ...


@pytest.fixture
def app():
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock, Admin, ItemAdded)
    return app


ADD = {"type": "shop.add_item", "stream": "c1", "payload": {"product": "tea", "quantity": "2"}}


def test_a_command_comes_from_its_stored_name_leniently(app):
    """A15. Forms send text: `"2"` is 2; keys that nobody declared are dropped."""
    built = CommandContext(app).build(ADD | {"payload": {"product": "tea", "quantity": "2", "admin": "true"}})
    assert (built.stream, built.payload, built.type) == ("c1", AddItem("tea", 2), "shop.add_item")
    app.execute(built)
    assert app.load(Cart, "c1").state.items == {"tea": 2}


def test_a_command_comes_from_its_class(app):
    built = CommandContext(app, stream="c1").build({"payload": {"product": "tea"}}, AddItem)
    assert (built.stream, built.payload) == ("c1", AddItem("tea", 1))


def test_the_class_wins_over_the_type_that_a_client_names(app):
    """K194."""
    built = CommandContext(app).build({"type": "admin.purge", "stream": "c1"}, Close)
    assert built.payload == Close()


def test_the_servers_facts_win_over_the_clients(app):
    """K194. Who it is, when, why and by whom is the server's to say; the client names a type, a stream and fields."""
    names = ("id", "causation_id", "correlation_id", "seq", "position", "version", "created_at")
    forged = dict.fromkeys(names, "forged") | {"metadata": {"user_id": 1, "role": "admin"}}
    built = CommandContext(app, stream="c1", metadata={"user_id": 7}).build(ADD | forged | {"stream": "forged"})
    assert built.metadata == {"user_id": 7}
    assert built.stream == "c1"
    assert built.id == built.causation_id == built.correlation_id != "forged"
    assert (built.seq, built.position, built.version, built.created_at) == (0, 0, 1, app._engine.clock.now())


def test_the_servers_facts_win_over_those_of_a_hook(app):
    """K194."""

    class Marked(CommandContext):
        @on
        def mark(self, command: Message[Command]):
            return command.with_metadata({"user_id": 0, "hook": True})

    assert Marked(app, metadata={"user_id": 7}).build(ADD).metadata == {"user_id": 7, "hook": True}


def test_only_what_is_in_scope_can_be_sent(app):
    """A13. The scope is a family, a message, or several; events never are, unless it says so."""
    cases: list[tuple[Any, str, bool]] = [
        (Command, "admin.purge", True),
        (Command, "shop.item_added", False),
        (Admin, "admin.purge", True),
        (Admin, "shop.add_item", False),
        (AddItem, "shop.add_item", True),
        (AddItem, "shop.close", False),
        ((AddItem, Admin), "admin.retire", True),
        ((AddItem, Admin), "shop.close", False),
        ((), "shop.close", False),
    ]
    for scope, name, allowed in cases:
        context = CommandContext(app, stream="s", scope=scope)
        data = {"type": name, "payload": {"product": "tea"}}
        if allowed:
            assert context.build(data).type == name
        else:
            with pytest.raises(UnknownMessage, match=name):
                context.build(data)


def test_the_scope_holds_for_classes_and_subclasses_too(app):
    class Public(CommandContext):
        scope = (AddItem, Close)

    assert Public(app, stream="c1").build({}, Close).payload == Close()
    with pytest.raises(UnknownMessage, match="in AddItem, Close"):
        Public(app, stream="c1").build({}, Purge)


def test_types_that_are_not_known_and_types_that_must_not_be_sent_look_the_same(app):
    """A client learns nothing about what else there is."""
    known, unknown = (_refusal(CommandContext(app, scope=AddItem), {"type": t}) for t in ("admin.purge", "admin.no"))
    assert str(known).replace("purge", "no") == str(unknown)


def _refusal(context, data):
    with pytest.raises((Invalid, UnknownMessage)) as refused:
        context.build(data)
    return refused.value


def test_every_wrong_field_is_told_at_once(app):
    refused = _refusal(CommandContext(app), ADD | {"payload": {"quantity": "many"}})
    assert refused.fields == {"product": "Required", "quantity": "Expected int, got str"}


ODD = [None, True, 0, 3, -1.5, float("nan"), "", "x", "\ud800", "\0", b"x", [], [ADD], [["type", "x"]], {}, {"x": 1},
       {1: 2}, {None: None}, (), object(), AddItem, AddItem("tea"), 10**400]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__ if type(odd) is object else repr(odd))
def test_whatever_a_client_sends_it_is_built_or_refused(app, odd):
    """In place of the whole, and of each of its parts: `Invalid` or `UnknownMessage`, never another error."""
    odd_parts = [odd, *(ADD | {part: odd} for part in ADD), ADD | {"payload": {"product": odd}},
                 ADD | {"payload": {"product": "tea", "quantity": odd}}, {"type": odd}]  # fmt: skip
    for data in odd_parts:
        try:
            built = CommandContext(app).build(data)
            app.dispatch(built)
        except (Invalid, UnknownMessage) as refused:
            assert json.dumps(str(refused))  # noqa: PT017  (what is built is judged below)
        else:
            assert isinstance(built.payload, AddItem)
            assert isinstance(built.stream, str)


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (None, {"": "Required"}),
        ([], {"": "Expected object, got list"}),
        ({}, {"type": "Required"}),
        ({"type": ["shop.close"]}, {"type": "Expected str, got list"}),
        ({"type": "shop.close"}, {"stream": "Required"}),
        ({"type": "shop.close", "stream": ""}, {"stream": "Required"}),
        ({"type": "shop.close", "stream": 5}, {"stream": "Expected str, got int"}),
        ({"type": "shop.close", "stream": "c1", "payload": []}, {"payload": "Expected object, got list"}),
        ({"type": "shop.close", "stream": "c1", "payload": "{}"}, {"payload": "Expected object, got str"}),
    ],
)
def test_a_shape_that_does_not_fit_is_told_by_the_field(app, data, fields):
    assert _refusal(CommandContext(app), data).fields == fields


def test_a_payload_may_be_left_out_when_nothing_in_it_is_required(app):
    left_out: list[dict[str, Any]] = [{}, {"payload": None}, {"payload": {}}]
    for data in left_out:
        assert CommandContext(app, stream="s").build(data, Purge).payload == Purge(1)


def test_the_stream_may_be_whatever_stands_for_one(app):
    cart = app.load(Cart, "c1")
    assert CommandContext(app, stream=cart).build({}, Close).stream == "c1"
    new = CommandContext(app, stream=Cart).build({}, Close).stream
    assert new.startswith("cart-")
