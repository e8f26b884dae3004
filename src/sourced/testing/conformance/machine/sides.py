"""The two stores side by side, and their answers without what may rightly differ."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from msgspec.structs import replace

from sourced.codec import Record
from sourced.errors import Conflict, Duplicate, Fenced
from sourced.ops import Op
from sourced.store import Claim, Group, Lease, Pending, Place, Progress, Store, Straggler, ViewRow
from sourced.testing.conformance.bench import Broken


@dataclass
class Held:
    """A claim that somebody holds, and what it has been shown of its shards."""

    claim: Claim
    pending: Pending | None = None


@dataclass
class Side:
    """One of the two stores. Positions may have gaps, so they are compared by how many messages come up to them."""

    store: Store
    log: list[int] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    revisions: dict[tuple[str, str], int] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)  # those that groups were given that were built beside another

    def rank(self, position: int) -> int:
        return bisect_right(self.log, position)

    def position(self, rank: int) -> int:
        return self.log[rank - 1] if rank else 0

    def epoch(self, group: Group) -> int:
        """Counted from the one it was given, which differs whenever it is built anew."""
        first = self.epochs.get(group.name, 0)
        return group.epoch - first if group.epoch >= first else group.epoch

    def plain(self, found: Any) -> Any:
        """An answer, without what the two may rightly differ in: positions and tokens."""
        rank, plain = self.rank, self.plain
        match found:
            case Record():
                return replace(found, position=rank(found.position))
            case Conflict():
                return "conflict", found.stream, found.expected, found.actual
            case Duplicate():
                return "duplicate", found.ids, plain(found.records)
            case Fenced():
                return "fenced", found.group
            case Broken():
                return "broken"
            case Group():
                return replace(found, start=rank(found.start), reset_at=rank(found.reset_at), epoch=self.epoch(found))
            case Progress():
                return replace(found, checkpoint=rank(found.checkpoint), high=rank(found.high))
            case Place():
                return Place(rank(found.checkpoint), rank(found.high))
            case Lease():
                return replace(found, token=0, checkpoint=rank(found.checkpoint), high=rank(found.high))
            case Straggler():
                return replace(found, live_after=rank(found.live_after))
            case Claim():
                due = sorted(found.due, key=lambda each: each.stream)
                return plain(found.group), plain(sorted(found.leases, key=lambda each: each.shard)), plain(due)
            case Pending():
                by_shard = sorted((shard, rank(upto)) for shard, upto in found.scanned.items())
                return plain(sorted(found.records, key=lambda each: each.position)), by_shard
            case ViewRow():
                return replace(found, revision=0)
            case dict():
                return {key: plain(value) for key, value in found.items()}
            case list() | tuple():
                return [plain(each) for each in found]
        return found


Step: TypeAlias = Callable[[Side], Op[Any]]
