"""`then_view` says what a read model's row has become."""

import pytest

from sourced import Deleted, Message, Projector, View, dispatch, evolve
from sourced.errors import UnknownGroup
from sourced.testing import given
from sourced.testing.shop import AddItem, Cart, CartClosed, Closed, ItemAdded, Reserve
from tests.listings import Added, Emptied, Histories, Listing, Listings, PerProduct, Renamed, Tally


class Basket(View):
    products: list[str] = []
    closed: bool = False


class Baskets(Projector[Basket]):
    @evolve
    def added(self, row: Basket, event: ItemAdded) -> None:
        if event.product == "poison":
            raise ValueError("not for sale")
        row.products.append(event.product)

    @evolve
    def closed(self, row: Basket, event: Closed) -> None:
        row.closed = True


class Products(Projector[Basket]):
    def key(self, message: Message[ItemAdded]) -> str:
        return message.payload.product

    @evolve
    def added(self, row: Basket, event: ItemAdded) -> None:
        row.products.append(event.product)


def test_a_row_after_what_was_given_and_what_happened():
    given(Baskets, "c1", ItemAdded("tea", 1)).when(Closed()).then_view(Basket(["tea"], closed=True))
    given(Baskets, "c1", ItemAdded("tea", 1)).when().then_view(Basket(["tea"]))
    given(Histories, "c1", Renamed("mine")).when(Renamed("yours")).then_view(Listing("yours"))


def test_there_is_none():
    given(Listings, "c1", Added("tea", 3)).when(Emptied()).then_view(None)
    given(Listings, "c1").when().then_view(None)
    with pytest.raises(AssertionError, match=r"expected None\n   found Listing"):
        given(Listings, "c1", Renamed("mine")).when().then_view(None)


def test_by_another_key():
    outcome = given(PerProduct, "c1", Added("tea", 3)).when(Added("tea", 4), Added("mug", 1))
    outcome.then_view(Tally(2, 7), key="tea").then_view(Tally(1, 1), key="mug").then_view(None)


def test_beside_what_followed():
    """In one cascade, with the actor that decides."""
    given(Cart, Baskets, "c1", ItemAdded("tea", 1)).when(AddItem("mug")).then(
        ItemAdded("mug", 1), dispatch(Reserve("mug", 1), to="stock-mug")
    ).then_view(Basket(["tea", "mug"]))


def test_whose_row_it_is_can_be_said():
    outcome = given(Baskets, Products, "c1", ItemAdded("tea", 1)).when()
    outcome.then_view(Basket(["tea"]), of=Baskets).then_view(Basket(["tea"]), key="tea", of="Products")
    outcome.then_view(None, of=Products)
    for expected in (Basket(["tea"]), None):
        with pytest.raises(TypeError, match=r"say whose row it is, of=…; .* are: Baskets, Products"):
            outcome.then_view(expected)
    with pytest.raises(TypeError, match=r"are: none"):
        given(Cart, "c1").when().then_view(Basket())
    with pytest.raises(UnknownGroup):
        outcome.then_view(None, of=Listings)


def test_a_failure_shows_both_sides_and_what_there_is():
    outcome = given(PerProduct, "c1", Added("tea", 3), Added("mug", 1)).when()
    with pytest.raises(AssertionError) as caught:
        outcome.then_view(Tally(1, 3), key="teapot")
    assert str(caught.value) == (
        "expected Tally(count=1, total=3)\n   found None by 'teapot'; there are rows by: 'mug', 'tea'"
    )
    with pytest.raises(AssertionError) as caught:
        outcome.then_view(Tally(2, 3), key="tea")
    assert str(caught.value) == "expected Tally(count=2, total=3)\n   found Tally(count=1, total=3) by 'tea'"


def test_what_failed_is_shown_with_its_cause():
    with pytest.raises(AssertionError, match=r"but it failed: ValueError\('not for sale'\)") as caught:
        given(Baskets, "c1").when(ItemAdded("poison", 1)).then_view(Basket())
    assert isinstance(caught.value.__cause__, ValueError)
    given(Cart, "c1", Closed()).when(AddItem("tea")).then_raises(CartClosed)


@pytest.mark.parametrize("wrong", [Basket, {"products": []}, Deleted, "c1"])
def test_what_is_no_row_is_refused(wrong: object):
    with pytest.raises(TypeError, match="expected a row, or None for no row, found"):
        given(Baskets, "c1").when().then_view(wrong)  # type: ignore[arg-type]
