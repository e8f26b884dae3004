"""Projectors: rows that are right whatever the batch, and reactions that see their own moment."""

from datetime import timedelta
from typing import Any

import pytest

from sourced import Batch, Commands, DefinitionError, Projector, dispatch, evolve, react, sync
from sourced.store import Store
from sourced.testing import given
from sourced.testing.clock import START
from tests.rows import table
from tests.totals import Paid, Priced, Rebuilt, Refunded, Reward, Totals, log, projecting, rewards, rows


def test_a_row_is_made_when_there_is_none_and_goes_on_from_what_is_stored(store: Store):
    """H136. With nothing stored it stores 10, and with a stored 10 it stores 20."""
    app = projecting(store=store)
    for total in (10, 20):
        app.append("s", Paid(10))
        app.drain()
        assert rows(app) == {"s": total}


@pytest.mark.parametrize("cache", [0, 10_000])
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_an_event_sourced_projector_counts_what_is_new_once(batch: int, cache: int, store: Store):
    """H137. The new event is part of the history that is read: 10 and 5 make 15, not 20."""
    app = projecting(Rebuilt, batch=batch, cache=cache, store=store)
    for amount, total in ((10, 10), (5, 15)):
        app.append("s", Paid(amount))
        app.drain()
        assert rows(app) == {"s": total}
    app.append("s", [Paid(1), Refunded(2), Paid(3)])
    app.drain()
    assert rows(app) == {"s": 17}
    assert rewards(app) == [10, 15, 16, 17]


def test_an_event_sourced_projector_reacts_to_what_it_is_handed_and_not_to_history(store: Store):
    """H146. A group that starts late knows the whole past, and reacts to none of it."""
    projecting(Rebuilt, store=store)
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
def test_a_reaction_sees_the_row_as_of_its_event_whatever_the_batch(amounts: tuple[int, ...], batch: int, store: Store):
    """H138, H142. Only events that find the total above 20 yield a command, and it carries the total of that moment."""
    app = projecting(batch=batch, store=store)
    app.append("s", [Paid(amount) for amount in amounts])
    app.drain()
    sums = [sum(amounts[: n + 1]) for n in range(len(amounts))]
    assert rewards(app) == [total for total in sums if total > 20]
    assert rows(app) == {"s": sums[-1]}


def test_a_replay_only_syncs(store: Store):
    """H139."""
    app = projecting(store=store)
    app.append("s", [Paid(30), Paid(1)])
    app.drain()
    with app.store.transaction() as connection:
        table(connection.tx, "totals").clear()
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


def test_a_batch_is_one_load_and_one_sync_and_reactions_in_order(store: Store):
    """H141."""
    app = projecting(batch=50, store=store)
    app.append("s", [Paid(n) for n in range(50)])
    app.drain()
    assert (app._engine.router.group(Totals).loads, log(app)) == (1, [list(range(1, 51))])  # type: ignore[attr-defined]
    assert rewards(app) == [sum(range(n)) for n in range(51) if sum(range(n)) > 20]


def test_one_document_stays_one_however_often_it_is_added(store: Store):
    """H148. An index projection that gets `priced` three times has one row, with the new price."""

    class Index(Projector[dict[str, Any]], group="index"):
        def initial(self, stream: str) -> dict[str, Any]:
            return {}

        @evolve
        def priced(self, row: dict[str, Any], event: Priced) -> None:
            row[event.product] = event.price

        @sync
        def save(self, row: dict[str, Any], batch: Batch, tx: Any) -> None:
            table(tx, "index").update(row)

    app = projecting(Index, batch=2, store=store)
    app.append("s", [Priced("p", 1), Priced("p", 1), Priced("p", 2)])
    app.drain()
    assert table(app.store, "index") == {"p": 2}


def test_the_todo_list_pattern_decides_the_next_step_from_the_row():
    """H138. Given, when, then: a projector and the command that follows from its row; the sync happened, once."""
    outcome = given(Totals, "s", Paid(15)).when(Paid(10)).then(Reward(25))
    assert outcome.table("totals") == {"s": {"total": 25}}
    given(Totals, "s", Paid(30)).when(Refunded(10)).then()


def test_a_reaction_may_answer_in_another_stream_later_and_with_facts_of_its_own(store: Store):
    """H138. The command names its producer and follows from the event."""

    class Elsewhere(Totals, group="elsewhere"):
        @react
        def reward(self, row: dict[str, int], event: Paid) -> Commands:
            yield dispatch(Reward(row["total"]), to="vip", metadata={"why": "rich"})
            yield dispatch(Reward(0), after=60)

    app = projecting(Elsewhere, store=store)
    (event,) = app.append("s", Paid(30), metadata={"who": "me"})
    app.drain()
    (command,) = app.history("vip")
    assert command.metadata == {"who": "me", "why": "rich", "producer": "elsewhere"}
    assert command.causation_id == event.id
    assert [(each.record.stream, each.at) for each in app.scheduled.list()] == [("s", START + timedelta(minutes=1))]
