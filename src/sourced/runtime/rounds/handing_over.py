"""The third step of a round: messages are handed to the reactor, one after the other or a batch at a time."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from sourced.actions import RetryAt
from sourced.ops import Op
from sourced.reactor import Delivery, Later
from sourced.runtime import seams
from sourced.runtime.programs import Work
from sourced.runtime.rounds.in_hand import InHand
from sourced.runtime.rounds.slice import Slice, described
from sourced.store import Range

_AT_HAND = (tuple, list)  # is not awaited, and need not be asked


class HandingOver(InHand):
    """A failure ends its own slice, and no other."""

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
        if type(actions) not in _AT_HAND and inspect.isawaitable(actions):
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
