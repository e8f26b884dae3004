"""Projectors: rows right whatever the batch, reactions that see their own moment, and nothing counted twice."""

from datetime import timedelta
from typing import Annotated, Any

import pytest

from sourced import (
    Batch,
    Command,
    Commands,
    DefinitionError,
    Event,
    EventSourced,
    Message,
    Meta,
    Park,
    Projector,
    Retry,
    Sourced,
    Sync,
    after_commit,
    dispatch,
    evolve,
    react,
    sync,
)
from sourced.reactor import Delivery
from sourced.testing import Crash, VirtualClock, given
from sourced.testing.clock import START


class Paid(Event, type="pay.paid"):
    amount: int


class Refunded(Event, type="pay.refunded"):
    amount: int


class Priced(Event, type="pay.priced"):
    product: str
    price: int


class Reward(Command, type="pay.reward"):
    total: Annotated[int, Meta(lt=1_000_000)]


class Totals(Projector[dict[str, int]], group="totals"):
    """State-stored: the row is a dictionary in the table `totals`; the table `log` tells what was loaded and saved."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"total": 0}

    def load(self, key: str, tx: Any) -> dict[str, int] | None:
        note(tx, "load")
        row = tx.table("totals").get(key)
        return dict(row) if row else None

    @evolve
    def paid(self, row: dict[str, int], event: Paid) -> None:
        row["total"] += event.amount

    @evolve
    def refunded(self, row: dict[str, int], event: Refunded) -> None:
        row["total"] -= event.amount

    @react
    def reward(self, row: dict[str, int], event: Paid) -> Commands:
        if row["total"] > 20:
            yield Reward(row["total"])

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        note(tx, [m.seq for m in batch.events])
        tx.table("totals")[batch.stream] = dict(row)


def note(tx: Any, what: Any) -> None:
    log = tx.table("log")
    log[len(log)] = what


def projecting(*projectors: Any, **options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), "errors": Park(), **options})
    app.register(*projectors or (Totals,))
    return app


def rows(app: Sourced) -> dict[str, int]:
    return {key: row["total"] for key, row in app.store.table("totals").items()}  # type: ignore[attr-defined]


def log(app: Sourced) -> list[Any]:
    return list(app.store.table("log").values())  # type: ignore[attr-defined]


def rewards(app: Sourced) -> list[int]:
    return [m.payload.total for m in app.read_all(types=[Reward])]


def test_a_row_is_made_when_there_is_none_and_goes_on_from_what_is_stored():
    """H136. Handling only asks for a sync action; carried out it stores 10, and with a stored 10 it stores 20."""
    app = projecting()
    projector = app._engine.router.group(Totals)
    memo = projector.memo("s")
    message = Message.new(Paid(10), stream="s")
    assert not projector.handle(Delivery(message, False, message.created_at, memo))
    assert [type(action) for action in projector.closing(memo)] == [Sync]
    for total in (10, 20):
        app.append("s", Paid(10))
        app.drain()
        assert rows(app) == {"s": total}


class Rebuilt(EventSourced[dict[str, int]], group="rebuilt"):
    """Event-sourced: the same sums, worked out from history."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"total": 0}

    @evolve
    def paid(self, row: dict[str, int], event: Paid) -> None:
        row["total"] += event.amount

    @evolve
    def refunded(self, row: dict[str, int], event: Refunded) -> None:
        row["total"] -= event.amount

    @react
    def reward(self, row: dict[str, int], event: Paid) -> Commands:
        yield Reward(row["total"])

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        tx.table("totals")[batch.stream] = dict(row)


@pytest.mark.parametrize("cache", [0, 10_000])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_an_event_sourced_projector_counts_what_is_new_once(batch: int, cache: int):
    """H137. The new event is part of the history that is read: 10 and 5 make 15, not 20."""
    app = projecting(Rebuilt, batch=batch, cache=cache)
    for amount, total in ((10, 10), (5, 15)):
        app.append("s", Paid(amount))
        app.drain()
        assert rows(app) == {"s": total}
    app.append("s", [Paid(1), Refunded(2), Paid(3)])
    app.drain()
    assert rows(app) == {"s": 17}
    assert rewards(app) == [10, 15, 16, 17]


def test_an_event_sourced_projector_reacts_to_what_it_is_handed_and_not_to_history():
    """H146. A group that starts late knows the whole past, and reacts to none of it."""
    store = projecting(Rebuilt).store
    early = projecting(Totals, store=store)
    early.append("s", [Paid(1), Paid(2)])

    class Late(Rebuilt, group="late"):
        start_from = "now"

    app = projecting(Late, store=store)
    app.append("s", Paid(4))
    app.drain()
    assert rewards(app) == [7]


@pytest.mark.parametrize("batch", [1, 2, 3, 500])
@pytest.mark.parametrize("amounts", [(5, 10, 6), (30, 1), (21,), (20,), (10, 10, 1, 1)])
def test_a_reaction_sees_the_row_as_of_its_event_whatever_the_batch(amounts: tuple[int, ...], batch: int):
    """H138, H142. Only events that find the total above 20 yield a command, and it carries the total of that moment."""
    app = projecting(batch=batch)
    app.append("s", [Paid(amount) for amount in amounts])
    app.drain()
    sums = [sum(amounts[: n + 1]) for n in range(len(amounts))]
    assert rewards(app) == [total for total in sums if total > 20]
    assert rows(app) == {"s": sums[-1]}


def test_a_replay_only_syncs():
    """H139."""
    app = projecting()
    app.append("s", [Paid(30), Paid(1)])
    app.drain()
    with app.store.transaction() as connection:
        connection.tx.table("totals").clear()
    app.groups.reset(Totals)
    app.drain()
    assert (rows(app), rewards(app)) == ({"s": 31}, [30, 31])


def test_a_reaction_to_what_is_not_projected_is_refused():
    """H140. When the class is made, naming what is wrong."""
    with pytest.raises(DefinitionError, match=r"Wrong\.on_price reacts to Priced, which"):

        class Wrong(Projector[dict[str, int]]):
            @evolve
            def paid(self, row: dict[str, int], event: Paid) -> None: ...

            @react
            def on_price(self, row: dict[str, int], event: Priced) -> Commands:
                yield Reward(1)


def test_a_batch_is_one_load_and_one_sync_and_reactions_in_order():
    """H141."""
    app = projecting(batch=50)
    app.append("s", [Paid(n) for n in range(50)])
    app.drain()
    assert log(app) == ["load", list(range(1, 51))]
    assert rewards(app) == [sum(range(n)) for n in range(51) if sum(range(n)) > 20]


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
def test_a_failing_reaction_leaves_the_row_as_of_the_message_before_it(kind: type[Fragile], batch: int):
    """H143. Messages 1 and 2 are in the row, their commands stored once; 3 and 4 come again, and then it reflects 4."""
    fragile = kind()
    app = projecting(fragile, batch=batch, errors=Retry())
    app.append("s", [Paid(1), Paid(2), Paid(3), Paid(4)])
    app.append("t", [Paid(5)])
    app.drain()
    assert (rows(app), sorted(rewards(app))) == ({"s": 3, "t": 5}, [1, 3, 5])
    fragile.broken = False
    app._engine.clock.advance(3)  # type: ignore[attr-defined]
    app.drain()
    assert (rows(app), sorted(rewards(app))) == ({"s": 10, "t": 5}, [1, 3, 5, 6, 10])


def test_messages_without_reactions_before_a_failing_one_are_kept():
    """H144."""
    app = projecting(Fragile())
    app.append("s", [Refunded(1), Refunded(2), Paid(3)])
    app.drain()
    assert rows(app) == {"s": -3}
    assert [row.from_seq for row in app.parked.list()] == [3]


def test_a_reaction_that_yields_what_cannot_be_stored_is_not_counted_into_the_row():
    """H143. The reaction came through, its command did not: the message failed as a whole, and counts once."""

    class Careless(Totals, group="careless"):
        scale = 1_000_000

        @react
        def reward(self, row: dict[str, int], event: Paid) -> Commands:
            yield Reward(event.amount * (self.scale if event.amount == 3 else 1))

    careless = Careless()
    app = projecting(careless)
    app.append("s", [Paid(1), Paid(2), Paid(3)])
    app.drain()
    assert (rows(app), rewards(app)) == ({"s": 3}, [1, 2])
    assert app.parked.list()[0].error.startswith("Invalid: Reward is not valid")
    careless.scale = 1
    app.parked.retry()
    app.drain()
    assert (rows(app), rewards(app)) == ({"s": 6}, [1, 2, 3])


def test_an_evolve_method_that_fails_half_way_leaves_nothing_of_its_message():
    """H143. The row had been changed already; what is saved is the row as of the message before."""

    class Torn(Totals, group="torn"):
        @evolve
        def paid(self, row: dict[str, int], event: Paid) -> None:
            row["total"] += event.amount
            if event.amount == 3:
                raise ValueError

    app = projecting(Torn)
    app.append("s", [Paid(1), Paid(2), Paid(3), Paid(4)])
    app.drain()
    assert rows(app) == {"s": 3}


def test_a_load_that_fails_waits_for_its_own_stream_only():
    class Missing(Totals, group="missing"):
        def load(self, key: str, tx: Any) -> dict[str, int] | None:
            if key == "s":
                raise LookupError(key)
            return super().load(key, tx)

    app = projecting(Missing)
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


def test_syncs_run_before_the_commit_in_order_and_after_commit_hooks_only_after_it():
    """H145. Neither leaves anything behind when the transaction rolls back."""
    told.clear()
    app = projecting(Hooked)
    app.append("s", [Paid(1), Paid(2)])
    app.drain()
    assert (log(app), told) == (["load", [1, 2], "second"], [("tell", 3, 2), ("shout", 3, 2)])
    app.append("s", Paid(200))
    app.drain()
    assert (rows(app), log(app)[3:], told[2:]) == ({"s": 3}, ["load"], [])


def test_an_after_commit_hook_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture):
    """H145. It is logged; the other hooks run, nothing is rolled back, handled again or held up."""
    told.clear()

    class Rude(Hooked, group="rude"):
        @after_commit
        def tell(self, row: dict[str, int], batch: Batch) -> None:
            raise RuntimeError("nobody listens")

    app = projecting(Rude)
    app.append("s", Paid(1))
    app.append("t", Paid(2))
    app.drain()
    assert rows(app) == {"s": 1, "t": 2}
    assert {name for name, *_ in told} == {"shout"}
    assert "after-commit hook failed" in caplog.text
    assert (app.parked.list(), app.drain()) == ([], 0)


def test_one_document_stays_one_however_often_it_is_added():
    """O148. An index projection that gets `priced` three times has one row, with the new price."""

    class Index(Projector[dict[str, Any]], group="index"):
        def initial(self, stream: str) -> dict[str, Any]:
            return {}

        @evolve
        def priced(self, row: dict[str, Any], event: Priced) -> None:
            row[event.product] = event.price

        @sync
        def save(self, row: dict[str, Any], batch: Batch, tx: Any) -> None:
            tx.table("index").update(row)

    app = projecting(Index, batch=2)
    app.append("s", [Priced("p", 1), Priced("p", 1), Priced("p", 2)])
    app.drain()
    assert app.store.table("index") == {"p": 2}  # type: ignore[attr-defined]


def test_a_crash_in_the_sync_block_counts_nothing_twice():
    """H145. The row and the offset are one transaction: whoever takes over finds both as they were."""

    class Deadly(Totals, group="deadly"):
        alive = 2

        @sync
        def die(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
            self.alive -= 1
            if not self.alive:
                raise Crash

    app = projecting(Deadly(), batch=2)
    app.append("s", [Paid(1), Paid(2), Paid(3), Paid(4)])
    with pytest.raises(Crash):
        app.drain()
    assert rows(app) == {"s": 3}
    app._engine.clock.advance(31)  # type: ignore[attr-defined]
    app.drain()
    assert rows(app) == {"s": 10}


def test_the_todo_list_pattern_decides_the_next_step_from_the_row():
    """H138. Given, when, then: a projector and the command that follows from its row; the sync happened, once."""
    outcome = given(Totals, "s", Paid(15)).when(Paid(10)).then(Reward(25))
    assert outcome.table("totals") == {"s": {"total": 25}}
    given(Totals, "s", Paid(30)).when(Refunded(10)).then()


def test_a_reaction_may_answer_in_another_stream_later_and_with_facts_of_its_own():
    """H138. The command names its producer and follows from the event."""

    class Elsewhere(Totals, group="elsewhere"):
        @react
        def reward(self, row: dict[str, int], event: Paid) -> Commands:
            yield dispatch(Reward(row["total"]), to="vip", metadata={"why": "rich"})
            yield dispatch(Reward(0), after=60)

    app = projecting(Elsewhere)
    (event,) = app.append("s", Paid(30), metadata={"who": "me"})
    app.drain()
    (command,) = app.history("vip")
    assert command.metadata == {"who": "me", "why": "rich", "producer": "elsewhere"}
    assert command.causation_id == event.id
    assert [(each.record.stream, each.at) for each in app.scheduled.list()] == [("s", START + timedelta(minutes=1))]
