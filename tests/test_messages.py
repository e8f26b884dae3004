"""Message classes: immutable values, stored under names that do not move, made from untrusted input in one step."""

import copy
import pickle
from collections import UserDict
from collections.abc import Mapping
from typing import Annotated

import msgspec
import pytest
from starlette.datastructures import FormData
from werkzeug.datastructures import MultiDict

from sourced import Command, Event, Invalid, Message, Meta, Sourced, parse
from sourced.errors import DefinitionError
from sourced.messages import Payload, snake


class AddItem(Command):
    product_id: str
    price: int
    quantity: Annotated[int, Meta(ge=1)] = 3
    tags: list[str] = []


class Emptied(Event): ...


class CartCommand(Command, namespace="carts"):
    by: str


class RemoveItem(CartCommand):
    product_id: str


# -- values ------------------------------------------------------------------------------------------------------


def test_a_message_is_a_value():
    """Equal by its fields, immutable, with defaults of its own, and it survives copying and pickling."""
    item = AddItem("p1", 1000)
    assert item == AddItem("p1", price=1000, quantity=3, tags=[]) != AddItem("p2", 1000)
    with pytest.raises(AttributeError):
        item.price = 1  # type: ignore[misc]
    assert item.tags is not AddItem("p1", 1000).tags
    assert pickle.loads(pickle.dumps(item)) == copy.deepcopy(item) == item


def test_a_message_with_missing_fields_cannot_be_made():
    """A5. There are no invalid objects: Python refuses the call, and a name nobody declared is an AttributeError."""
    with pytest.raises(TypeError, match="price"):
        AddItem("p1")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="colour"):
        AddItem("p1", 1000).colour  # type: ignore[attr-defined]  # noqa: B018


def test_a_message_without_fields_is_complete():
    """A6."""
    app = Sourced()
    app.append("cart-1", Emptied())
    assert app.history("cart-1")[0].payload == Emptied() == parse(Emptied, {})


class Odd(Event):
    type: str
    id: str
    stream: str
    payload: str
    metadata: str
    version: int
    seq: int
    position: int
    name: str
    namespace: str
    aliases: str
    handle: str
    data: str
    self: str
    cls: str
    to: str
    now: str
    state: str
    error: str
    created_at: str


def test_no_field_name_is_reserved():
    app = Sourced()
    odd = parse(Odd, dict.fromkeys(Odd.__struct_fields__, "7"))
    app.append("s1", odd, metadata={"type": "mine"})
    (stored,) = app.history("s1")
    assert stored.payload == odd
    assert (odd.type, odd.version, odd.self) == ("7", 7, "7")
    assert (stored.type, stored.version, stored.stream, stored.seq) == ("odd", 1, "s1", 1)
    assert stored.metadata == {"type": "mine"}


def test_methods_and_patterns_work_as_on_any_struct():
    class Priced(Event):
        price: int

        @property
        def gross(self) -> int:
            return self.price * 2

    match Priced(5):
        case Priced(price=5) as priced:
            assert priced.gross == 10
        case _:
            pytest.fail("expected the pattern to match")


# -- stored names ------------------------------------------------------------------------------------------------


class Shop:
    class ItemSold(Event): ...

    class Refund(CartCommand): ...


def test_the_stored_name_comes_from_the_class_and_never_from_the_import_path():
    class Local(Event): ...

    class Named(CartCommand, type="somewhere.else"): ...

    class Inner(CartCommand, namespace="carts.inner"): ...

    class Deep(Inner): ...

    named: dict[str, type[Payload]] = {
        "add_item": AddItem,
        "local": Local,
        "carts.remove_item": RemoveItem,
        "shop.item_sold": Shop.ItemSold,
        "carts.refund": Shop.Refund,
        "somewhere.else": Named,
        "carts.inner.deep": Deep,
    }
    assert {cls.__sourced__.name: cls for cls in named.values()} == named


@pytest.mark.parametrize(
    ("name", "stored"),
    [("AddItem", "add_item"), ("HTTPCall", "http_call"), ("GetURL", "get_url"), ("Step2Done", "step2_done")],
)
def test_class_names_are_snake_cased(name, stored):
    assert snake(name) == stored


def test_a_subclass_of_a_message_is_a_message_of_its_own():
    """It has the fields; name, version and aliases say how one class is stored, so they stay with that class."""

    class Put(Event, type="put", version=4, aliases=("placed",)):
        product_id: str

    class PutTwice(Put):
        again: int

    assert PutTwice("p1", 2).product_id == "p1"
    assert (PutTwice.__sourced__.names, PutTwice.__sourced__.version) == (("put_twice",), 1)


def test_a_family_gives_its_members_a_namespace_and_fields():
    assert RemoveItem("me", "p1").by == "me"
    with pytest.raises(Invalid, match="CartCommand is a family of messages; make one of its members"):
        Message.new(CartCommand("me"), stream="cart-1")


@pytest.mark.parametrize("version", [0, -1, 1.5, "2"])
def test_a_version_is_a_whole_number_from_1(version):
    with pytest.raises(DefinitionError, match=r"Wrong: expected version to be a whole number from 1"):

        class Wrong(Event, version=version): ...


# -- untrusted input ---------------------------------------------------------------------------------------------


def test_input_is_read_laxly():
    """A15. A string becomes the number it spells, a default fills the gap, an undeclared key is dropped."""
    assert parse(AddItem, {"product_id": "p1", "price": "42", "colour": "red"}) == AddItem("p1", 42, 3)
    assert parse(AddItem, UserDict({"product_id": "p1", "price": "42"})) == AddItem("p1", 42)


@pytest.mark.parametrize("form", [FormData, MultiDict], ids=["Starlette", "Flask"])
def test_forms_are_taken_as_frameworks_give_them(form: type[Mapping[str, str]]):
    """Some are dicts of lists inside: what they say to one who asks counts."""
    assert parse(AddItem, form({"product_id": "p1", "price": "42"})) == AddItem("p1", 42)  # type: ignore[call-arg]
    with pytest.raises(Invalid) as refused:
        parse(AddItem, form())
    assert refused.value.fields == {"product_id": "Required", "price": "Required"}


def test_wrong_input_raises_with_every_field_at_once():
    """A5. A missing field is told beside the wrong ones, so that a form shows all there is to correct."""
    with pytest.raises(Invalid) as refused:
        parse(AddItem, {"product_id": 7, "quantity": "0", "tags": ["a", None]})
    assert refused.value.fields == {
        "product_id": "Expected str, got int",
        "price": "Required",
        "quantity": "Expected int >= 1",
        "tags": "Expected str, got null at [1]",
    }
    assert str(refused.value).startswith("AddItem is not valid: product_id: Expected str, got int; price: Required;")


def test_what_is_wrong_inside_a_field_is_told_with_its_place():
    class Address(msgspec.Struct):
        zip: Annotated[str, Meta(pattern="^[0-9]+$")]

    class Move(Command):
        address: Address

    with pytest.raises(Invalid) as refused:
        parse(Move, {"address": {"zip": "x"}})
    assert refused.value.fields == {"address": "Expected str matching regex '^[0-9]+$' at .zip"}


@pytest.mark.parametrize("data", [None, [], "product_id=p1", 7])
def test_input_that_has_no_fields_at_all_is_invalid_too(data):
    with pytest.raises(Invalid, match=r"^AddItem is not valid: Expected object, got"):
        parse(AddItem, data)


def test_a_rule_of_the_whole_message_is_an_error_without_a_field():
    class Span(Command):
        first: int
        last: int

        def __post_init__(self) -> None:
            if self.first > self.last:
                raise ValueError("first is after last")

    assert parse(Span, {"first": "1", "last": "2"}) == Span(1, 2)
    with pytest.raises(Invalid) as refused:
        parse(Span, {"first": 2, "last": 1})
    assert refused.value.fields == {"": "first is after last"}


def test_renamed_fields_are_told_by_their_own_names():
    class Renamed(Command, rename="camel"):
        product_id: str
        how_many: Annotated[int, Meta(ge=1)] = 1

    assert parse(Renamed, {"productId": "p1", "howMany": "2"}) == Renamed("p1", 2)
    with pytest.raises(Invalid) as refused:
        parse(Renamed, {"howMany": 0})
    assert refused.value.fields == {"product_id": "Required", "how_many": "Expected int >= 1"}
    with pytest.raises(Invalid) as refused:
        Sourced().append("s1", Renamed("p1", 0))
    assert refused.value.fields == {"how_many": "Expected int >= 1"}
