"""The whole bank: accounts, what is projected of them in every way there is, and runs of errands."""

from __future__ import annotations

from typing import Any

from sourced import Retry, Sourced
from tests.chaos.bank import Accounts, Balances, Dripped, Journal, Noted
from tests.chaos.boards import Arrivals, Holdings, Stamps, Turnover
from tests.chaos.errands import Errand


def bank(store: Any, *, lease: float = 1.0) -> Sourced:
    app = Sourced(store, lease=lease, errors=Retry(times=1_000, after=0.02))
    app.register(Accounts, Balances, Journal, Turnover, Stamps, Errand)
    app.register(Holdings, Arrivals, inline=True)
    return app


def counter(app: Sourced) -> Sourced:
    """The part of it that has no tables of its own, and so can be awaited as it is."""
    part = Sourced(app.store, lease=1.0, errors=Retry(times=1_000, after=0.02))
    part.register(Accounts, Turnover, Errand, Noted, Dripped)
    part.register(Holdings, Arrivals, inline=True)
    return part
