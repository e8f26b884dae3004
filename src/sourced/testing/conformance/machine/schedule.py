"""The schedule and snapshots."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sourced.store import Snapshot
from sourced.testing.conformance.bench import at
from sourced.testing.conformance.machine.base import Base
from sourced.testing.conformance.machine.drawn import Wish, groups, limits, seconds, streams, wishes


class Schedule(Base):
    @rule(wish=wishes, due=seconds, readable=st.sampled_from([True, True, False]))
    def schedule(self, wish: Wish, due: int, readable: bool) -> None:
        rows = self.scheduled(wish, due, readable)
        self.both(lambda side: side.store.schedule(rows))

    @rule(limit=limits, awaited=st.booleans())
    def promote(self, limit: int, awaited: bool) -> None:
        now = at(self.now)
        self.both(lambda side: side.store.promote(now, limit), awaited=awaited)

    @rule(known=st.lists(st.integers(0, 40), max_size=3))
    def cancel(self, known: list[int]) -> None:
        self.both(lambda side: side.store.cancel([f"m-{number}" for number in known]))

    @rule(group=groups, stream=streams, seq=st.integers(1, 6), keep=st.integers(1, 3), state=st.integers())
    def save_snapshot(self, group: str, stream: str, seq: int, keep: int, state: int) -> None:
        snapshot = Snapshot(group, stream, seq, str(state), "f")
        self.both(lambda side: side.store.save_snapshot(snapshot, keep))
