"""Rows of projectors."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sourced.ops import Op
from sourced.store import Equal, ViewRow
from sourced.testing.conformance.bench import at
from sourced.testing.conformance.machine.base import Base
from sourced.testing.conformance.machine.drawn import BODIES, KEYS, groups
from sourced.testing.conformance.machine.sides import Side
from sourced.view import NOTHING


class Views(Base):
    @rule(
        group=groups, seen=st.integers(0, 9),
        rows=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(BODIES), min_size=1),
    )  # fmt: skip
    def save_views(self, group: str, rows: dict[str, str | None], seen: int) -> None:
        if self.known(group):
            written = [ViewRow(key, body, 0, seen, at(self.now)) for key, body in rows.items()]
            self.both(lambda side: side.store.save_views(group, written))

    @rule(group=groups, keys=st.frozensets(st.sampled_from(KEYS)), awaited=st.booleans())
    def views(self, group: str, keys: frozenset[str], awaited: bool) -> None:
        self.both(lambda side: looked_up(side, group, keys), reading=True, awaited=awaited)

    @rule(
        group=groups, keys=st.frozensets(st.sampled_from(KEYS), min_size=1), body=st.sampled_from(BODIES),
        awaited=st.booleans(),
    )  # fmt: skip
    def hold_views(self, group: str, keys: frozenset[str], body: str | None, awaited: bool) -> None:
        """As a round does: what nobody has written to since it was looked up is written, the rest looked up again."""
        now = at(self.now)

        def step(side: Side) -> Op[Any]:
            revisions = {key: side.revisions.get((group, key), 0) for key in keys}
            stale = sorted((yield from side.store.hold_views(group, revisions)))
            written = [ViewRow(key, body, 0, 1, now) for key in sorted(keys - {*stale})]
            yield from side.store.save_views(group, written)
            return stale, (yield from looked_up(side, group, keys))

        if self.known(group):
            self.both(step, awaited=awaited)

    @rule(
        group=groups, after=st.sampled_from(["", *KEYS]), limit=st.none() | st.integers(0, 3),
        value=st.sampled_from([1, "1", None, True]), missing=st.booleans(),
    )  # fmt: skip
    def page_views(self, group: str, after: str, limit: int | None, value: Any, missing: bool) -> None:
        equal = [Equal("x", value, or_missing=missing)]

        def step(side: Side) -> Op[Any]:
            page = yield from side.store.page_views(group, after=after, limit=limit, equal=equal)
            return page, (yield from side.store.count_views(group, equal))

        self.both(step, reading=True)

    @rule(group=groups)
    def drop_views(self, group: str) -> None:
        def step(side: Side) -> Op[None]:
            yield from side.store.drop_views(group)

        if self.known(group):
            self.both(step)


def looked_up(side: Side, group: str, keys: frozenset[str]) -> Op[Any]:
    """Rows and, for the next time somebody holds them, their revisions."""
    found = yield from side.store.views(group, keys)
    side.revisions |= {(group, key): found[key].revision if key in found else 0 for key in keys}
    return {key: row for key, row in found.items() if row.body != NOTHING}
