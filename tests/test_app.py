"""An app is opened on a store, with options that can work, and knows its streams, actors and groups by name."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sourced import DefinitionError, Invalid, Sourced
from sourced.errors import NotKnown, UnknownGroup
from sourced.stores.memory import MemoryStore
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, CartState, Close, Sales, Stock


class TestStore:
    @pytest.mark.parametrize("url", ["mysql://localhost/shop", ":memory:", "", "shop.db", "MEMORY"])
    def test_a_url_without_a_store_is_told_what_there_is(self, url):
        with pytest.raises(DefinitionError, match="expected memory://") as error:
            Sourced(url)
        assert repr(url) in str(error.value)

    @pytest.mark.parametrize("store", [None, 5, Path("shop.db"), object(), ["memory://"]])
    def test_what_is_neither_a_url_nor_a_store(self, store):
        with pytest.raises(DefinitionError, match="expected a URL such as memory://, or a store, found"):
            Sourced(store)

    def test_two_apps_live_in_one_process_apart_or_on_one_store(self):
        store = MemoryStore()
        one, other, alone = Sourced(store), Sourced(store), Sourced("memory://")
        for app in (one, other, alone):
            app.register(Cart)
        one.execute(Close(), to="c1")
        assert other.history("c1") == one.history("c1")
        assert alone.read_all() == []
        assert one.store is store

    def test_an_app_is_closed_at_the_end_of_its_block(self):
        closed = []

        class Closing(MemoryStore):
            def close(self):
                closed.append(self)

        with Sourced(Closing()) as app:
            app.register(Cart)
            app.execute(Close(), to="c1")
        assert closed == [app.store]

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"batch": 0}, DefinitionError),
            ({"batch": -1}, DefinitionError),
            ({"cache": -1}, DefinitionError),
            ({"lease": "30"}, Invalid),
            ({"errors": 3}, DefinitionError),
            ({"errors": "retry"}, DefinitionError),
        ],
        ids=str,
    )
    def test_options_that_cannot_work(self, options, error):
        (name,) = options
        with pytest.raises(error, match="duration" if name == "lease" else rf"Sourced\({name}=…\): expected"):
            Sourced(**options)

    def test_without_a_cache_everything_works_the_same(self):
        for cache in (0, 1):
            app = Sourced(cache=cache, batch=1, lease=timedelta(seconds=1), clock=VirtualClock())
            app.register(Cart, Stock, Sales)
            for n in range(3):
                app.execute(AddItem("tea", n), to="c1")
                app.execute(AddItem("milk", n), to="c2")
            app.drain()
            assert app.load(Stock, "stock-tea").state.reserved == app.load(Stock, "stock-milk").state.reserved == 3
            assert app.store.table("sales") == {"c1": {"items": 3}, "c2": {"items": 3}}  # type: ignore[attr-defined]


class TestNames:
    def test_an_actor_is_loaded_by_its_class_and_nothing_else(self):
        app = Sourced()
        app.register(Cart, Sales)
        wrong: list[Any] = ["Cart", Cart(), None, Sales, CartState, app.load(Cart, "c1")]
        for thing in wrong:
            with pytest.raises(NotKnown, match="expected the class of a registered actor, found"):
                app.load(thing, "c1")
        with pytest.raises(NotKnown, match=r"Stock is not registered here; call app.register\(Stock\) first"):
            app.load(Stock, "s")

    @pytest.mark.parametrize("stream", [None, 5, "", [], b"c1", "c\0", "\ud800"])
    def test_a_stream_is_a_name(self, stream):
        app = Sourced()
        app.register(Cart)
        for use in (lambda: app.load(Cart, stream), lambda: app.history(stream), lambda: app.append(stream, Close())):
            with pytest.raises(Invalid, match="expected a stream's name"):
                use()

    def test_a_group_goes_by_its_name_its_class_or_itself(self):
        """G122."""
        app, cart = Sourced(), Cart()
        app.register(cart)
        assert app.groups.get("shop.carts") == app.groups.get(Cart) == app.groups.get(cart) == app.groups.list()[0]
        for unknown in ("carts", Sales, Sales()):
            with pytest.raises(UnknownGroup, match=r"registered are: shop\.carts"):
                app.groups.get(unknown)
