"""Streams a round did not wait for: what they were in the middle of goes on by itself and is settled by itself.

A round leaves such a stream behind as a straggler in somebody's hand. Nobody claims it before its time is up, and that
is prolonged for as long as the work goes on. Whoever claims it after all has it, and the latecomer is fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import Future
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from sourced.errors import Fenced
from sourced.ops import Op
from sourced.runtime import seams
from sourced.runtime.engine import log
from sourced.runtime.programs import CANCELLED, Invoke, Program, Stepping, Transact, Work, go_on
from sourced.runtime.rounds.round import Round
from sourced.runtime.rounds.rows import Bundle
from sourced.runtime.rounds.slice import Slice
from sourced.store import Claim, Group, Straggler


class Latecomer(Round):
    """The rest of a round, for one stream: it finishes the message at hand and takes no other."""

    def __init__(self, left_by: Round, one: Slice) -> None:
        super().__init__(left_by.engine, left_by.reactor, left_by.owner)
        assert one.held
        self.now = left_by.now
        self.begun = self.hurried = left_by.hurried = True
        self.one = one
        self.rows = left_by.rows and left_by.rows.part(one.memo)
        self.row: Straggler = one.held
        self.before = one.straggler  # what it was when the round got it
        self.under_way = left_by.late[one]
        self.resumed = False

    def program(self) -> Program[int | None]:
        one, self.resumed = self.one, True
        one.straggler, one.held, one.limit = self.row, None, 0  # whatever becomes of it, it is left as a straggler
        try:
            yield Invoke([_going_on(*self.under_way)])
            bundles = yield from self.handle([one])
            yield from self.settle(Claim(Group(one.group)), [one], bundles)
        except Fenced as fenced:
            log.info("%s", fenced)
            seams.lease_lost(self.engine, fenced, self.owner)
            return 0
        except (Exception, KeyboardInterrupt, asyncio.CancelledError):
            yield Transact(self.put_back())
            raise
        return one.done

    def settlement(self, claim: Claim, slices: list[Slice], bundles: list[Bundle]) -> Op[None]:
        """What the stream has to say. It goes on waiting, for a round that has its shard: only there it catches up."""
        one = self.one
        yield from self.in_turn(slices, bundles)
        row = one.left_behind(0)
        assert row
        if one.settled:
            handled = one.deliveries[one.done - 1].message.position
            row = replace(row, live_after=max(row.live_after, handled))
        yield from self.store.straggle([row])
        self.again = None if row.parked else row.retry_at or self.now

    def held(self) -> Op[None]:
        return self.store.hold(self.row)

    def prolong(self, until: datetime) -> Op[None]:
        try:
            yield from self.store.hold(self.row)
        except Fenced:
            return  # it will hear of it when it is through
        self.row = replace(self.row, retry_at=until)
        yield from self.store.straggle([self.row])

    def put_back(self) -> Op[None]:
        """As if it had not been begun: nobody failed, so no attempt counts."""
        try:
            yield from self.store.hold(self.row)
        except Fenced:
            return
        counted = max(0, self.row.attempts - 1)
        running = self.before is not None and self.before.running
        yield from self.store.straggle([
            replace(self.row, attempts=counted, running=running, retry_at=None, holder="")
        ])  # fmt: skip


def _going_on(work: Work, waiting_for: Future[Any]) -> Work:
    """Work that waits for something already, or that some thread is in the middle of."""
    ended = _ended(waiting_for)
    awaitable: Awaitable[Any] | None = (yield ended) if isinstance(waiting_for, Stepping) else ended
    while awaitable is not None:
        try:
            answer = yield awaitable
        except Exception as error:
            awaitable = go_on(work.throw, error)
        else:
            awaitable = go_on(work.send, answer)


async def _ended(waiting_for: Future[Any]) -> Any:
    try:
        return await asyncio.wrap_future(waiting_for)
    except asyncio.CancelledError:
        if waiting_for.cancelled() and not asyncio.current_task().cancelling():  # type: ignore[union-attr]
            raise RuntimeError(CANCELLED) from None
        raise
