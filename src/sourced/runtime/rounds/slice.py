"""One stream's share of a round: what was delivered, how far it got, and what shall become of it."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from sourced.actions import Park, RetryAt, Verdict
from sourced.reactor import Delivery, Memo
from sourced.runtime.rounds.effects import Effects
from sourced.store import Lease, Straggler
from sourced.traces import spelled_out, trace_of


class Slice:
    """Handled message by message, in order."""

    __slots__ = (
        "cut", "deferred", "deliveries", "done", "effects", "error", "group", "held", "lease", "limit", "memo", "now",
        "paused", "straggler", "stream", "unreadable", "verdict",
    )  # fmt: skip

    def __init__(
        self, group: str, lease: Lease, memo: Memo, now: datetime, limit: int, straggler: Straggler | None = None
    ) -> None:
        self.group = group
        self.lease = lease
        self.stream = memo.stream
        self.memo = memo
        self.now = now
        self.limit = limit  # as many messages were asked for
        self.straggler = straggler  # what it was before this round, if it waited for itself
        self.deliveries: list[Delivery] = []
        self.unreadable: Exception | None = None  # why the last of them could not be decoded
        self.done = 0  # how many of them have been handled
        self.effects = Effects(memo)
        self.verdict: Verdict | None = None  # what shall happen to the one that could not be handled
        self.error: BaseException | None = None
        self.deferred: Straggler | None = None  # to be handled anew, with nothing held against it
        self.cut = False  # the rest of it is for another round
        self.held: Straggler | None = None  # the round goes on without it: what it is until it is through
        self.paused = False  # it goes on once what its next message goes into is brought back

    @property
    def finished(self) -> bool:
        through = self.done == len(self.deliveries) or self.verdict is not None or self.cut or self.deferred is not None
        return through and not (self.memo.tainted and self.done)

    @property
    def attempts(self) -> int:
        """How often the message at hand has been tried, this time included."""
        return max(1, self.straggler.attempts) if self.straggler and self.done == 0 else 1

    @property
    def settled(self) -> bool:
        """Something of it will be stored."""
        return self.done > 0 and self.deferred is None and self.held is None

    def rest(self) -> list[Delivery]:
        return [] if self.verdict or self.cut or self.deferred else self.deliveries[self.done :]

    def drop(self, before: tuple[int, int]) -> None:
        """Nothing of the message at hand stays in the batch."""
        self.memo.back_to(before, self.deliveries[self.done].message)

    def undo(self) -> None:
        """Nothing of it will be stored."""
        self.done, self.effects, self.memo.tainted = 0, Effects(self.memo), True

    def afresh(self) -> None:
        """As if nothing of it had been handled yet."""
        self.undo()
        self.memo.restart()
        self.verdict = self.error = None
        self.cut = False

    # -- what it leaves behind ---------------------------------------------------------------------------------------

    def left_behind(self, scanned: float) -> Straggler | None:
        """The straggler it leaves, if its stream does not go on with its shard, looked through to `scanned`."""
        if self.held or self.deferred:
            return self.held or self.deferred
        if self.verdict:
            return self._failed(self.verdict)
        acked, last = self.effects.acked, self.deliveries[-1].message.seq if self.deliveries else 0
        known = self.straggler
        if self.cut:
            return self._cut_off(known)
        lags = known is not None and (
            len(self.deliveries) >= self.limit or scanned < max(self.lease.high, known.live_after)
        )
        if known and lags and not self.deliveries:  # asked for and not found: nobody is left to blame
            return replace(known, attempts=known.attempts - 1, error="" if self.limit else known.error)
        if lags or acked > last:
            row = self.as_straggler()
            hunted = known.error if known and known.attempts == 1 else ""  # the one to blame has not been found yet
            live_after = max(row.live_after, self.effects.acked_at)
            return replace(row, from_seq=max(last, acked) + 1, live_after=live_after, error=hunted)
        return None

    def _cut_off(self, known: Straggler | None) -> Straggler:
        if known and not self.done:
            return replace(known, attempts=known.attempts - 1)  # the attempt was not made
        row = self.as_straggler(self.done)
        live_after = max(row.live_after, self.effects.acked_at)
        return replace(row, from_seq=max(row.from_seq, self.effects.acked + 1), live_after=live_after)

    def _failed(self, verdict: Verdict) -> Straggler:
        trace = spelled_out(trace_of(self.error)) if self.error else ""
        row = replace(
            self.as_straggler(self.done), attempts=self.attempts, error=described(self.error), traceback=trace
        )
        if isinstance(verdict, RetryAt):
            return replace(row, retry_at=verdict.at)
        return replace(row, parked=isinstance(verdict, Park), reason=verdict.reason)

    def as_straggler(self, index: int = 0) -> Straggler:
        """Its stream as a straggler from one of its messages on, with nothing held against it."""
        known, message = self.straggler, self.deliveries[index].message if self.deliveries else None
        return Straggler(
            self.group,
            self.stream,
            from_seq=message.seq if message else known.from_seq if known else 1,
            live_after=known.live_after if known else self.lease.high,
            message_id=message.id if message else "",
            since=known.since if known and known.since else self.now,
        )


def described(error: BaseException | None) -> str:
    return spelled_out(f"{type(error).__name__}: {error}") if error else ""
