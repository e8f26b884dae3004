"""Groups are made, stopped, started, reset, held."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sourced.ops import Op
from sourced.store import Group, Move
from sourced.testing.conformance.bench import at
from sourced.testing.conformance.machine.base import Base
from sourced.testing.conformance.machine.drawn import groups, kinds, seconds, streams
from sourced.testing.conformance.machine.sides import Side, Step


class Groups(Base):
    @rule(group=groups, start=st.sampled_from(["beginning", "now"]) | seconds)
    def register(self, group: str, start: Any) -> None:
        self.both(self.registering(group, start))

    def registering(self, group: str, start: Any) -> Step:
        where = at(start) if isinstance(start, int) else start
        return lambda side: side.store.register(group, where)

    @rule(group=groups, what=st.sampled_from(["stop", "start", "start", "reset"]), awaited=st.booleans())
    def lifecycle(self, group: str, what: str, awaited: bool) -> None:
        if self.known(group):
            self.both(self.changing(group, what), awaited=awaited)

    def changing(self, group: str, what: str) -> Step:
        now = at(self.now)
        return lambda side: {
            "stop": lambda: side.store.stop(group, "a reason", "an error", by=f"at {now}", at=now),
            "start": lambda: side.store.start(group, now),
            "reset": lambda: side.store.reset(group),
        }[what]()

    @rule(
        group=groups, shards=st.lists(st.integers(0, 3), max_size=2, unique=True),
        ranks=st.tuples(*[st.integers(0, 9)] * 3), stopped=st.booleans(),
    )  # fmt: skip
    def reinstate(self, group: str, shards: list[int], ranks: tuple[int, int, int], stopped: bool) -> None:
        status: Any = "stopped" if stopped else "active"

        def step(side: Side) -> Op[Any]:
            start, checkpoint, high = (side.position(min(rank, len(side.log))) for rank in ranks)
            moves = [Move(shard % side.store.shards, max(start, checkpoint), high) for shard in shards]
            unique = {move.shard: move for move in moves}
            yield from side.store.reinstate(Group(group, status, start=start, epoch=4), [*unique.values()])

        self.both(step)

    @rule(group=groups, asked=st.lists(streams, unique=True, max_size=4), types=kinds, awaited=st.booleans())
    def hold_group(self, group: str, asked: list[str], types: frozenset[str], awaited: bool) -> None:
        if self.known(group):
            self.both(lambda side: side.store.hold_group(group, asked, types), awaited=awaited)
