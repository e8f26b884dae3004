"""Faults on demand: a process that dies at the nth statement, a lease that is stolen, a wake-up that never comes."""

import asyncio
from datetime import timedelta

import pytest

from sourced import Sourced
from sourced.errors import StillWaiting
from sourced.ops import run
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash, CrashingStore, VirtualClock, crash_everywhere, steal_leases
from sourced.testing.clock import START
from sourced.testing.shop import AddItem, Cart, ItemAdded, Stock


def shop(store):
    app = Sourced(store, clock=VirtualClock())
    app.register(Cart, Stock)
    return app


class TestCrash:
    def test_it_is_not_an_error_that_anybody_handles(self):
        """No policy sees it, nothing is retried or parked: the process is gone."""
        assert not issubclass(Crash, Exception)
        store = MemoryStore()
        shop(store).dispatch(AddItem("tea"), to="c1")
        with pytest.raises(Crash):
            shop(CrashingStore(store, at=5)).drain()
        assert shop(store).parked.list() == []

    def test_it_says_where(self):
        with pytest.raises(Crash, match="before 'append'"):
            Sourced(CrashingStore(MemoryStore(), at=1)).append("c1", ItemAdded("tea", 1))
        with pytest.raises(Crash, match="before 'commit'"):
            Sourced(CrashingStore(MemoryStore(), at=2)).append("c1", ItemAdded("tea", 1))

    @pytest.mark.parametrize("at", [1, 2])
    def test_what_was_not_committed_is_gone(self, at):
        store = MemoryStore()
        with pytest.raises(Crash):
            Sourced(CrashingStore(store, at)).append("c1", ItemAdded("tea", 1))
        assert Sourced(store).read_all() == []

    def test_nothing_runs_after_it(self):
        dead = CrashingStore(MemoryStore(), at=1)
        app = Sourced(dead)
        for work in (lambda: app.append("c1", ItemAdded("tea", 1)), app.read_all, app.status):
            with pytest.raises(Crash):
                work()

    def test_a_store_that_is_to_die_late_works_until_then(self):
        store = CrashingStore(MemoryStore(), at=10_000)
        app = shop(store)
        app.execute(AddItem("tea"), to="c1")
        app.drain()
        assert shop(store.store).load(Stock, "stock-tea").state.reserved == 1
        assert store.shards == store.store.shards
        assert store.left < 10_000

    def test_the_awaitable_side_dies_at_the_same_places(self):
        def deaths(work):
            """The statements before which it died, one run each."""
            for at in range(1, 100):
                store = MemoryStore()
                try:
                    work(CrashingStore(store, at))
                except Crash as crash:
                    yield str(crash)
                else:
                    return

        def here(store):
            shop(store).execute(AddItem("tea"), to="c1")

        def awaited(store):
            asyncio.run(shop(store).aio.execute(AddItem("tea"), to="c1"))

        places = list(deaths(here))
        assert places == list(deaths(awaited))
        assert len(places) >= 4
        assert places[-1] == "before 'commit'"


class TestCrashEverywhere:
    def test_it_dies_once_at_each_statement_and_checks_what_is_left(self):
        left = []

        def scenario(store):
            Sourced(store).append("c1", [ItemAdded("tea", 1), ItemAdded("milk", 1)])

        places = crash_everywhere(MemoryStore, scenario, lambda store: left.append(len(Sourced(store).read_all())))
        assert (places, left) == (2, [0, 0])

    def test_each_run_gets_a_store_of_its_own(self):
        made = []

        def make():
            made.append(MemoryStore())
            return made[-1]

        places = crash_everywhere(make, lambda store: shop(store).execute(AddItem("tea"), to="c1"), lambda store: None)
        assert len(made) == places + 1

    def test_a_check_that_fails_is_heard(self):
        def check(store):
            assert Sourced(store).read_all(), "half of it is missing"

        with pytest.raises(AssertionError, match="half of it is missing"):
            crash_everywhere(MemoryStore, lambda store: Sourced(store).append("c1", ItemAdded("tea", 1)), check)

    def test_an_error_in_the_scenario_itself_is_heard(self):
        def scenario(store):
            raise KeyError("typo")

        with pytest.raises(KeyError):
            crash_everywhere(MemoryStore, scenario, lambda store: None)

    def test_it_finds_the_place_where_two_transactions_should_be_one(self):
        """What it is for: a write in two steps, told by a step at which only the first is there."""

        def careless(store):
            app = Sourced(store)
            app.append("account", ItemAdded("debit", 1))
            app.append("account", ItemAdded("credit", 1))

        def careful(store):
            with Sourced(store).transaction() as tx:
                tx.append("account", ItemAdded("debit", 1))
                tx.append("account", ItemAdded("credit", 1))

        def balanced(store):
            assert len(Sourced(store).read_all()) in (0, 2)

        assert crash_everywhere(MemoryStore, careful, balanced) >= 3
        with pytest.raises(AssertionError):
            crash_everywhere(MemoryStore, careless, balanced)

    def test_a_whole_story_survives_a_crash_anywhere(self):
        """K190, K191 under crashes: whoever comes next finishes it, and no step of it happens twice."""

        def scenario(store):
            app = shop(store)
            app.execute(AddItem("tea", 2), to="c1")
            app.dispatch(AddItem("milk", 1), to="c1")
            app.drain()

        def check(store):
            app = shop(store)
            app._engine.clock.advance(3600)  # whoever died had leases
            app.drain()
            for product, wanted in (("tea", 2), ("milk", 1)):
                ordered = app.load(Cart, "c1").state.items.get(product, 0)
                assert app.load(Stock, f"stock-{product}").state.reserved == ordered
                assert ordered in (0, wanted)

        assert crash_everywhere(MemoryStore, scenario, check) > 20


class TestStealLeases:
    def test_the_one_who_had_them_can_do_nothing_any_more(self):
        store, clock = MemoryStore(), VirtualClock()
        app = Sourced(store, clock=clock)
        app.register(Cart)
        message = app.dispatch(AddItem("tea"), to="c1")
        with store.transaction() as connection:
            until = clock.now() + timedelta(seconds=30)
            claim = run(store.claim("shop.carts", "worker", now=clock.now(), until=until, limit=10), connection)
        stolen = steal_leases(store, "shop.carts", clock.now())
        assert [lease.shard for lease in stolen.leases] == [lease.shard for lease in claim.leases]
        assert all(new.token > old.token for new, old in zip(stolen.leases, claim.leases, strict=True))
        assert app.drain() == 0
        with pytest.raises(StillWaiting):
            app.wait_for(message, timeout=0)
        clock.advance(timedelta(days=2))
        assert app.drain() == 2

    def test_there_is_nothing_to_steal_where_nothing_is_to_be_done(self):
        app = shop(MemoryStore())
        app.drain()
        assert steal_leases(app.store, "shop.carts", app._engine.clock.now()).leases == ()


class TestVirtualClock:
    def test_it_stands_still_until_it_is_turned(self):
        clock = VirtualClock()
        assert clock.now() == clock.now() == START
        assert clock.advance(5) == clock.now() == START + timedelta(seconds=5)
        assert clock.advance(timedelta(days=1)) == START + timedelta(days=1, seconds=5)

    def test_it_starts_wherever_it_is_told_to(self):
        assert VirtualClock(START + timedelta(days=1)).now() == START + timedelta(days=1)

    def test_whoever_waits_for_a_time_out_comes_to_its_end(self):
        clock = VirtualClock()
        looks = [clock.elapsed() for _ in range(3)]
        assert looks == sorted(set(looks))
        assert clock.now() == START
