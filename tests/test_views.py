"""Views: rows of a projector that are kept beside the log, and can be asked for."""

import asyncio
from typing import Any

import pytest

from sourced import (
    Actor,
    Command,
    DefinitionError,
    Events,
    EventSourced,
    Invalid,
    Message,
    Projector,
    Retry,
    View,
    decide,
    evolve,
)
from sourced.errors import Unreadable
from sourced.store import Store
from sourced.stores.file import FileStore
from sourced.testing.clock import START
from tests.listings import Added, Emptied, Histories, Listing, Listings, PerProduct, Renamed, Tally, discounts, listing


@pytest.mark.parametrize("kind", [Listings, Histories])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_a_row_is_made_of_its_stream_and_kept(kind: type[Projector[Listing]], batch: int, store: Store):
    """H136, H138, H142. Whatever the batch; the reactions see the row as of their event."""
    app = listing(kind, batch=batch, store=store)
    app.append("a", [Added("tea", 15), Renamed("mine"), Added("mug", 10), Added("jam", 5)])
    app.append("b", Added("tea"))
    app.drain()
    views = app.views(kind)
    assert views.get("a") == Listing("mine", 30, ["tea", "mug", "jam"], START)
    assert views.get("b") == Listing("", 1, ["tea"], START)
    assert views.get("c") is None
    assert discounts(app) == [25, 30]
    app.append("b", Renamed("yours"))
    app.drain()
    assert views.get("b") == Listing("yours", 1, ["tea"], START)


@pytest.mark.parametrize("kind", [Listings, Histories])
@pytest.mark.parametrize("batch", [1, 500])
def test_a_row_that_was_deleted_is_gone_until_there_is_more_for_it(
    kind: type[Projector[Listing]], batch: int, store: Store
):
    app = listing(kind, batch=batch, store=store)
    app.append("a", [Added("tea"), Emptied()])
    app.append("b", [Added("tea"), Emptied(), Added("mug", 2)])
    app.append("c", Emptied())
    app.drain()
    assert list(app.views(kind).all()) == ["b"]
    assert app.views(kind).get("b") == Listing("", 2, ["mug"], START)
    app.append("a", [Added("jam", 3)])
    app.drain()
    assert app.views(kind).get("a") == Listing("", 3, ["jam"], START)


def test_rows_are_found_paged_and_counted(store: Store):
    app = listing(store=store)
    for name in ("d", "b", "c", "a"):
        app.append(name, [Added("tea", ord(name)), Renamed("odd" if name in "ac" else "even")])
    app.drain()
    views = app.views(Listings)
    assert list(views.all()) == ["a", "b", "c", "d"]
    assert list(views.all(limit=2)) == ["a", "b"]
    assert list(views.all(after="b", limit=9)) == ["c", "d"]
    assert {key: row.total for key, row in views.find(name="odd").items()} == {"a": 97, "c": 99}
    assert list(views.find(name="odd", limit=1, after="a")) == ["c"]
    assert list(views.find(name="even", total=98)) == ["b"]
    assert (views.count(), views.count(name="odd"), views.count(name="none")) == (4, 2, 0)


def test_the_awaitable_twin_gives_the_same(store: Store):
    app = listing(store=store)

    async def asked() -> Any:
        await app.aio.append("a", [Added("tea"), Renamed("mine")])
        await app.aio.drain()
        views = app.aio.views(Listings)
        return await views.get("a"), await views.all(), await views.find(name="mine"), await views.count()

    row = Listing("mine", 1, ["tea"], START)
    assert asyncio.run(asked()) == (row, {"a": row}, {"a": row}, 1)


def test_a_transaction_reads_its_own_rows(store: Store):
    """Together with everything else that it does, and gone with it."""
    app = listing(store=store)

    def write() -> None:
        with app.transaction() as tx:
            tx.append("a", Added("tea"))
            tx.drain()
            assert tx.views(Listings).count() == 1
            raise LookupError

    with pytest.raises(LookupError):
        write()
    assert app.views(Listings).count() == 0


def test_a_replay_makes_the_same_rows_and_dispatches_nothing(store: Store):
    """F117. `on_reset` has nothing to empty: what is replayed begins with new rows, and old ones do not stay."""
    app = listing(store=store)
    app.append("a", [Added("tea", 30), Added("mug")])
    app.append("b", [Added("tea"), Emptied()])
    app.drain()
    before = app.views(Listings).all()
    app.groups.reset(Listings)
    assert app.views(Listings).all() == {}
    app.drain()
    assert app.views(Listings).all() == before
    assert discounts(app) == [30, 31]


# -- when the view's class changes


class Wider(View):
    """A listing with a field more, one less, and another order."""

    total: int = 0
    currency: str = "EUR"
    products: list[str] = []


class Wide(Projector[Wider], group="listings"):
    @evolve
    def added(self, row: Wider, event: Added) -> None:
        row.total += event.price


def test_a_row_from_before_there_was_a_field_has_its_default(store: Store):
    old = listing(store=store)
    old.append("a", [Added("tea"), Renamed("gone")])
    old.append("b", [Added("tea")])
    old.drain()
    app = listing(Wide, store=store)
    app.append("b", Added("mug"))
    app.drain()
    views = app.views(Wide)
    assert views.all() == {"a": Wider(1, "EUR", ["tea"]), "b": Wider(2, "EUR", ["tea"])}
    assert list(views.find(currency="EUR")) == ["a", "b"]
    assert views.find(currency="USD") == {}


class Narrow(View):
    total: str = ""


class Narrowed(Projector[Narrow], group="listings"):
    @evolve
    def added(self, row: Narrow, event: Added) -> None:
        row.total += f"{event.price};"


def test_a_row_that_its_class_cannot_read_any_more_says_so_and_what_to_do(store: Store):
    """Whoever asks for it is told, and its stream waits; others go on."""
    old = listing(store=store)
    old.append("a", Added("tea"))
    old.drain()
    app = listing(Narrowed, store=store)
    app.append("a", Added("mug"))
    app.append("b", Added("mug", 2))
    app.drain()
    with pytest.raises(Unreadable, match=r"Narrowed: the stored row 'a' is no Narrow any more .*app.rebuild\(Narrowed"):
        app.views(Narrowed).get("a")
    assert app.views(Narrowed).get("b") == Narrow("2;")
    assert [(row.stream, row.error.partition(":")[0]) for row in app.parked.list()] == [("a", "Unreadable")]


# -- what is refused


class Sloppy(Projector[Tally], group="sloppy"):
    broken = "mug"

    @evolve
    def added(self, row: Tally, event: Added) -> None:
        row.count += 1
        row.total = "nothing" if event.product == self.broken else row.total + event.price  # type: ignore[assignment]


def test_a_row_that_could_not_be_read_back_is_not_written(store: Store):
    """The message that made it so is found and parked; the ones before it are kept."""
    app = listing(Sloppy, store=store)
    app.append("a", [Added("tea"), Added("jam"), Added("mug"), Added("tea")])
    app.append("b", Added("tea"))
    app.drain()
    (parked,) = app.parked.list()
    assert (parked.stream, parked.from_seq) == ("a", 3)
    assert "the row 'a' of Sloppy cannot be stored: Expected `int`, got `str`" in parked.error
    assert app.views(Sloppy).all() == {"a": Tally(2, 2), "b": Tally(1, 1)}


def test_text_that_a_database_cannot_look_into_is_not_written(store: Store):
    app = listing(store=store)
    app.append("a", [Renamed("a\0b")])
    app.append("b", [Renamed("\\u0000")])
    app.drain()
    assert list(app.views(Listings).find(name="\\u0000")) == ["b"]
    assert "NUL" in app.parked.list()[0].error


def test_wrong_declarations_are_refused_when_the_class_is_made():
    class Required(View):
        total: int

    with pytest.raises(DefinitionError, match=r"Rows: the first row is .*Required\(\), so give total a default"):

        class Rows(Projector[Required]): ...

    with pytest.raises(DefinitionError, match=r"Loads\.load: the rows of Listing, a View, are loaded for you"):

        class Loads(Projector[Listing]):
            def load(self, key: str, tx: Any) -> Listing | None:
                return None

    with pytest.raises(DefinitionError, match=r"Keyed\.key: a state made of a stream's history is found by the stream"):

        class Keyed(EventSourced[Listing]):
            def key(self, message: Message[Any]) -> str:
                return "all"


class Named(View):
    name: str


class Plain(Projector[Named], group="plain"):
    def initial(self, stream: str) -> Named:
        return Named(stream.upper())

    @evolve
    def added(self, row: Named, event: Added) -> None: ...


class Elsewhere(Projector[dict[str, int]], group="elsewhere"):
    @evolve
    def added(self, row: dict[str, int], event: Added) -> None: ...


def test_a_first_row_of_ones_own_needs_no_defaults():
    app = listing(Plain)
    app.append("a", Added("tea"))
    app.drain()
    assert app.views(Plain).get("a") == Named("A")


def test_questions_that_have_no_answer_are_refused():
    app = listing(Listings, Elsewhere)
    with pytest.raises(DefinitionError, match=r"views\(Elsewhere\): expected a projector of a View"):
        app.views(Elsewhere)  # type: ignore[type-var]
    with pytest.raises(Invalid, match=r"nome: expected one of its fields: name, total"):
        app.views(Listings).find(nome="x")
    with pytest.raises(Invalid, match=r"products: expected text, a number or None"):
        app.views(Listings).find(products=["tea"])
    with pytest.raises(Invalid, match=r"limit: expected 0 or more"):
        app.views(Listings).all(limit=-1)


def test_a_folder_keeps_them_too(tmp_path: Any):
    """Rows, the deletion of rows, and how often each was written to."""
    with listing(store=FileStore(tmp_path)) as app:
        app.append("a", [Added("tea"), Renamed('na"me\n')])
        app.append("b", Added("tea"))
        app.drain()
        app.append("b", Emptied())
        app.drain()
        before = app.views(Listings).all()
    with listing(store=FileStore(tmp_path)) as app:
        assert app.views(Listings).all() == before
        assert list(before) == ["a"]
        app.append("a", Added("mug"))
        app.append("b", Added("jam"))
        app.drain()
        assert {key: row.products for key, row in app.views(Listings).all().items()} == {
            "a": ["tea", "mug"],
            "b": ["jam"],
        }


# -- keys


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_messages_of_several_streams_meet_in_one_row(batch: int, store: Store):
    """In the order of the log within a round; what has no key goes nowhere."""
    app = listing(PerProduct, batch=batch, store=store)
    for number in range(6):
        app.append(f"s{number % 3}", [Added("tea", number), Added("mug" if number % 2 else "jam", 10)])
    app.drain()
    assert app.views(PerProduct).all() == {"jam": Tally(3, 30), "mug": Tally(3, 30), "tea": Tally(5, 15)}
    assert len(discounts(app)) == 11
    assert app.status().groups[0].lag == 0


def test_reactions_see_the_shared_row_as_of_their_event_in_the_order_of_the_log(store: Store):
    app = listing(PerProduct, store=store)
    for number in range(1, 7):
        app.append(f"s{number % 3}", Added("tea", number))
    app.drain()
    assert sorted(discounts(app)) == [1, 3, 6, 10, 15, 21]


class Fragile(PerProduct, group="fragile"):
    broken = True

    @evolve
    def added(self, row: Tally, event: Added) -> None:
        super().added(row, event)
        if self.broken and event.price == 13:
            raise ValueError("13")


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_a_failure_leaves_the_shared_row_with_everything_else(batch: int, store: Store):
    """H143. Only the stream of the one that fails waits; the others go into the same row, before and after it."""
    fragile = Fragile()
    app = listing(fragile, batch=batch, store=store)
    app.append("a", [Added("tea", 1), Added("tea", 13), Added("tea", 100)])
    app.append("b", [Added("tea", 2), Added("mug", 2)])
    app.append("c", [Added("tea", 13)])
    app.append("b", [Added("tea", 3)])
    app.drain()
    assert app.views(Fragile).all() == {"mug": Tally(1, 2), "tea": Tally(3, 6)}
    assert {row.stream: row.from_seq for row in app.parked.list()} == {"a": 2, "c": 1}
    fragile.broken = False
    app.parked.retry()
    app.drain()
    assert app.views(Fragile).all() == {"mug": Tally(1, 2), "tea": Tally(6, 132)}
    assert len(discounts(app)) == 7


class Unwritable(PerProduct, group="unwritable"):
    @evolve
    def added(self, row: Tally, event: Added) -> None:
        super().added(row, event)
        if event.price == 13:
            row.total = "13"  # type: ignore[assignment]


@pytest.mark.parametrize("batch", [2, 500])
def test_of_streams_whose_shared_row_cannot_be_written_the_one_to_blame_is_found(batch: int, store: Store):
    """Each message is tried alone; the others get through, whoever they were with."""
    app = listing(Unwritable, batch=batch, store=store)
    app.append("a", [Added("tea", 1), Added("mug", 1)])
    app.append("b", [Added("tea", 2), Added("tea", 13), Added("tea", 4)])
    app.append("c", [Added("mug", 8), Added("jam", 8)])
    app.append("d", [Added("jam", 16)])
    app.append("e", [Added("ink", 32)])
    app.drain()
    assert {key: row.total for key, row in app.views(Unwritable).all().items()} == {
        "ink": 32, "jam": 24, "mug": 9, "tea": 3
    }  # fmt: skip
    assert {row.stream: row.from_seq for row in app.parked.list()} == {"b": 2}


class Lost(PerProduct, group="lost"):
    def key(self, message: Message[Any]) -> Any:
        if message.payload.price == 13:
            raise LookupError("13")
        return message.payload.price if message.payload.product == "number" else super().key(message)


def test_a_message_whose_key_is_none_that_could_be_one_fails_by_itself(store: Store):
    app = listing(Lost, store=store, errors=Retry(times=0))
    app.append("a", [Added("tea", 1), Added("tea", 13)])
    app.append("b", [Added("tea", 2), Added("number", 5)])
    app.append("c", [Added("", 2)])
    app.drain()
    assert app.views(Lost).all() == {"tea": Tally(2, 3)}
    assert {row.stream: row.error for row in app.parked.list()} == {
        "a": "LookupError: 13",
        "b": "TypeError: Lost.key returned 5; a key is text, or None for no row",
        "c": "TypeError: Lost.key returned ''; a key is text, or None for no row",
    }


# -- units and latecomers


class Order(Command, type="list.order"):
    product: str
    price: int


class Cart(Actor[dict[str, int]], group="list.cart"):
    def initial(self, stream: str) -> dict[str, int]:
        return {}

    @decide
    def order(self, cart: dict[str, int], command: Order) -> Events[dict[str, int]]:
        yield Added(command.product, command.price)

    @evolve
    def added(self, cart: dict[str, int], event: Added) -> None: ...


@pytest.mark.parametrize("kind", [Listings, Histories, PerProduct])
def test_a_unit_writes_the_rows_with_everything_else(kind: Any, store: Store):
    """They are there when it returns, and nobody handles the messages again."""
    app = listing(Cart, kind, store=store)
    app.append("b", Added("tea", 5))
    app.drain()
    unit = app.unit(Cart, kind)
    for price in (30, 40):
        unit.execute(Order("tea", price), to="a")
    totals = {key: row.total for key, row in app.views(kind).all().items()}
    assert totals == ({"tea": 75} if kind is PerProduct else {"a": 70, "b": 5})
    app.drain()
    assert {key: row.total for key, row in app.views(kind).all().items()} == totals


def test_a_unit_takes_up_what_others_have_written_to_a_shared_row_meanwhile(store: Store):
    other = listing(PerProduct, store=store)

    class Slow(PerProduct, group="per product"):
        times = 1

        @evolve
        def added(self, row: Tally, event: Added) -> None:
            super().added(row, event)
            if self.times:
                self.times -= 1
                other.append("b", Added("tea", 5))
                other.drain()

    app = listing(Cart, Slow, store=store)
    cascade = app.unit(Cart, Slow).execute(Order("tea", 30), to="a")
    assert [m.payload.total for m in cascade.of(Slow)] == [35]
    assert app.views(Slow).get("tea") == Tally(2, 35)
