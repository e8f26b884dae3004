"""A process that dies, or is paused for too long, at every place where that can happen; another one takes over."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from sourced.app import Sourced
from sourced.ops import AsyncConnection, Connection
from sourced.reactor import Reactor
from sourced.store import Store
from sourced.testing.clock import VirtualClock
from sourced.testing.conformance.bench import at, entry, scheduled
from sourced.testing.conformance.day import LEASE, Day, check_invariants
from sourced.testing.conformance.transactions import Transactions
from sourced.testing.faults import Crash, CrashingStore, crash_everywhere
from sourced.testing.shop import Cart, Products, Stock


class Pausing:
    """A store whose process is suspended before its nth transaction while something else happens."""

    def __init__(self, store: Store, at: int, meanwhile: Callable[[], object]) -> None:
        self._store = store
        self._left = at
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def was_paused(self) -> bool:
        return self._left <= 0

    def transaction(self, *, reading: bool = False) -> AbstractContextManager[Connection]:
        self._count()
        return self._store.transaction(reading=reading)

    def transaction_async(self, *, reading: bool = False) -> AbstractAsyncContextManager[AsyncConnection]:
        self._count()
        return self._store.transaction_async(reading=reading)

    transact, transact_async = Store.transact, Store.transact_async
    commit, commit_async = Store.commit, Store.commit_async

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._meanwhile()


class Crashes(Transactions):
    reactors: tuple[type[Reactor], ...] = (Cart, Stock)
    stride = 1  # crash at every place of a day (there are a hundred or two), or only at every nth

    # -- ops

    def crash_everywhere(
        self, prepare: Callable[[Store], object], scenario: Callable[[Any], object], check: Callable[[Store], object]
    ) -> int:
        """On stores that are prepared first, and closed in the end."""
        with contextlib.ExitStack() as stores:

            def make() -> Store:
                store = self.make()
                stores.callback(store.close)
                prepare(store)
                return store

            return crash_everywhere(make, scenario, check)

    def test_transaction_crashed_at_any_of_its_statements_leaves_nothing(self) -> None:
        """D70. Also when everything was done, and only the commit was not."""
        before: dict[int, Any] = {}

        def prepare(store: Store) -> None:
            self.store = store
            self.prepare()
            before[id(store)] = self.everything()

        def unchanged(store: Store) -> None:
            assert self.everything(store) == before[id(store)]

        places = self.crash_everywhere(prepare, lambda dying: self.do(self.busy(), dying), unchanged)
        assert places > 18, "expected every op to take a statement, and the commit to be counted"

    def test_append_crashed_anywhere_leaves_no_half_of_any_entry(self) -> None:
        """One after the other, each in a transaction of its own: exactly what was answered for is there."""
        entries = [[entry("a", 2), entry("b", 2)], [entry("a", 3)], [entry("b", 1), entry("c", 2)]]
        answered: list[int] = []

        def appended(store: Any) -> None:
            for batch in entries:
                self.do(store.append(batch), store)
                answered.append(sum(len(each.records) for each in batch))

        def whole(store: Store) -> None:
            log = self.do(store.read_all(), store)
            assert len(log) == sum(answered)
            check_invariants(log)

        assert self.crash_everywhere(lambda _: answered.clear(), appended, whole) >= 6

    def test_promote_crashed_anywhere_is_made_up_for_once(self) -> None:
        """I157. Between the append and taking it off the schedule, too."""
        due = scheduled("s", 1), scheduled("t", 2), scheduled("s", 3, metadata="{")

        def prepare(store: Store) -> None:
            self.do(store.schedule(due), store)

        def promote(store: Any) -> None:
            self.do(store.promote(at(9)), store)

        def once(store: Store) -> None:
            assert self.do(store.read_all(), store) == []
            promote(store)
            promote(store)
            assert [r.id for r in self.do(store.read_all(), store)] == [each.record.id for each in due[:2]]
            assert [bool(each.error) for each in self.do(store.scheduled(), store)] == [True]

        assert self.crash_everywhere(prepare, promote, once) >= 2

    # -- whole days

    def day(self, store: Any, clock: VirtualClock) -> Day:
        app = Sourced(store, clock=clock)
        app.register(*self.reactors)
        return Day(self.verbs(app), clock)

    def outcome(self, day: Day, store: Store) -> Any:
        """Where a day has led to; override it to look at tables of your own as well."""
        check_invariants(self.do(store.read_all(), store), everything_done=True)
        rows = self.do(store.page_views(Products.group), store)
        return day.outcome(), {row.key: row.body for row in rows}

    def undisturbed(self) -> Any:
        """What a day comes to that nothing happens to."""
        day = self.day(self.store, VirtualClock())
        day.live()
        return self.outcome(day, self.store)

    @contextlib.contextmanager
    def another_store(self) -> Iterator[Store]:
        store = self.make()
        try:
            yield store
        finally:
            store.close()

    def survives(self, store: CrashingStore, clock: VirtualClock) -> bool:
        """Lives through the day, or as much of it as there is until it dies."""
        with contextlib.suppress(Crash):
            self.day(store, clock).live()
            return True
        return False

    def test_transaction_crashed_anywhere_in_a_day_is_made_up_for_by_the_next_process(self) -> None:
        """Foreground, dispatch, rounds with reactions, the schedule: after any crash nothing is half done, and once
        the leases have run out another process finishes the day: each command decided once, the same outcome."""
        expected = self.undisturbed()
        for place in itertools.count(1, self.stride):
            clock = VirtualClock()
            with self.another_store() as store:
                if self.survives(CrashingStore(store, place), clock):
                    assert place > 60
                    return
                check_invariants(self.do(store.read_all(), store))
                again = self.day(store, clock)
                again.take_over()
                again.live()
                assert self.outcome(again, store) == expected, f"after a crash at statement {place}"

    def test_transaction_crashed_once_more_during_recovery_is_made_up_for_as_well(self) -> None:
        expected = self.undisturbed()
        for place in itertools.count(1, 3 * self.stride):
            clock = VirtualClock()
            with self.another_store() as store:
                if self.survives(CrashingStore(store, place), clock):
                    assert place > 60
                    return
                clock.advance(LEASE)
                self.survives(CrashingStore(store, 1 + place * 7 % 61), clock)
                check_invariants(self.do(store.read_all(), store))
                again = self.day(store, clock)
                again.take_over()
                again.live()
                assert self.outcome(again, store) == expected, f"after a crash at statement {place}"

    def test_fence_holds_off_a_process_that_was_paused_anywhere_while_another_did_its_work(self) -> None:
        """It does not know that its lease has run out: it goes on where it was, and nothing is done twice."""
        expected = self.undisturbed()
        for place in itertools.count(1, self.stride):
            clock = VirtualClock()
            with self.another_store() as store:
                pausing = Pausing(store, place, lambda store=store, clock=clock: self.work_through(store, clock))  # type: ignore[misc]
                sleeper = self.day(pausing, clock)
                sleeper.live()
                if not pausing.was_paused:
                    assert place > 15
                    return
                sleeper.take_over()
                assert self.outcome(sleeper, store) == expected, f"after a pause before transaction {place}"

    def work_through(self, store: Store, clock: VirtualClock) -> None:
        app = Sourced(store, clock=clock)
        app.register(*self.reactors)
        other = Day(app, clock)
        other.take_over()
        other.live()
