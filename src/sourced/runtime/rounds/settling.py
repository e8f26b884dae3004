"""The last step of a round: everything it has to say, in one transaction."""

from __future__ import annotations

import math
from datetime import timedelta

from msgspec.structs import replace

from sourced.actions import Stop
from sourced.errors import Behind, Conflict, ConnectionLost, Deadlocked, Fenced, NeedsAwait
from sourced.ops import Op, savepoint
from sourced.runtime.rounds.carrying_out import append_and_sync, append_together, send
from sourced.runtime.rounds.in_hand import InHand
from sourced.runtime.rounds.rows import Bundle, kept_of
from sourced.runtime.rounds.slice import Slice, described
from sourced.store import Claim, Move

_OUR_OWN = (ConnectionLost, Fenced, Behind)  # what ends a settlement as a whole, and is no stream's fault
A_WHILE = timedelta(seconds=1)


class OutOfTurn(Exception):
    """What a settlement began with was not all that it came to: from the beginning, now that it is known."""


class Settling(InHand):
    """All or nothing, behind the fence of the claim."""

    def settlement(self, claim: Claim, slices: list[Slice], bundles: list[Bundle]) -> Op[None]:
        """Everything the round has to say, in one transaction that the fence guards."""
        group = self.reactor.group
        yield from self.store.fence(claim)
        yield from self.in_turn(slices, bundles)
        straggling = [row for one in slices if (row := one.left_behind(self.through(one.lease.shard)))]
        if straggling:
            yield from self.store.straggle(straggling)
        self.again = min((row.retry_at for row in straggling if row.retry_at and not row.holder), default=None)
        still = {row.stream for row in straggling}
        caught_up = [one.stream for one in slices if one.straggler and one.stream not in still]
        if caught_up:
            yield from self.store.catch_up(group, caught_up)
        yield from self.store.settle(group, self.moves(claim, slices), release=True)

    def in_turn(self, slices: list[Slice], bundles: list[Bundle]) -> Op[None]:
        """The schedule, places in the log, the group if it is to be stopped, rows: everybody takes them in this order,
        so that no two wait for each other."""
        settled = [bundle for bundle in bundles if bundle.settled]
        cancelling = [one for bundle in settled for one in bundle.slices if one.effects.unscheduled]
        if cancelling:
            yield from self.store.cancel([id for one in cancelling for id in one.effects.unscheduled])
        if streams := self.to_reserve(settled):
            yield from self.store.reserve(streams)
        stopping = [(one, one.verdict) for one in slices if isinstance(one.verdict, Stop)]
        for one, verdict in stopping:
            yield from self.store.stop(self.reactor.group, verdict.reason, described(one.error), at=self.now)
        yield from self.held()
        yield from self.carry_out(settled)
        stopped = sum(isinstance(one.verdict, Stop) for one in slices)
        if stopped != len(stopping) or not all(one.settled for one in cancelling):
            raise OutOfTurn

    def held(self) -> Op[None]:
        """What else has to be held for as long as effects are carried out."""
        yield from ()

    def through(self, shard: int) -> float:
        """Up to where there is nothing left that its stragglers have not seen."""
        return math.inf if shard in self.ended else self.scanned[shard]

    def carry_out(self, bundles: list[Bundle]) -> Op[None]:
        slices = [one for bundle in bundles for one in bundle.slices]
        if self.rows:
            yield from self.rows.hold(bundles)
        together = {one.effects: bundle for bundle in bundles if bundle.simple for one in bundle.slices}
        refused = yield from append_together(self.store, together)
        for effects, refusal in refused.items():
            self.unsettled(together[effects], refusal)
        for bundle in (yield from self.together([bundle for bundle in bundles if not bundle.simple])):
            try:
                yield from savepoint(append_and_sync(self.engine, [one.effects for one in bundle.slices]))
            except Exception as error:
                if self.ends_all(error):
                    raise
                self.unsettled(bundle, error)
        yield from send(self.engine, [one.effects for one in slices if one.settled])
        if kept := kept_of(bundles):
            yield from self.store.save_views(self.reactor.group, kept)

    def to_reserve(self, bundles: list[Bundle]) -> set[str]:
        """Where several statements append, or rows are held as well: places in the log come before rows."""
        many = [one.effects for bundle in bundles for one in bundle.slices]
        appends = {entry.stream for effects in many for entry in effects.entries}
        sends = {record.stream for effects in many for record in effects.sent}
        several = appends and (sends or not all(bundle.simple for bundle in bundles))
        keyed = self.rows is not None and self.rows.keyed
        return appends | sends if several or keyed or any(effects.inline for effects in many) else set()

    def together(self, bundles: list[Bundle]) -> Op[list[Bundle]]:
        """Hardly ever does any of them fail: they share a savepoint, and only when one does, each gets its own."""
        if len(bundles) < 2:
            return bundles
        try:
            yield from savepoint(append_and_sync(self.engine, [one.effects for each in bundles for one in each.slices]))
        except Exception as error:
            if self.ends_all(error):
                raise
            return bundles
        return []

    def ends_all(self, error: Exception) -> bool:
        """It says nothing about what was to be stored, unless it says so again and again."""
        return isinstance(error, _OUR_OWN) or (isinstance(error, Deadlocked) and not self.blaming)

    def unsettled(self, bundle: Bundle, error: Exception) -> None:
        """What was asked for could not be stored.

        When somebody else wrote to the stream meanwhile, it is handled anew in the next round, with fresh history, a
        few times. After anything else nobody knows which message is to blame, so each is tried alone first.
        """
        for one in bundle.slices:
            tried = one.straggler.attempts if one.straggler else 1
            overtaken = self.engine.tries - 1 if isinstance(error, Conflict) else 0
            if tried <= overtaken:
                one.deferred = replace(one.as_straggler(), attempts=tried)
            elif self.raise_errors or isinstance(error, NeedsAwait):
                raise error
            elif one.done > 1 or len(bundle.slices) > 1:
                one.deferred = replace(one.as_straggler(), error=described(error))
            else:
                one.undo()
                self.failed(one, error, overtaken=overtaken)

    def put_behind(self, behind: Behind, bundles: list[Bundle]) -> None:
        """What cannot be stored before a projector has caught up waits for a while, and nobody is to blame."""
        for bundle in bundles:
            records = (record for one in bundle.slices for record in one.effects.records())
            if bundle.settled and any(record.stream in behind.streams for record in records):
                if self.raise_errors:
                    raise behind
                for one in bundle.slices:
                    later = self.engine.clock.now() + A_WHILE
                    one.deferred = replace(one.as_straggler(), retry_at=later, error=described(behind))

    def moves(self, claim: Claim, slices: list[Slice]) -> list[Move]:
        """Where the round leaves every shard it had leased."""
        high: dict[int, int] = {}
        touched = {one.lease.shard for one in slices if one.deliveries}
        for one in slices:
            if one.settled:
                last = one.deliveries[one.done - 1].message.position
                high[one.lease.shard] = max(high.get(one.lease.shard, 0), last)
            if one.straggler:  # what a latecomer handled is known by this alone
                known = min(one.straggler.live_after, self.scanned[one.lease.shard])
                high[one.lease.shard] = max(high.get(one.lease.shard, 0), known)
        return [
            Move(
                lease.shard,
                self.scanned[lease.shard],
                high.get(lease.shard, 0),
                careful=lease.careful - 1 if lease.careful and lease.shard in touched else 0,
            )
            for lease in claim.leases
        ]
