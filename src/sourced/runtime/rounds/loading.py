"""The second step of a round: what it has claimed becomes slices, one for each stream."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from sourced.actions import RetryAt
from sourced.codec import Record
from sourced.ops import Op
from sourced.reactor import Delivery
from sourced.runtime.rounds.in_hand import InHand
from sourced.runtime.rounds.slice import Slice, described
from sourced.store import Claim, Lease, Pending, Straggler


class Died(Exception):
    """The process handling a message went away in the middle of it: killed, or paused beyond its lease."""

    def __init__(self) -> None:
        super().__init__("the attempt was never concluded: its process was killed, or paused for longer than its lease")


class Loading(InHand):
    """What is pending, and what is due again."""

    def load(self, claim: Claim) -> Op[list[Slice]]:
        """What is pending and what is due again, as slices."""
        leases = {lease.shard: lease for lease in claim.leases}
        if self.rows and self.rows.keyed and any(s.suspected for s in claim.due):
            return (yield from self.load_suspect(claim, leases))
        pending = yield from self.pending(claim)
        self.scanned = dict(pending.scanned)
        self.ended = {each.shard for each in claim.leases if self.scanned[each.shard] <= each.checkpoint}
        if any(lease.careful for lease in claim.leases):
            return (yield from self.load_one(claim, pending, leases))
        slices = yield from self.load_pending(claim, pending.records, leases)
        slices += yield from self.load_stragglers(claim, [s for s in claim.due if s.suspected], leases, limit=1)
        due = [s for s in claim.due if not s.suspected]
        slices += yield from self.load_stragglers(claim, due, leases, limit=max(1, self.limit // max(1, len(due))))
        return slices

    def pending(self, claim: Claim) -> Op[Pending]:
        return self.store.pending(self.reactor.group, claim.leases, self.types, self.limit)

    def load_one(self, claim: Claim, pending: Pending, leases: dict[int, Lease]) -> Op[list[Slice]]:
        """After a crash, one message: the straggler's if it is older than what is next in the shard, else that."""
        looked = self.scanned
        self.scanned = looked | {self.shard(record.stream): record.position - 1 for record in pending.records}
        stragglers = yield from self.load_stragglers(claim, claim.due, leases, limit=1)
        if any(one.deliveries for one in stragglers):
            return stragglers
        self.scanned = looked
        for one in stragglers:
            one.limit = 0  # it goes on waiting, its shard goes on without it
        return [*stragglers, *(yield from self.load_pending(claim, pending.records, leases))]

    def load_suspect(self, claim: Claim, leases: dict[int, Lease]) -> Op[list[Slice]]:
        """Whose messages went into one row failed together, so each is tried with nobody beside it."""
        self.scanned = {lease.shard: lease.checkpoint for lease in claim.leases}
        suspect = next(s for s in claim.due if s.suspected)
        others = yield from self.load_stragglers(claim, [s for s in claim.due if s is not suspect], leases, limit=0)
        return [*(yield from self.load_stragglers(claim, [suspect], leases, limit=1)), *others]

    def load_pending(self, claim: Claim, records: Sequence[Record], leases: dict[int, Lease]) -> Op[list[Slice]]:
        slices: dict[str, Slice] = {}
        for record in records:
            one = slices.get(record.stream)
            if one is None:
                one = slices[record.stream] = self.slice(leases, record.stream, self.limit + 1)
            self.deliver(one, record, one.lease.high)
        for one in slices.values():
            if one.lease.careful:  # a round died here: the attempt is written down before it is made
                one.straggler = replace(one.as_straggler(), attempts=1)
        yield from self.count(claim, [one.straggler for one in slices.values() if one.straggler])
        return list(slices.values())

    def count(self, claim: Claim, alone: list[Straggler]) -> Op[None]:
        """Writes down that a message of each is tried, by itself; so whoever finds it like that knows whom to blame."""
        self.counted += alone
        if alone:
            yield from self.store.fence(claim)  # a paused round must not bring back what somebody else has settled
            yield from self.store.straggle([replace(each, running=True, error=described(Died())) for each in alone])

    def load_stragglers(
        self, claim: Claim, due: Sequence[Straggler], leases: dict[int, Lease], limit: int
    ) -> Op[list[Slice]]:
        slices: list[Slice] = []
        hunted: list[Straggler] = []
        found = (yield from self.store.straggling(due, self.types, self.scanned, limit)) if due else []
        for straggler, records in zip(due, found, strict=True):
            one = self.slice(leases, straggler.stream, limit, straggler)
            slices.append(one)
            for record in records:
                self.deliver(one, record, straggler.live_after)
            if straggler.running and one.deliveries and not self.raise_errors:  # who asks for errors wants to see it
                if straggler.error or straggler.attempts > 2 or not one.lease.careful:
                    self.judge_the_dead(one, straggler)
                else:  # many were in hand: each is tried by itself until the one to blame is found
                    one.straggler = replace(straggler, attempts=1, running=False, error=described(Died()))
                    hunted.append(one.straggler)
        yield from self.count(claim, hunted)
        return slices

    def slice(self, leases: dict[int, Lease], stream: str, limit: int, straggler: Straggler | None = None) -> Slice:
        memo = self.engine.memos.take(self.reactor, stream)
        memo.background, memo.trusting = self.background, straggler is None
        if self.rows:
            self.rows.lend(memo)
        return Slice(self.reactor.group, leases[self.shard(stream)], memo, self.now, limit, straggler)

    def deliver(self, one: Slice, record: Record, handled_before: int) -> None:
        if one.unreadable:
            return  # what follows it waits behind it
        try:
            message = self.engine.codec.decode(record)
        except Exception as error:
            one.unreadable = error
            message = self.engine.codec.undecoded(record)
        replaying = record.position <= handled_before or self.reactor.group in record.settled_by
        one.deliveries.append(Delivery(message, replaying, self.now, one.memo))

    def judge_the_dead(self, one: Slice, straggler: Straggler) -> None:
        """The attempt before this one was begun and never concluded: the policy says whether there is another."""
        one.straggler = replace(straggler, attempts=straggler.attempts - 1)
        self.failed(one, Died())
        if isinstance(one.verdict, RetryAt) and one.verdict.at <= self.now:
            one.straggler, one.verdict, one.error = straggler, None, None
