"""One round: claim what there is to do, load what is needed for it, handle it, settle it all in one transaction.

Read `Round.program` first; every step below it has a name. Nothing outside a round moves a checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import traceback
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from sourced.actions import Failure, Park, RetryAt, Stop
from sourced.codec import Record
from sourced.errors import Conflict, Fenced, NeedsAwait
from sourced.ops import Call, Op, savepoint
from sourced.policy import judge
from sourced.reactor import Delivery, Reactor
from sourced.runtime.effects import carry_out, carry_out_together
from sourced.runtime.engine import Engine, committed, log
from sourced.runtime.programs import Afterwards, Invoke, Program, Transact, Work
from sourced.runtime.slice import Slice
from sourced.store import Claim, Lease, Move, Range, Straggler, shard_of


class Died(Exception):
    """The process handling a message went away in the middle of it: killed, or paused beyond its lease."""


class Round:
    """One reactor's next round; see `program`."""

    def __init__(self, engine: Engine, reactor: Reactor, owner: str, *, raise_errors: bool = False) -> None:
        self.engine = engine
        self.store = engine.store
        self.reactor = reactor
        self.owner = owner
        self.raise_errors = raise_errors
        self.now: datetime = engine.clock.now()
        self.limit = reactor.batch_size or engine.batch
        self.types = engine.types(reactor)
        self.scanned: dict[int, int] = {}  # shard → how far it has been looked through

    def program(self) -> Program[int]:
        """How many messages were dealt with; 0 when there is nothing to do for this group now."""
        claim: Claim = yield Transact(self.claim())
        if not claim.leases:
            return 0
        try:
            slices: list[Slice] = yield Transact(self.load(claim))
            yield from self.handle(slices)
            yield from self.settle(claim, slices)
        except Fenced as fenced:
            log.info("%s", fenced)
            return 1  # nothing was changed; whoever holds the lease now goes on
        except (Exception, KeyboardInterrupt, asyncio.CancelledError):
            yield Transact(self.store.release(claim))
            raise
        return sum(len(one.deliveries) for one in slices)

    # -- claim -------------------------------------------------------------------------------------------------------

    def claim(self) -> Op[Claim]:
        until = self.now + self.engine.lease
        return self.store.claim(self.reactor.group, self.owner, now=self.now, until=until, limit=self.limit)

    # -- load --------------------------------------------------------------------------------------------------------

    def load(self, claim: Claim) -> Op[list[Slice]]:
        """What is pending and what is due again, as slices."""
        leases = {lease.shard: lease for lease in claim.leases}
        pending = yield from self.load_pending(claim, leases)
        stragglers = yield from self.load_stragglers(claim, leases)
        return pending + stragglers

    def load_pending(self, claim: Claim, leases: dict[int, Lease]) -> Op[list[Slice]]:
        busy = {self.shard(s.stream) for s in claim.due if leases[self.shard(s.stream)].careful}  # one thing at a time
        looking = [lease for lease in claim.leases if lease.shard not in busy]
        pending = yield from self.store.pending(self.reactor.group, looking, self.types, self.limit)
        self.scanned = {lease.shard: lease.checkpoint for lease in claim.leases} | pending.scanned
        slices: dict[str, Slice] = {}
        for record in pending.records:
            one = slices.get(record.stream)
            if one is None:
                one = slices[record.stream] = self.slice(leases, record.stream, self.limit + 1)
            self.deliver(one, record, one.lease.high)
        for one in slices.values():
            if one.lease.careful:  # a round died here: the attempt is written down before it is made
                one.straggler = replace(self.straggler(one, 0), attempts=1, running=True)
        suspects = [one.straggler for one in slices.values() if one.straggler]
        if suspects:
            yield from self.store.straggle(suspects)
        return list(slices.values())

    def load_stragglers(self, claim: Claim, leases: dict[int, Lease]) -> Op[list[Slice]]:
        slices: list[Slice] = []
        # what has failed before goes one message at a time, so that the right one is blamed
        for alone in (True, False):
            due = [s for s in claim.due if (s.attempts > 1 or leases[self.shard(s.stream)].careful > 0) is alone]
            limit = 1 if alone else self.limit
            found = (yield from self.store.straggling(due, self.types, self.scanned, limit)) if due else []
            for straggler, records in zip(due, found, strict=True):
                one = self.slice(leases, straggler.stream, limit, straggler)
                slices.append(one)
                for record in records:
                    self.deliver(one, record, straggler.live_after)
                if straggler.running and one.deliveries:
                    self.judge_the_dead(one, straggler)
        return slices

    def slice(self, leases: dict[int, Lease], stream: str, limit: int, straggler: Straggler | None = None) -> Slice:
        memo = self.engine.memos.take(self.reactor, stream)
        return Slice(leases[self.shard(stream)], stream, memo, limit, straggler)

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
        died = Died("the attempt was never concluded: its process was killed, or paused for longer than its lease")
        one.straggler = replace(straggler, attempts=straggler.attempts - 1)
        self.failed(one, died)
        if isinstance(one.verdict, RetryAt) and one.verdict.at <= self.now:
            one.straggler, one.verdict, one.error = straggler, None, None

    def shard(self, stream: str) -> int:
        return shard_of(stream, self.store.shards)

    # -- handle ------------------------------------------------------------------------------------------------------

    def handle(self, slices: list[Slice]) -> Program[None]:
        """Every slice until it is through or has failed, and its state is as of the last message it handled."""
        unfinished = [one for one in slices if not one.finished]
        while unfinished:
            yield Transact(self.remember(unfinished))
            yield Invoke([self.attend(one) for one in unfinished])
            unfinished = [one for one in unfinished if not one.finished]
        for one in slices:
            if one.error and self.raise_errors:
                raise one.error
            if one.done:
                one.effects.add(self.reactor.closing(one.memo), one.deliveries[0].message, self.engine)

    def remember(self, slices: list[Slice]) -> Op[None]:
        """Brings every memo to where its slice goes on: one statement for the histories of all streams."""
        for one in slices:
            if one.memo.tainted:
                one.memo.restart()
        wants = [(one, want) for one in slices for want in one.memo.wants(one.rest())]
        if wants:
            ranges = [Range(want.stream, want.after, want.upto) for _, want in wants]
            histories = yield from self.store.histories(ranges)
            for (one, want), records in zip(wants, histories, strict=True):
                with self.blaming(one):
                    want.take(records, self.engine.codec)
        for one in slices:
            with self.blaming(one):
                one.memo.loaded((yield Call(one.memo.load)) if one.memo.loads else None)

    def attend(self, one: Slice) -> Work:
        """Hands a slice's messages to the reactor, one after the other."""
        for delivery in one.rest():
            try:
                if one.unreadable and delivery is one.deliveries[-1]:
                    raise one.unreadable
                if delivery.message.seq > one.effects.acked:
                    actions: Any = self.reactor.handle(delivery)
                    if type(actions) is not tuple and inspect.isawaitable(actions):
                        actions = yield actions
                    asked = one.effects.add(actions, delivery.message, self.engine) if actions else None
                    if asked:
                        soonest = self.now + timedelta(milliseconds=1)  # asking for "now" must not spin
                        one.verdict = RetryAt(max(asked.at, soonest)) if isinstance(asked, RetryAt) else asked
                        return
            except Exception as error:
                self.failed(one, error)
                return
            one.done += 1
            if one.memo.tainted:
                return

    @contextlib.contextmanager
    def blaming(self, one: Slice) -> Iterator[None]:
        """A state that cannot be brought back fails its slice from the start, and nobody else's."""
        try:
            yield
        except Exception as error:
            one.undo()
            self.failed(one, error)

    def failed(self, one: Slice, error: BaseException) -> None:
        """The message at hand could not be handled: what happens to its stream is for the error policy to say."""
        one.error = error
        if self.raise_errors:
            one.verdict = Park()
            return
        message = one.deliveries[one.done].message
        failure = Failure(self.reactor.group, message, error, one.attempts, self.now)
        one.verdict = judge(self.reactor.errors or self.engine.errors, failure)
        level = logging.WARNING if isinstance(one.verdict, RetryAt) else logging.ERROR
        log.log(
            level, "%s: %s seq %d (%s), attempt %d: %r → %s", self.reactor.group, one.stream, message.seq, message.type,
            one.attempts, error, one.verdict, exc_info=error,
        )  # fmt: skip

    # -- settle ------------------------------------------------------------------------------------------------------

    def settle(self, claim: Claim, slices: list[Slice]) -> Program[None]:
        """The transaction, and what comes after its commit."""
        yield Transact(self.settlement(claim, slices))
        for one in slices:
            if one.verdict is None and one.deferred is None:
                self.engine.memos.keep(self.reactor, one.memo)
        yield Afterwards(
            [*committed(self.engine, [hook for one in slices if one.settled for hook in one.effects.after])]
        )

    def settlement(self, claim: Claim, slices: list[Slice]) -> Op[None]:
        """Everything the round has to say, in one transaction that the fence guards."""
        group = self.reactor.group
        yield from self.store.fence(claim)
        yield from self.carry_out([one for one in slices if one.done])
        straggling = [row for one in slices if (row := self.left_behind(one))]
        if straggling:
            yield from self.store.straggle(straggling)
        still = {row.stream for row in straggling}
        caught_up = [one.stream for one in slices if one.straggler and one.stream not in still]
        if caught_up:
            yield from self.store.catch_up(group, caught_up)
        yield from self.store.settle(group, self.moves(claim, slices), release=True)
        for one in slices:
            if isinstance(one.verdict, Stop):
                yield from self.store.stop(group, one.verdict.reason, described(one.error))

    def carry_out(self, slices: list[Slice]) -> Op[None]:
        together = {one.effects: one for one in slices if one.effects.simple}
        for effects in (yield from carry_out_together(self.store, together)):
            self.defer(together[effects])
        for one in slices:
            if one.effects.simple:
                continue
            try:
                yield from savepoint(carry_out(self.store, one.effects))
            except Conflict:
                self.defer(one)
            except Exception as error:
                if self.raise_errors or isinstance(error, NeedsAwait):
                    raise
                self.unsettled(one, error)

    def defer(self, one: Slice) -> None:
        """Somebody else wrote to the stream meanwhile: it is handled anew, with fresh history, in the next round."""
        attempts = one.straggler.attempts - 1 if one.straggler else 0
        one.deferred = replace(self.straggler(one, 0), attempts=attempts)

    def unsettled(self, one: Slice, error: Exception) -> None:
        """A sync block failed: among several messages nobody knows whose it was, so each is tried alone first."""
        if one.done > 1:
            one.deferred = replace(self.straggler(one, 0), attempts=1, error=described(error))
        else:
            one.undo()
            self.failed(one, error)

    def left_behind(self, one: Slice) -> Straggler | None:
        """The straggler a slice leaves, if its stream does not go on with its shard."""
        if one.deferred:
            return one.deferred
        if one.verdict:
            row = replace(
                self.straggler(one, one.done),
                attempts=one.attempts,
                error=described(one.error),
                traceback="".join(traceback.format_exception(one.error)) if one.error else "",
            )
            if isinstance(one.verdict, RetryAt):
                return replace(row, retry_at=one.verdict.at)
            return replace(row, parked=isinstance(one.verdict, Park), reason=one.verdict.reason)
        last = one.deliveries[-1].message.seq if one.deliveries else 0
        lags = one.straggler is not None and (
            len(one.deliveries) >= one.limit or self.scanned[one.lease.shard] < one.lease.high
        )
        if lags or one.effects.acked > last:
            row = self.straggler(one, 0)
            return replace(row, from_seq=max(row.from_seq, last + 1, one.effects.acked + 1))
        return None

    def straggler(self, one: Slice, index: int) -> Straggler:
        """A slice's stream as a straggler from one of its messages on, with nothing held against it."""
        known, message = one.straggler, one.deliveries[index].message if one.deliveries else None
        return Straggler(
            self.reactor.group,
            one.stream,
            from_seq=message.seq if message else known.from_seq if known else 1,
            live_after=known.live_after if known else one.lease.high,
            message_id=message.id if message else "",
            since=known.since if known and known.since else self.now,
        )

    def moves(self, claim: Claim, slices: list[Slice]) -> list[Move]:
        """Where the round leaves every shard it had leased."""
        high: dict[int, int] = {}
        touched = {one.lease.shard for one in slices if one.deliveries}
        for one in slices:
            if one.settled:
                high[one.lease.shard] = max(high.get(one.lease.shard, 0), one.settled[-1].message.position)
        return [
            Move(
                lease.shard,
                self.scanned[lease.shard],
                high.get(lease.shard, 0),
                careful=lease.careful - 1 if lease.careful and lease.shard in touched else 0,
            )
            for lease in claim.leases
        ]


def described(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if error else ""


def drain(
    engine: Engine, reactors: Iterable[Reactor], owner: str, *, limit: int | None, raise_errors: bool
) -> Program[int]:
    """Rounds of every group, in turn, until nothing is left to do; what waits for a later time goes on waiting."""
    reactors, handled = list(reactors), 0
    while limit is None or handled < limit:
        before = handled
        handled += len((yield Transact(engine.store.promote(engine.clock.now()))))
        for reactor in reactors:
            handled += yield from Round(engine, reactor, owner, raise_errors=raise_errors).program()
        if handled == before:
            break
    return handled
