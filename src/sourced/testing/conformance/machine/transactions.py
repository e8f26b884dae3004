"""Several operations in one transaction, some behind savepoints, some of which fail."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sourced.ops import Op, savepoint
from sourced.store import Snapshot
from sourced.testing.conformance.bench import Broken, at
from sourced.testing.conformance.machine.drawn import GROUPS, Wish, wishes
from sourced.testing.conformance.machine.groups import Groups
from sourced.testing.conformance.machine.schedule import Schedule
from sourced.testing.conformance.machine.sides import Side, Step


class Transactions(Groups, Schedule):
    @rule(
        parts=st.lists(
            st.tuples(
                wishes, st.sampled_from(["append", "append", "schedule", "promote", "register", "reset", "snapshot"]),
                st.sampled_from(["plain", "plain", "savepoint", "undone", "undone within"]),
            ),
            min_size=1, max_size=6,
        ),
        ending=st.sampled_from(["commit", "commit", "raise"]), awaited=st.booleans(),
    )  # fmt: skip
    def transaction(self, parts: list[tuple[Wish, str, str]], ending: str, awaited: bool) -> None:
        """Several operations in one, some of them behind savepoints, some of which fail, as may the whole."""
        steps = [(self.part(wish, what), how) for wish, what, how in parts]

        def step(side: Side) -> Op[Any]:
            answers = []
            for part, how in steps:
                answers.append((yield from guarded(part, side, how)))
            answers.append((yield from side.store.extent())[0])
            if ending == "raise":
                raise Broken
            return answers

        self.both(step, awaited=awaited)

    def part(self, wish: Wish, what: str) -> Step:
        if what == "append":
            entries = self.entries([wish, wish])
            return lambda side: side.store.append(entries)
        if what == "schedule":
            rows = self.scheduled(wish, 0, readable=True)
            return lambda side: side.store.schedule(rows)
        if what == "promote":
            now = at(self.now)
            return lambda side: side.store.promote(now, 3)
        if what == "snapshot":
            return lambda side: side.store.save_snapshot(Snapshot("g", wish.stream, 1, "{}", "f"))
        group = GROUPS[len(wish.types) % 2]
        if what == "reset" and self.known(group):
            return self.changing(group, "reset")
        return self.registering(group, "now")

    @rule()
    def reopen(self) -> None:
        self.tested.store = self.reopened(self.tested.store)


def guarded(part: Step, side: Side, how: str) -> Op[Any]:
    if how == "plain":
        return (yield from part(side))
    if how == "savepoint":
        return (yield from savepoint(part(side)))
    try:
        yield from savepoint(failing(part, side, how == "undone within"))
    except Broken:
        return "undone"
    raise AssertionError("unreachable: it raises")


def failing(part: Step, side: Side, nested: bool) -> Op[None]:
    yield from (savepoint(part(side)) if nested else part(side))
    raise Broken
