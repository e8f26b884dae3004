"""When a projector fails: the row reflects exactly what was handled, and nothing is ever counted twice."""

from typing import Any

import pytest

from sourced import Batch, Commands, Retry, after_commit, evolve, react, sync
from sourced.store import Store
from sourced.testing import Crash
from tests.totals import Paid, Rebuilt, Refunded, Reward, Totals, log, note, projecting, rewards, rows


class Fragile(Totals, group="fragile"):
    def __init__(self) -> None:
        self.broken = True

    @react
    def reward(self, row: dict[str, int], event: Paid) -> Commands:
        yield Reward(row["total"])
        if event.amount == 3 and self.broken:
            raise ValueError("not 3")


class FragileRebuilt(Rebuilt, group="fragile"):
    def __init__(self) -> None:
        self.broken = True

    @react
    def reward(self, row: dict[str, int], event: Paid) -> Commands:
        yield from Fragile.reward(self, row, event)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Fragile, FragileRebuilt])
@pytest.mark.parametrize("batch", [1, 2, 3, 500])
def test_a_failing_reaction_leaves_the_row_as_of_the_message_before_it(kind: type[Fragile], batch: int, store: Store):
    """H143. Messages 1 and 2 are in the row, their commands stored once; 3 and 4 come again, and then it reflects 4."""
    fragile = kind()
    app = projecting(fragile, batch=batch, errors=Retry(), store=store)
    app.append("s", [Paid(1), Paid(2), Paid(3), Paid(4)])
    app.append("t", [Paid(5)])
    app.drain()
    assert (rows(app), sorted(rewards(app))) == ({"s": 3, "t": 5}, [1, 3, 5])
    fragile.broken = False
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert (rows(app), sorted(rewards(app))) == ({"s": 10, "t": 5}, [1, 3, 5, 6, 10])


def test_messages_without_reactions_before_a_failing_one_are_kept(store: Store):
    """H144."""
    app = projecting(Fragile(), store=store)
    app.append("s", [Refunded(1), Refunded(2), Paid(3)])
    app.drain()
    assert rows(app) == {"s": -3}
    assert [row.from_seq for row in app.parked.list()] == [3]


def test_a_reaction_that_yields_what_cannot_be_stored_is_not_counted_into_the_row(store: Store):
    """H143. The reaction came through, its command did not: the message failed as a whole, and counts once."""

    class Careless(Totals, group="careless"):
        scale = 1_000_000

        @react
        def reward(self, row: dict[str, int], event: Paid) -> Commands:
            yield Reward(event.amount * (self.scale if event.amount == 3 else 1))

    careless = Careless()
    app = projecting(careless, store=store)
    app.append("s", [Paid(1), Paid(2), Paid(3)])
    app.drain()
    assert (rows(app), rewards(app)) == ({"s": 3}, [1, 2])
    assert app.parked.list()[0].error.startswith("Invalid: Reward is not valid")
    careless.scale = 1
    app.parked.retry()
    app.drain()
    assert (rows(app), rewards(app)) == ({"s": 6}, [1, 2, 3])


def test_an_evolve_method_that_fails_half_way_leaves_nothing_of_its_message(store: Store):
    """H143. The row had been changed already; what is saved is the row as of the message before."""

    class Torn(Totals, group="torn"):
        @evolve
        def paid(self, row: dict[str, int], event: Paid) -> None:
            row["total"] += event.amount
            if event.amount == 3:
                raise ValueError

    app = projecting(Torn, store=store)
    app.append("s", [Paid(1), Paid(2), Paid(3), Paid(4)])
    app.drain()
    assert rows(app) == {"s": 3}


def test_a_load_that_fails_waits_for_its_own_stream_only(store: Store):
    class Missing(Totals, group="missing"):
        def load(self, key: str, tx: Any) -> dict[str, int] | None:
            if key == "s":
                raise LookupError(key)
            return super().load(key, tx)

    app = projecting(Missing, store=store)
    app.append("s", Paid(1))
    app.append("t", Paid(1))
    app.drain()
    assert rows(app) == {"t": 1}
    assert [row.error for row in app.parked.list()] == ["LookupError: s"]


class Hooked(Totals, group="hooked"):
    """Two sync blocks and two after-commit hooks; the second sync block may fail."""

    @sync
    def second(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        note(tx, "second")
        if row["total"] > 100:
            raise ValueError("too rich")

    @after_commit
    def tell(self, row: dict[str, int], batch: Batch) -> None:
        told.append(("tell", row["total"], len(batch.events)))

    @after_commit
    def shout(self, row: dict[str, int], batch: Batch) -> None:
        told.append(("shout", row["total"], len(batch.events)))


told: list[Any] = []


def test_syncs_run_before_the_commit_in_order_and_after_commit_hooks_only_after_it(store: Store):
    """H145. Neither leaves anything behind when the transaction rolls back."""
    told.clear()
    app = projecting(Hooked, store=store)
    app.append("s", [Paid(1), Paid(2)])
    app.drain()
    assert (log(app), told) == ([[1, 2], "second"], [("tell", 3, 2), ("shout", 3, 2)])
    app.append("s", Paid(200))
    app.drain()
    assert (rows(app), log(app)[2:], told[2:]) == ({"s": 3}, [], [])


def test_an_after_commit_hook_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture, store: Store):
    """H145. It is logged; the other hooks run, nothing is rolled back, handled again or held up."""
    told.clear()

    class Rude(Hooked, group="rude"):
        @after_commit
        def tell(self, row: dict[str, int], batch: Batch) -> None:
            raise RuntimeError("nobody listens")

    app = projecting(Rude, store=store)
    app.append("s", Paid(1))
    app.append("t", Paid(2))
    app.drain()
    assert rows(app) == {"s": 1, "t": 2}
    assert {name for name, *_ in told} == {"shout"}
    assert "after-commit hook failed" in caplog.text
    assert (app.parked.list(), app.drain()) == ([], 0)


def test_a_crash_in_the_sync_block_counts_nothing_twice(store: Store):
    """H145. The row and the offset are one transaction: whoever takes over finds both as they were."""

    class Deadly(Totals, group="deadly"):
        alive = 2

        @sync
        def die(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
            self.alive -= 1
            if not self.alive:
                raise Crash

    app = projecting(Deadly(), batch=2, store=store)
    app.append("s", [Paid(1), Paid(2), Paid(3), Paid(4)])
    with pytest.raises(Crash):
        app.drain()
    assert rows(app) == {"s": 3}
    app._engine.clock.advance(31)  # type: ignore[attr-defined]
    app.drain()
    assert rows(app) == {"s": 10}
