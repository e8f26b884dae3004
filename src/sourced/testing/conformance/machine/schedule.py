"""The schedule and snapshots."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sourced.ops import Op
from sourced.store import Snapshot
from sourced.testing.conformance.bench import at
from sourced.testing.conformance.machine.base import Base
from sourced.testing.conformance.machine.drawn import Wish, groups, limits, seconds, streams, wishes
from sourced.testing.conformance.machine.sides import Side


class Schedule(Base):
    @rule(wish=wishes, due=seconds, readable=st.sampled_from([True, True, False]))
    def schedule(self, wish: Wish, due: int, readable: bool) -> None:
        rows = self.scheduled(wish, due, readable)
        self.both(lambda side: side.store.schedule(rows))

    @rule(limit=limits, awaited=st.booleans())
    def promote(self, limit: int, awaited: bool) -> None:
        now = at(self.now)
        self.both(lambda side: side.store.promote(now, limit), awaited=awaited)

    @rule(due=seconds, known=st.integers(0, 40), limit=limits)
    def scheduled_page(self, due: int, known: int, limit: int) -> None:
        def step(side: Side) -> Op[Any]:
            page = yield from side.store.scheduled(after=(at(due), f"m-{known}"), limit=limit)
            one = yield from side.store.scheduled([f"m-{known}"])
            aside = yield from side.store.count_scheduled(aside=True)
            return page, one, (yield from side.store.count_scheduled(at(due))), aside

        self.both(step, reading=True)

    @rule(known=st.lists(st.integers(0, 40), max_size=3))
    def cancel(self, known: list[int]) -> None:
        self.both(lambda side: side.store.cancel([f"m-{number}" for number in known]))

    @rule(group=groups, stream=streams, seq=st.integers(1, 6), keep=st.integers(1, 3), state=st.integers())
    def save_snapshot(self, group: str, stream: str, seq: int, keep: int, state: int) -> None:
        snapshot = Snapshot(group, stream, seq, str(state), "f")
        self.both(lambda side: side.store.save_snapshot(snapshot, keep))
