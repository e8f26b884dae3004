"""Rows are built beside those of a group, and take their place."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sourced.ops import Op
from sourced.testing.conformance.bench import Broken
from sourced.testing.conformance.machine.base import Base
from sourced.testing.conformance.machine.drawn import groups, limits
from sourced.testing.conformance.machine.sides import Side


class Beside(Base):
    built = 0  # names of rows that were given out

    @rule(
        group=groups, beside=groups, afresh=st.booleans(), awaited=st.booleans(),
    )  # fmt: skip
    def build_beside(self, group: str, beside: str, afresh: bool, awaited: bool) -> None:
        if self.known(group) and group != beside:
            self.built += 1
            view = f"v-{self.built}"

            def step(side: Side) -> Op[Any]:
                made = yield from side.store.build_beside(group, beside, view, afresh=afresh)
                if made.view == view:
                    side.epochs[beside] = made.epoch
                return made

            self.both(step, awaited=awaited)

    @rule(group=groups, awaited=st.booleans())
    def seize(self, group: str, awaited: bool) -> None:
        if self.known(group):
            self.both(lambda side: side.store.seize(group), awaited=awaited)

    @rule(group=groups, beside=groups, undone=st.booleans(), awaited=st.booleans())
    def swap(self, group: str, beside: str, undone: bool, awaited: bool) -> None:
        """As a rebuild does, with both in hand."""
        if not (self.known(group) and self.known(beside)) or group == beside:
            return

        def step(side: Side) -> Op[Any]:
            first, second = sorted((group, beside))
            seized = (yield from side.store.seize(first)), (yield from side.store.seize(second))
            yield from side.store.swap(group, beside)
            if undone:
                raise Broken
            return seized, (yield from side.store.places(group)), (yield from side.store.places(beside))

        self.both(step, awaited=awaited)

    @rule(limit=limits)
    def sweep_views(self, limit: int) -> None:
        """To the end, a few at a time: which ones go first is nobody's business."""

        def step(side: Side) -> Op[Any]:
            swept = [(yield from side.store.sweep_views(limit))]
            while swept[-1] == limit:
                swept.append((yield from side.store.sweep_views(limit)))
            return swept

        self.both(step)
