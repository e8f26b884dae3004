"""One round: claim what there is to do, load what is needed for it, handle it, settle it all in one transaction.

Read `Round.program` first; every step below it has a name. Nothing outside a round moves a checkpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from sourced.actions import Action, AfterCommit
from sourced.errors import Behind, Deadlocked, Fenced
from sourced.ids import new_id
from sourced.ops import Op
from sourced.reactor import Reactor
from sourced.runtime import seams
from sourced.runtime.engine import Engine, committed, log, remembered, write_down
from sourced.runtime.inline import append
from sourced.runtime.programs import Afterwards, Await, Commit, Invoke, Program, Transact, UnderWay, Work
from sourced.runtime.rounds.handing_over import HandingOver
from sourced.runtime.rounds.loading import Loading
from sourced.runtime.rounds.rows import Bundle, Outdated
from sourced.runtime.rounds.settling import OutOfTurn, Settling
from sourced.runtime.rounds.slice import Slice
from sourced.store import Claim, Entry, Outcome, Straggler

T = TypeVar("T")

TRIES = 10  # to settle, while others change the same rows
PATIENCE = 10.0  # seconds that somebody who wants to store something waits for inline projectors to catch up
PAUSE = 0.02  # seconds between looks, while others have that in hand


class Round(Loading, HandingOver, Settling):
    """One reactor's next round; see `program`."""

    def program(self) -> Program[int | None]:
        """How many messages were dealt with; None when there is nothing to do for this group now."""
        claim: Claim = yield Transact(self.claim(), anew=self.claim, taking=True)
        if not claim.leases:
            self.breadth.reset()
            return None
        seams.claimed(self.engine, claim, self.owner)
        try:
            careful = any(lease.careful for lease in claim.leases)  # only then is anything written before it is handled
            slices: list[Slice] = yield Transact(self.load(claim), reading=not careful)
            if self.hurried:  # before it could begin
                yield self.giving_back(claim)
                return 0
            bundles = yield from self.handle(slices)
            yield from self.settle(claim, slices, bundles)
            if not self.waits:
                self.breadth.learn(len(claim.leases), sum(len(one.deliveries) for one in slices), self.limit)
        except Outdated as outdated:
            log.info("%s: %s", self.reactor.group, outdated)
            yield self.giving_back(claim)
            return 0  # others were faster again and again
        except Fenced as fenced:
            log.info("%s", fenced)
            seams.lease_lost(self.engine, fenced, self.owner)
            self.call_off()
            yield self.giving_back(claim)
            return 0  # nothing was changed; whoever holds the lease now goes on
        except (Exception, KeyboardInterrupt, asyncio.CancelledError):
            if not self.stored:  # after that there is nothing to give back, and who was left behind goes on
                self.call_off()
                yield self.giving_back(claim)
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

    def giving_back(self, claim: Claim) -> Transact:
        return Transact(self.give_back(claim), anew=lambda: self.give_back(claim), taking=True)

    def give_back(self, claim: Claim) -> Op[None]:
        """Nobody failed, so no attempt counts."""
        return self.store.release(replace(claim, due=(*claim.due, *self.counted)))

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
        actions: Iterable[Action]
        if self.rows:
            actions, bundle.kept = self.rows.close(bundle.rows, self.now)
        else:
            actions = self.reactor.closing(one.memo)
            bundle.kept = one.memo.beside()
        if actions:
            one.effects.add(actions, one.deliveries[0].message, self.engine)
        if self.rows:
            for each in bundle.slices:
                each.effects.put_off(self.now)

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

    # -- settle ------------------------------------------------------------------------------------------------------

    def settle(self, claim: Claim, slices: list[Slice], bundles: list[Bundle]) -> Program[None]:
        """The transaction, again for as long as others are in its way; and what comes after its commit."""
        tries_left = TRIES
        while True:
            try:
                yield self.settling(claim, slices, bundles)
                self.stored = True
                break
            except OutOfTurn:
                pass
            except Deadlocked:
                if self.blaming:
                    raise
                self.blaming = True
            except Outdated:
                tries_left -= 1
                if not (tries_left and self.rows):
                    raise
                self.rows.forget(bundles)  # and handled once more, from what others have made of the rows meanwhile
                bundles = yield from self.handle(slices)
            except Behind as behind:
                if not (yield from caught_up(self.engine, behind, self.engine.lease.total_seconds() / 3)):
                    self.put_behind(behind, bundles)
        yield from self.afterwards(slices)

    def settling(self, claim: Claim, slices: list[Slice], bundles: list[Bundle]) -> Transact:
        return Transact(self.settlement(claim, slices, bundles), anew=lambda: self.settlement(claim, slices, bundles))

    def afterwards(self, slices: list[Slice]) -> Program[None]:
        """What comes after the commit."""
        memos = [one.memo for one in slices if not (one.verdict or one.deferred or one.cut or one.held)]
        hooks = [h for one in slices if one.settled for h in (*one.effects.after, *one.effects.projected)]
        if slices:  # who waits for these messages is told, and who handles what came of them
            types = {each.type for one in slices if one.settled for each in one.effects.records()}
            yield Afterwards(committed(self.engine, hooks, types))
        yield from write_down(self.engine, [each for one in slices if one.settled and (each := one.memo.snapshot())])
        told = seams.settled(self.engine, self.reactor.group, self.owner, self.now, slices)
        kept = remembered(self.engine, self.reactor, memos)  # not before: the hooks look at these states
        yield Afterwards([*told, kept])


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


def caught_up(engine: Engine, behind: Behind, seconds: float) -> Program[bool]:
    """Whether an inline projector could be brought up to date in that time, in rounds as workers do it."""
    projector, store = engine.router.group(behind.group), engine.store
    types, deadline = engine.types(projector), engine.clock.elapsed() + seconds
    with engine.notifier.listen() as listener:
        while True:
            dealt_with = yield from Round(engine, projector, new_id()).program()
            held = yield Transact(store.hold_group(behind.group, behind.streams, types), reading=True)
            if not (still := held[1]):
                return True
            waiting: list[Straggler] = yield Transact(store.stragglers(behind.group), reading=True)
            stuck = any(s.stream in still and (s.parked or s.retry_at) and not s.holder for s in waiting)
            if stuck or engine.clock.elapsed() >= deadline:
                return False
            if not dealt_with:
                yield Await(listener, PAUSE)


def abreast(engine: Engine, storing: Callable[[list[AfterCommit]], Op[T]]) -> Program[tuple[T, list[AfterCommit]]]:
    """Stores something with what is projected inline, once that is up to date; what follows the commit comes back."""
    hooks: list[AfterCommit] = []

    def anew() -> Op[T]:
        hooks.clear()
        return storing(hooks)

    while True:
        try:
            return (yield Transact(anew(), anew=anew)), hooks
        except Behind as behind:
            if not (yield from caught_up(engine, behind, PATIENCE)):
                raise


def appending(engine: Engine, entries: Sequence[Entry]) -> Program[tuple[list[Outcome], list[AfterCommit]]]:
    """Appends, by itself; it may share its transaction with others who do the same, if nothing is projected with it."""
    if engine.router.inline_for(record for entry in entries for record in entry.records):
        return (yield from abreast(engine, lambda hooks: append(engine, entries, hooks)))
    return (yield Commit(entries)), []
