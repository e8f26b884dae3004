"""One stream's share of a round: what was delivered, how far it got, and what shall become of it."""

from __future__ import annotations

from sourced.actions import Verdict
from sourced.reactor import Delivery, Memo
from sourced.runtime.effects import Effects
from sourced.store import Lease, Straggler


class Slice:
    """Handled message by message, in order."""

    def __init__(self, lease: Lease, stream: str, memo: Memo, limit: int, straggler: Straggler | None = None) -> None:
        self.lease = lease
        self.stream = stream
        self.memo = memo
        self.limit = limit
        self.straggler = straggler
        self.deliveries: list[Delivery] = []
        self.unreadable: Exception | None = None  # why the last of them could not be decoded
        self.done = 0  # how many of them have been handled
        self.effects = Effects()
        self.verdict: Verdict | None = None  # what shall happen to the one that could not be handled
        self.error: BaseException | None = None
        self.deferred: Straggler | None = None  # to be handled anew, with nothing held against it

    @property
    def finished(self) -> bool:
        through = self.done == len(self.deliveries) or self.verdict is not None
        return through and not (self.memo.tainted and self.done)

    @property
    def attempts(self) -> int:
        """How often the message at hand has been tried, this time included."""
        return self.straggler.attempts if self.straggler and self.done == 0 else 1

    @property
    def settled(self) -> list[Delivery]:
        return [] if self.deferred else self.deliveries[: self.done]

    def rest(self) -> list[Delivery]:
        return [] if self.verdict else self.deliveries[self.done :]

    def drop(self, before: tuple[int, int]) -> None:
        """Nothing of the message at hand stays in the batch; what it did to the state is not known."""
        self.memo.batch.back_to(before)
        self.memo.tainted = True

    def undo(self) -> None:
        """Nothing of it will be stored."""
        self.done, self.effects, self.memo.tainted = 0, Effects(), True
