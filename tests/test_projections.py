"""Projections as other systems run them: once over what there is, or for ever, started and stopped by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sourced import Event, Projector, Sourced, View, evolve
from sourced.errors import UnknownGroup
from sourced.store import Store
from sourced.testing import VirtualClock


class Paid(Event, type="projections.paid"):
    amount: int


class Noted(Event, type="projections.noted"): ...


class Balance(View):
    amounts: list[int] = []


class Balances(Projector[Balance], group="balances"):
    @evolve
    def paid(self, row: Balance, event: Paid) -> None:
        row.amounts.append(event.amount)


class Late(Balances, group="late"):
    start_from = "now"


def app_on(store: Store, *projectors: Any) -> Sourced:
    app = Sourced(store, clock=VirtualClock())
    app.register(*projectors or (Balances,))
    return app


def amounts(app: Sourced, kind: Any = Balances) -> list[int]:
    row = app.views(kind).get("a")
    return row.amounts if row else []


def test_run_once_takes_all_there_is_and_remembers_how_far_that_was(store: Store):
    """O248. Another process goes on from the checkpoint; what is not wanted moves it too."""
    app = app_on(store)
    app.append("a", [Paid(1), Paid(2), Paid(3)])
    assert app.drain() == 3
    assert amounts(app) == [1, 2, 3]
    (group,) = app.status().groups
    assert (group.newest, group.lag) == (app.status().position, 0)
    app.append("a", Noted())
    again = app_on(store)
    assert [each.checkpoint for each in again.status().groups[0].progress] == [group.newest]
    assert again.drain() == 0
    assert amounts(again) == [1, 2, 3]
    assert [each.checkpoint for each in again.status().groups[0].progress] == [again.status().position]


def test_run_once_from_a_place_takes_what_comes_after_it(store: Store):
    """O248. From the first event's checkpoint, and for one that starts after it, these are the last two."""
    app = app_on(store)
    app.append("a", Paid(1))
    assert app.drain() == 1
    late = app_on(store, Balances, Late)
    late.groups.list()  # from here on
    app.append("a", [Paid(2), Paid(3)])
    assert app_on(store).drain() == 2
    assert app_on(store, Late).drain() == 2
    assert (amounts(late), amounts(late, Late)) == ([1, 2, 3], [2, 3])


def test_one_that_runs_for_ever_finds_what_comes_later(store: Store):
    """O250. It is started and stopped by name, class or itself, and to do it twice is to do it once."""
    projector = Balances()
    app = Sourced(store)
    app.register(projector)

    async def story() -> None:
        async with app.running():
            await app.aio.wait_for(await app.aio.dispatch(Paid(1), to="a"))
            for handle in ("balances", Balances, projector):
                await app.aio.groups.stop(handle, reason="a pause")
                await app.aio.groups.stop(handle, reason="again")
                (group,) = await app.aio.groups.list()
                assert (group.group.status, group.group.reason) == ("stopped", "a pause")
                message = await app.aio.dispatch(Paid(2), to="a")
                await app.aio.groups.start(handle)
                await app.aio.groups.start(handle)
                await app.aio.wait_for(message)
            with pytest.raises(UnknownGroup):
                await app.aio.groups.stop("nobody", reason="")
            assert len(await app.aio.workers()) == 1
        assert await app.aio.workers() == []

    asyncio.run(story())
    assert amounts(app) == [1, 2, 2, 2]
