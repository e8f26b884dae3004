"""One round: claim what there is to do, load what is needed for it, handle it, settle it all in one transaction.

Read `Round.program` first; every step below it has a name. Nothing outside a round moves a checkpoint.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from sourced.actions import Failure, Park, RetryAt, Stop, Verdict
from sourced.codec import Record
from sourced.errors import Conflict, ConnectionLost, Fenced, NeedsAwait
from sourced.ids import new_id
from sourced.ops import Op, savepoint
from sourced.policy import in_words, judge
from sourced.projector import Projector
from sourced.reactor import Delivery, Later, Reactor
from sourced.runtime import seams
from sourced.runtime.background import Background
from sourced.runtime.effects import append_and_sync, append_together, send
from sourced.runtime.engine import Engine, committed, log, remembered, write_down
from sourced.runtime.programs import Afterwards, Invoke, Leaving, Program, Transact, UnderWay, Work
from sourced.runtime.rows import Bundle, Outdated, Rows
from sourced.runtime.slice import Slice, described
from sourced.store import Claim, Lease, Move, Pending, Range, Straggler, shard_of

TRIES = 10  # to settle, while others change the same rows


_OUR_OWN = (ConnectionLost, Fenced)  # what ends a round as a whole, and is no stream's fault


class Died(Exception):
    """The process handling a message went away in the middle of it: killed, or paused beyond its lease."""


class Round:
    """One reactor's next round; see `program`."""

    def __init__(
        self, engine: Engine, reactor: Reactor, owner: str, *, raise_errors: bool = False, most: int | None = None,
        background: Background | None = None, limit: int | None = None, patience: float = math.inf,
        drive: Leaving | None = None,
    ) -> None:  # fmt: skip
        self.engine = engine
        self.store = engine.store
        self.reactor = reactor
        self.owner = owner
        self.raise_errors = raise_errors
        self.most = most  # shards it may lease
        self.background = background
        self.claimed: Claim | None = None
        self.now: datetime = engine.clock.now()
        self.limit = min(filter(None, (reactor.batch_size or engine.batch, limit)))
        self.patience = patience  # seconds, after which no more messages are begun
        self.drive = drive  # runs handlers and leaves those be that take too long
        self.late: dict[Slice, UnderWay] = {}  # what was left so, and has to be gone on with
        self.types = engine.types(reactor)
        self.breadth = engine.breadths[reactor.group]
        self.rows = Rows(reactor, engine.store) if isinstance(reactor, Projector) else None
        self.scanned: dict[int, int] = {}  # shard → how far it has been looked through
        self.counted: list[Straggler] = []  # whose attempt was written down before it is made
        self.again: datetime | None = None  # when the next of its streams is due
        self.begun = False  # a message was handed out
        self.hurried = self.cut_short = False
        self.until = math.inf
        self.waits = False  # some handler had something awaited

    def hurry(self) -> None:
        """No more messages than those in hand: what was done so far is settled, the rest is for another round."""
        self.hurried = True

    def program(self) -> Program[int | None]:
        """How many messages were dealt with; None when there is nothing to do for this group now."""
        claim: Claim = yield Transact(self.claim())
        if not claim.leases:
            self.breadth.reset()
            return None
        seams.claimed(self.engine, claim, self.owner)
        try:
            careful = any(lease.careful for lease in claim.leases)  # only then is anything written before it is handled
            slices: list[Slice] = yield Transact(self.load(claim), reading=not careful)
            bundles = yield from self.handle(slices)
            yield from self.settle(claim, slices, bundles)
            if not self.waits:
                self.breadth.learn(len(claim.leases), sum(len(one.deliveries) for one in slices), self.limit)
        except Outdated as outdated:
            log.info("%s: %s", self.reactor.group, outdated)
            yield Transact(self.give_back(claim))
            return 0  # others were faster again and again
        except Fenced as fenced:
            log.info("%s", fenced)
            seams.lease_lost(self.engine, fenced, self.owner)
            self.call_off()
            yield Transact(self.give_back(claim))
            return 0  # nothing was changed; whoever holds the lease now goes on
        except (Exception, KeyboardInterrupt, asyncio.CancelledError):
            self.call_off()
            yield Transact(self.give_back(claim))
            raise
        return sum(one.done + (one.verdict is not None) for one in slices if not one.held)

    # -- claim -------------------------------------------------------------------------------------------------------

    def claim(self) -> Op[Claim]:
        """A shard where a round died is worked on by itself, so that nobody else dies with the one who is to blame."""
        until, most = self.now + self.engine.lease, self.breadth.within(self.most)
        claim = yield from self.store.claim(
            self.reactor.group, self.owner, now=self.now, until=until, limit=self.limit, most=most
        )
        self.claimed = claim
        careful = next((lease for lease in claim.leases if lease.careful), None)
        if careful is None or len(claim.leases) == 1:
            return claim
        mine = tuple(s for s in claim.due if self.shard(s.stream) == careful.shard)
        others = tuple(lease for lease in claim.leases if lease is not careful)
        theirs = tuple(s for s in claim.due if s not in mine)
        yield from self.store.release(replace(claim, leases=others, due=theirs))
        return replace(claim, leases=(careful,), due=mine)

    def give_back(self, claim: Claim) -> Op[None]:
        """Nobody failed, so no attempt counts."""
        return self.store.release(replace(claim, due=(*claim.due, *self.counted)))

    # -- load --------------------------------------------------------------------------------------------------------

    def load(self, claim: Claim) -> Op[list[Slice]]:
        """What is pending and what is due again, as slices."""
        leases = {lease.shard: lease for lease in claim.leases}
        if self.rows and self.rows.keyed and any(s.suspected for s in claim.due):
            return (yield from self.load_suspect(claim, leases))
        pending = yield from self.pending(claim)
        self.scanned = dict(pending.scanned)
        if any(lease.careful for lease in claim.leases):
            return (yield from self.load_one(claim, pending, leases))
        slices = yield from self.load_pending(claim, pending.records, leases)
        slices += yield from self.load_stragglers([s for s in claim.due if s.suspected], leases, limit=1)
        due = [s for s in claim.due if not s.suspected]
        slices += yield from self.load_stragglers(due, leases, limit=max(1, self.limit // max(1, len(due))))
        return slices

    def pending(self, claim: Claim) -> Op[Pending]:
        return self.store.pending(self.reactor.group, claim.leases, self.types, self.limit)

    def load_one(self, claim: Claim, pending: Pending, leases: dict[int, Lease]) -> Op[list[Slice]]:
        """After a crash, one message: the straggler's if it is older than what is next in the shard, else that."""
        looked = self.scanned
        self.scanned = looked | {self.shard(record.stream): record.position - 1 for record in pending.records}
        stragglers = yield from self.load_stragglers(claim.due, leases, limit=1)
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
        others = yield from self.load_stragglers([s for s in claim.due if s is not suspect], leases, limit=0)
        return [*(yield from self.load_stragglers([suspect], leases, limit=1)), *others]

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
        self.counted = [one.straggler for one in slices.values() if one.straggler]
        if self.counted:
            yield from self.store.fence(claim)  # a paused round must not bring back what somebody else has settled
            yield from self.store.straggle([replace(each, running=True) for each in self.counted])
        return list(slices.values())

    def load_stragglers(self, due: Sequence[Straggler], leases: dict[int, Lease], limit: int) -> Op[list[Slice]]:
        slices: list[Slice] = []
        found = (yield from self.store.straggling(due, self.types, self.scanned, limit)) if due else []
        for straggler, records in zip(due, found, strict=True):
            one = self.slice(leases, straggler.stream, limit, straggler)
            slices.append(one)
            for record in records:
                self.deliver(one, record, straggler.live_after)
            if straggler.running and one.deliveries and not self.raise_errors:  # who asks for errors wants to see it
                self.judge_the_dead(one, straggler)
        return slices

    def slice(self, leases: dict[int, Lease], stream: str, limit: int, straggler: Straggler | None = None) -> Slice:
        memo = self.engine.memos.take(self.reactor, stream)
        memo.background = self.background
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
        died = Died("the attempt was never concluded: its process was killed, or paused for longer than its lease")
        one.straggler = replace(straggler, attempts=straggler.attempts - 1)
        self.failed(one, died)
        if isinstance(one.verdict, RetryAt) and one.verdict.at <= self.now:
            one.straggler, one.verdict, one.error = straggler, None, None

    def shard(self, stream: str) -> int:
        return shard_of(stream, self.store.shards)

    # -- handle ------------------------------------------------------------------------------------------------------

    def handle(self, slices: list[Slice]) -> Program[list[Bundle]]:
        """Every slice until it is through or has failed, and its state is as of the last message it handled."""
        unfinished = [one for one in slices if not one.finished]
        while unfinished or (self.rows and self.rows.torn):
            yield Transact(self.remember(unfinished), reading=True)
            works = self.works(unfinished)
            drive = None if self.rows and self.rows.keyed else self.drive  # what is nobody's has to be waited for
            for work, waiting_for in ((yield Invoke([*works], drive)) or {}).items():
                self.leave(works[work], (work, waiting_for))
            unfinished = [one for one in unfinished if not (one.finished or one.held)]
        bundles = self.bundles([one for one in slices if one.settled])
        for bundle in bundles:
            try:
                self.close(bundle)
            except Exception as error:
                self.unsettled(bundle, error)
        for one in slices:
            if one.error and self.raise_errors:
                raise one.error
        return bundles

    def works(self, slices: list[Slice]) -> dict[Work, Slice]:
        """What may be done side by side, and whose it is; where streams share rows nothing may, and it is nobody's."""
        if self.rows and self.rows.keyed:
            return {self.attend(self.rows.in_order(slices)): slices[0]} if slices else {}
        if self.reactor.in_batches:
            return {self.attend_batch(one): one for one in slices}
        return {self.attend([(one, delivery) for delivery in one.rest()]): one for one in slices}

    def bundles(self, slices: list[Slice]) -> list[Bundle]:
        return self.rows.bundles(slices) if self.rows else [Bundle([one]) for one in slices]

    def close(self, bundle: Bundle) -> None:
        """What is asked for by the batch as a whole goes with the first of its slices."""
        one = bundle.slices[0]
        if self.rows:
            actions, bundle.kept = self.rows.close(bundle.rows, self.now)
        else:
            actions = list(self.reactor.closing(one.memo))
        one.effects.add(actions, one.deliveries[0].message, self.engine)

    def leave(self, one: Slice, under_way: UnderWay) -> None:
        """The round goes on without it: its stream is a straggler from here on, in the hand of whoever goes on."""
        row = one.straggler or replace(one.as_straggler(), attempts=0 if one.done else 1)
        until, holder = self.engine.clock.now() + self.engine.lease, f"{self.owner}/{new_id()}"
        one.held = replace(row, running=not one.done, retry_at=until, holder=holder)
        self.late[one] = under_way

    def call_off(self) -> None:
        for _, waiting_for in self.late.values():
            waiting_for.cancel()
        self.late.clear()

    @property
    def in_a_hurry(self) -> bool:
        """Time for no other message. For one there is: a round that takes long to begin would never end."""
        if not self.begun:
            self.begun, self.until = True, self.engine.clock.elapsed() + self.patience
            return False
        self.cut_short = self.hurried or self.engine.clock.elapsed() > self.until
        return self.cut_short

    def remember(self, slices: list[Slice]) -> Op[None]:
        """Brings every memo to where its slice goes on: one statement for the histories of all streams."""
        for one in slices:
            if one.memo.tainted:
                one.memo.restart()
        blank = [one for one in slices if one.memo.blank]
        if blank:
            found = yield from self.store.snapshots(self.reactor.group, [one.stream for one in blank])
            for one in blank:
                one.memo.begin_with(found.get(one.stream))
        wants = [(one, want) for one in slices for want in one.memo.wants(one.rest())]
        if wants:
            ranges = [Range(want.stream, want.after, want.upto) for _, want in wants]
            histories = yield from self.store.histories(ranges)
            for (one, want), records in zip(wants, histories, strict=True):
                try:
                    want.take(records, self.engine.codec)
                except Exception as error:
                    self.spoilt(one, error)
        if self.rows:
            yield from self.rows.bring((one.memo, one.rest()) for one in slices)

    def attend(self, turns: Sequence[tuple[Slice, Delivery]]) -> Work:
        """Hands messages to the reactor, one after the other; a slice that has stopped is passed over."""
        hand_over = seams.handing(self.engine, self.reactor.group, self.hand_over)
        for one, _ in turns:
            one.paused = False
        for one, delivery in turns:
            if one.paused or one.verdict or one.cut:
                continue
            if self.rows and one.memo.torn(delivery.message):
                one.paused = True
                continue
            if self.in_a_hurry:
                one.cut = True
                continue
            before = one.memo.batch.mark()
            try:
                if one.unreadable and delivery is one.deliveries[-1]:
                    raise one.unreadable
                if delivery.message.seq > one.effects.acked:
                    asked = yield from hand_over(one, delivery)
                    if asked:
                        one.drop(before)
                        one.verdict = self.not_now(asked)
                        continue
            except Exception as error:
                one.drop(before)
                self.failed(one, error)
                continue
            one.done += 1
            one.paused = one.memo.tainted

    def hand_over(self, one: Slice, delivery: Delivery) -> seams.Handing:
        """One message to the reactor, and what it asks for to the slice; a verdict: it was not handled after all."""
        actions: Any = self.reactor.handle(delivery)
        if type(actions) is not tuple and inspect.isawaitable(actions):
            self.waits = True
            answer = yield actions
            actions = actions.then(answer) if type(actions) is Later else answer
        return one.effects.add(actions, delivery.message, self.engine) if actions else None

    def attend_batch(self, one: Slice) -> Work:
        """Hands a slice's messages to the reactor all at once; if that fails, each is tried alone to find the one."""
        if self.in_a_hurry:
            one.cut = True
            return
        hand_over = seams.handing(self.engine, self.reactor.group, self.hand_over_batch)
        rest, before = one.rest(), one.memo.batch.mark()
        readable = rest[:-1] if one.unreadable else rest
        if readable:
            try:
                asked = yield from hand_over(one, readable)
            except Exception as error:
                one.drop(before)
                if len(readable) == 1 or self.raise_errors:
                    self.failed(one, error)
                else:
                    one.deferred = replace(one.as_straggler(), error=described(error))
                return
            if asked:
                one.drop(before)
                asked = self.not_now(asked)
                if isinstance(asked, RetryAt):  # as a whole again: nothing of it is under suspicion
                    one.deferred = replace(one.as_straggler(), retry_at=asked.at)
                else:
                    one.verdict = asked
                return
            one.done += len(readable)
        if one.unreadable:
            self.failed(one, one.unreadable)

    def hand_over_batch(self, one: Slice, deliveries: Sequence[Delivery]) -> seams.Handing:
        actions: Any = self.reactor.handle_batch(deliveries)
        if inspect.isawaitable(actions):
            self.waits = True
            actions = yield actions
        return one.effects.add(actions, deliveries[-1].message, self.engine) if actions else None

    def not_now(self, asked: Verdict) -> Verdict:
        """Asking for "now" must not spin."""
        soonest = self.now + timedelta(milliseconds=1)
        return RetryAt(max(asked.at, soonest)) if isinstance(asked, RetryAt) else asked

    def spoilt(self, one: Slice, error: Exception) -> None:
        """A state that cannot be brought back fails its slice from the start, and nobody else's."""
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
            level, "%s: %s seq %d (%s), attempt %d: %r; %s", self.reactor.group, one.stream, message.seq, message.type,
            one.attempts, error, in_words(one.verdict), exc_info=error,
        )  # fmt: skip

    # -- settle ------------------------------------------------------------------------------------------------------

    def settle(self, claim: Claim, slices: list[Slice], bundles: list[Bundle]) -> Program[None]:
        """The transaction, and what comes after its commit."""
        for tries_left in reversed(range(TRIES)):
            try:
                yield Transact(self.settlement(claim, slices, bundles))
                break
            except Outdated:
                if not (tries_left and self.rows):
                    raise
                self.rows.forget(bundles)  # and handled once more, from what others have made of the rows meanwhile
                bundles = yield from self.handle(slices)
        memos = [one.memo for one in slices if not (one.verdict or one.deferred or one.cut or one.held)]
        hooks = [hook for one in slices if one.settled for hook in one.effects.after]
        if slices:  # who waits for these messages is told, and who handles what came of them
            types = {each.type for one in slices if one.settled for each in one.effects.records()}
            yield Afterwards([*committed(self.engine, hooks, types)])
        yield from write_down(self.engine, [each for one in slices if one.settled and (each := one.memo.snapshot())])
        told = seams.settled(self.engine, self.reactor.group, self.owner, self.now, slices)
        kept = remembered(self.engine, self.reactor, memos)  # not before: the hooks look at these states
        yield Afterwards([*told, kept])

    def settlement(self, claim: Claim, slices: list[Slice], bundles: list[Bundle]) -> Op[None]:
        """Everything the round has to say, in one transaction that the fence guards."""
        group = self.reactor.group
        yield from self.store.fence(claim)
        yield from self.carry_out([bundle for bundle in bundles if bundle.settled])
        straggling = [row for one in slices if (row := one.left_behind(self.scanned[one.lease.shard]))]
        if straggling:
            yield from self.store.straggle(straggling)
        self.again = min((row.retry_at for row in straggling if row.retry_at and not row.holder), default=None)
        still = {row.stream for row in straggling}
        caught_up = [one.stream for one in slices if one.straggler and one.stream not in still]
        if caught_up:
            yield from self.store.catch_up(group, caught_up)
        yield from self.store.settle(group, self.moves(claim, slices), release=True)
        for one in slices:
            if isinstance(one.verdict, Stop):
                yield from self.store.stop(group, one.verdict.reason, described(one.error), at=self.now)

    def carry_out(self, bundles: list[Bundle]) -> Op[None]:
        slices = [one for bundle in bundles for one in bundle.slices]
        if self.rows:
            yield from self.rows.hold(bundles)
        appends = [entry.stream for one in slices for entry in one.effects.entries]
        sends = [record.stream for one in slices for record in one.effects.sent]
        if appends and (sends or not all(bundle.simple for bundle in bundles)):
            yield from self.store.reserve({*appends, *sends})
        together = {one.effects: bundle for bundle in bundles if bundle.simple for one in bundle.slices}
        refused = yield from append_together(self.store, together)
        for effects, refusal in refused.items():
            self.unsettled(together[effects], refusal)
        for bundle in (yield from self.together([bundle for bundle in bundles if not bundle.simple])):
            try:
                yield from savepoint(append_and_sync(self.store, [one.effects for one in bundle.slices]))
            except _OUR_OWN:
                raise
            except Exception as error:
                self.unsettled(bundle, error)
        yield from send(self.store, [one.effects for one in slices if one.settled])
        if self.rows:
            yield from self.rows.save(bundles)

    def together(self, bundles: list[Bundle]) -> Op[list[Bundle]]:
        """Hardly ever does any of them fail: they share a savepoint, and only when one does, each gets its own."""
        if len(bundles) < 2:
            return bundles
        try:
            effects = [one.effects for bundle in bundles for one in bundle.slices]
            yield from savepoint(append_and_sync(self.store, effects))
        except _OUR_OWN:
            raise
        except Exception:
            return bundles
        return []

    def unsettled(self, bundle: Bundle, error: Exception) -> None:
        """What was asked for could not be stored.

        When somebody else wrote to the stream meanwhile, it is handled anew in the next round, with fresh history, a
        few times. After anything else nobody knows which message is to blame, so each is tried alone first.
        """
        for one in bundle.slices:
            tried = one.straggler.attempts if one.straggler else 1
            if isinstance(error, Conflict) and tried < self.engine.tries:
                one.deferred = replace(one.as_straggler(), attempts=tried)
            elif self.raise_errors or isinstance(error, NeedsAwait):
                raise error
            elif one.done > 1 or len(bundle.slices) > 1:
                one.deferred = replace(one.as_straggler(), error=described(error))
            else:
                one.undo()
                self.failed(one, error)

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


def drain(
    engine: Engine, reactors: Iterable[Reactor], owner: str, *, limit: int | None, raise_errors: bool
) -> Program[int]:
    """Rounds of every group, in turn, until nothing is left to do; what waits for a later time goes on waiting."""
    reactors, handled = list(reactors), 0
    while limit is None or handled < limit:
        promoted = len((yield Transact(engine.store.promote(engine.clock.now()))))
        seams.promoted(engine, promoted)
        handled, idle = handled + promoted, not promoted
        for reactor in reactors:
            dealt_with = yield from Round(engine, reactor, owner, raise_errors=raise_errors).program()
            handled, idle = handled + (dealt_with or 0), idle and dealt_with is None
        if idle:
            break
    return handled
