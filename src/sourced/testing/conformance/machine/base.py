"""A store and the memory store, and how the same is asked of both."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine
from msgspec.structs import replace

from sourced.codec import Record
from sourced.errors import Fenced
from sourced.store import Entry, Range, Scheduled, Store, shard_of
from sourced.stores.memory import MemoryStore
from sourced.testing.conformance.bench import Broken, at, record
from sourced.testing.conformance.machine.drawn import Wish
from sourced.testing.conformance.machine.sides import Side, Step


class Base(RuleBasedStateMachine):
    """What every kind of step builds on: two stores, and the same asked of both."""

    def make(self) -> Store:
        """A new, empty store, of four shards if it lets one choose."""
        raise NotImplementedError(f"{type(self).__name__}: expected make(self) to return a new, empty store")

    def reopened(self, store: Store) -> Store:
        """The same store as a new process would find it."""
        return store

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        store = self.make()
        self.tested, self.reference = Side(store), Side(MemoryStore(store.shards))
        self.now = 0
        self.ids: list[str] = []

    def teardown(self) -> None:
        self.tested.store.close()
        self.runner.close()

    # -- carrying out

    def both(self, step: Step, *, awaited: bool = False, reading: bool = False) -> tuple[Any, Any]:
        """The same on both sides; their answers, which have to be the same."""
        expected = self.outcome(self.reference, step, awaited=False, reading=reading)
        found = self.outcome(self.tested, step, awaited=awaited, reading=reading)
        for side in (self.reference, self.tested):
            side.log = [each.position for each in side.store.transact(side.store.read_all(), reading=True)]
        assert self.tested.plain(found) == self.reference.plain(expected)
        return found, expected

    def outcome(self, side: Side, step: Step, *, awaited: bool, reading: bool) -> Any:
        try:
            if awaited:
                return self.runner.run(side.store.transact_async(step(side), reading=reading))
            return side.store.transact(step(side), reading=reading)
        except (Fenced, Broken) as error:
            return error

    def head(self, stream: str) -> int:
        (records,) = self.reference.store.transact(self.reference.store.histories([Range(stream)]))
        return len(records)

    def shard(self, stream: str) -> int:

        return shard_of(stream, self.tested.store.shards)

    # -- what several kinds of steps need

    def entries(self, wished: Sequence[Wish]) -> list[Entry]:
        entries = []
        for wish in wished:
            records = [self.record(wish.stream, kind, wish) for kind in wish.types]
            if wish.again is not None and self.ids and records:
                known = self.ids[wish.again % len(self.ids)]
                if known not in [each.id for each in records]:
                    place = wish.again % len(records)
                    records[place] = replace(records[place], id=known)
            expected = None if wish.off is None else max(0, self.head(wish.stream) + wish.off)
            entries.append(Entry(wish.stream, tuple(records), expected, wish.heeds))
        return entries

    def record(self, stream: str, kind: str, wish: Wish) -> Record:
        self.ids.append(f"m-{len(self.ids)}")
        story = self.ids[len(self.ids) // 3]
        return record(
            stream, id=self.ids[-1], type=kind, payload=f'{{"n":{len(self.ids)}}}', causation_id=story,
            correlation_id=story, created_at=at(wish.created), settled_by=wish.settled_by,
        )  # fmt: skip

    def registered(self) -> list[str]:
        return [each.name for each in self.reference.store.transact(self.reference.store.groups())]

    def known(self, group: str) -> bool:
        return group in self.registered()

    def scheduled(self, wish: Wish, due: int, readable: bool) -> list[Scheduled]:
        return [
            Scheduled(replace(each, metadata="{}" if readable else "{"), at(self.now + due))
            for entry in self.entries([wish])
            for each in entry.records
        ]
