"""Any order of operations on a store and on the memory store side by side: what one answers, the other one does too.

    class MyMachine(StoreMachine):
        def make(self) -> Store:
            return MyStore()

    TestMyMachine = MyMachine.TestCase

Hypothesis looks for a sequence that tells them apart, and for the shortest one. What a store must do is pinned by the
cases of the suite; this finds the case that is missing. (It needs `pip install hypothesis`.)
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from sourced.ops import Op
from sourced.testing.conformance.machine.beside import Beside
from sourced.testing.conformance.machine.drawn import KINDS, STREAMS, Wish, wishes
from sourced.testing.conformance.machine.log import Log
from sourced.testing.conformance.machine.rounds import Rounds
from sourced.testing.conformance.machine.sides import Side
from sourced.testing.conformance.machine.transactions import Transactions
from sourced.testing.conformance.machine.views import Views


class StoreMachine(Log, Rounds, Views, Beside, Transactions):
    """Say how a store is made; for a durable one say also how it is closed and opened again."""

    @initialize(wished=st.lists(wishes, max_size=5))
    def begin(self, wished: list[Wish]) -> None:
        self.register("g", "beginning")
        self.append(wished, awaited=False)

    @invariant()
    def everything_that_can_be_read_is_the_same(self) -> None:
        self.both(everything, reading=True)


def everything(side: Side) -> Op[Any]:
    store = side.store
    found: dict[str, Any] = {"log": (yield from store.read_all())}
    streams, last = yield from store.extent()
    found |= {"streams": streams, "last": side.rank(last), "newest": (yield from store.streams(None))}
    found["groups"] = sorted((yield from store.groups()), key=lambda each: each.name)
    for group in found["groups"]:
        found[f"progress of {group.name}"] = yield from store.progress(group.name)
        found[f"left of {group.name}"] = yield from store.progress(group.name, KINDS[:1])
        found[f"places of {group.name}"] = yield from store.places(group.name)
        found[f"snapshots of {group.name}"] = yield from store.snapshots(group.name, STREAMS)
        found[f"views of {group.name}"] = yield from store.page_views(group.name)
        of_one = yield from store.stragglers(group.name)
        found[f"stragglers of {group.name}"] = sorted(of_one, key=lambda each: each.stream)
    found["stragglers"] = sorted((yield from store.stragglers()), key=lambda each: (each.group, each.stream))
    return found | {"schedule": (yield from store.scheduled())}
