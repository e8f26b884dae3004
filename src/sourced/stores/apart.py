"""A store whose snapshots are kept in another one, of whatever kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sourced.ops import Call, Op
from sourced.snapshots import Snapshot
from sourced.store import Store, Symptom


class SnapshotsApart:
    """Everything is asked of the first store but snapshots, which are a short cut and belong to no transaction.

    The other one is asked in a transaction of its own, in the midst of the first one's, and is waited for.
    """

    def __init__(self, store: Store, snapshots: Store) -> None:
        self.store = store
        self.other = snapshots

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def __repr__(self) -> str:
        return f"{self.store!r} with snapshots in {self.other!r}"

    def snapshots(self, group: str, streams: Sequence[str]) -> Op[dict[str, Snapshot]]:
        return (yield Call(lambda tx: self.other.transact(self.other.snapshots(group, streams), reading=True)))

    def save_snapshot(self, snapshot: Snapshot, keep: int = 1) -> Op[None]:
        yield Call(lambda tx: self.other.transact(self.other.save_snapshot(snapshot, keep)))

    def symptoms(self, now: Callable[[], datetime]) -> Op[list[Symptom]]:
        found = yield from self.store.symptoms(now)
        return [*found, *(yield Call(lambda tx: self._others(now)))]

    def _others(self, now: Callable[[], datetime]) -> list[Symptom]:
        try:
            return self.other.transact(self._asked(now), reading=True)
        except Exception as error:  # of a driver, or of a store of somebody else's
            why = f"{self.other!r} cannot be asked, so every stream is read from its beginning: {error}"
            return [Symptom("snapshots", why, "see to that store; nothing is lost meanwhile", trouble=True)]

    def _asked(self, now: Callable[[], datetime]) -> Op[list[Symptom]]:
        yield from self.other.snapshots("", [""])
        return (yield from self.other.symptoms(now))

    def migrate(self) -> list[str]:
        return [*self.store.migrate(), *self.other.migrate()]

    async def migrate_async(self) -> list[str]:
        return [*await self.store.migrate_async(), *await self.other.migrate_async()]

    def close(self) -> None:
        self.other.close()
        self.store.close()
