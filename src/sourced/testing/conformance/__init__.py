"""The store's contract as a suite: subclass `StoreConformance`, say how a store is made, and pytest runs every case.

    class TestMyStore(StoreConformance):
        def make(self) -> Store:
            return MyStore()

`AsyncStoreConformance` puts the same cases through `transaction_async`. A case is named after the port's method it
pins. For readable failures call `pytest.register_assert_rewrite("sourced.testing.conformance")` in your conftest first.
"""

from sourced.testing.conformance.appending import Appending
from sourced.testing.conformance.bench import AsyncBench
from sourced.testing.conformance.beside import Beside
from sourced.testing.conformance.carrying import Carrying
from sourced.testing.conformance.claims import Claims
from sourced.testing.conformance.concurrency import Concurrency
from sourced.testing.conformance.crashes import Crashes
from sourced.testing.conformance.groups import Groups
from sourced.testing.conformance.holding import Holding
from sourced.testing.conformance.reading import Reading
from sourced.testing.conformance.resets import Resets
from sourced.testing.conformance.rounds import Rounds
from sourced.testing.conformance.schedule import Schedule
from sourced.testing.conformance.settling import Settling
from sourced.testing.conformance.snapshots import Snapshots
from sourced.testing.conformance.stragglers import Stragglers
from sourced.testing.conformance.views import Views
from sourced.testing.conformance.workers import Workers

__all__ = ["AsyncStoreConformance", "StoreConformance"]


class StoreConformance(
    Crashes, Appending, Reading, Groups, Resets, Claims, Settling, Rounds, Stragglers, Schedule, Snapshots,
    Concurrency, Carrying, Views, Beside, Holding, Workers,
):  # fmt: skip
    """Every case, through `transaction`."""


class AsyncStoreConformance(AsyncBench, StoreConformance):
    """Every case, through `transaction_async`."""

    stride = 3
