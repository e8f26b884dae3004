"""A store whose snapshots are kept in another one, of whatever kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sourced.ops import Call, Op
from sourced.snapshots import Snapshot
from sourced.store import Store


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

    def migrate(self) -> list[str]:
        return [*self.store.migrate(), *self.other.migrate()]

    async def migrate_async(self) -> list[str]:
        return [*await self.store.migrate_async(), *await self.other.migrate_async()]

    def close(self) -> None:
        self.other.close()
        self.store.close()
