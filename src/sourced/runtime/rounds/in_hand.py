"""What a round has in hand from its claim to its end, and what becomes of a message that could not be handled."""

from __future__ import annotations

import logging
import math
from datetime import datetime, timedelta

from sourced.actions import Failure, Park, RetryAt, Verdict
from sourced.policy import in_words, judge
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.runtime.background import Background
from sourced.runtime.engine import Engine, log
from sourced.runtime.programs import Leaving, UnderWay
from sourced.runtime.rounds.rows import Rows
from sourced.runtime.rounds.slice import Slice
from sourced.store import Claim, Straggler, shard_of


class InHand:
    """Everything a round knows; its steps, each in a module of its own, share it."""

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
        self.ended: set[int] = set()  # shards with nothing behind their checkpoint
        self.counted: list[Straggler] = []  # whose attempt was written down before it is made
        self.again: datetime | None = None  # when the next of its streams is due
        self.begun = False  # a message was handed out
        self.stored = False  # all of it is settled
        self.blaming = False  # others were in its way so often that it may be somebody's fault
        self.hurried = self.cut_short = False
        self.until = math.inf
        self.waits = False  # some handler had something awaited

    def hurry(self) -> None:
        """No more messages than those in hand: what was done so far is settled, the rest is for another round."""
        self.hurried = True

    def shard(self, stream: str) -> int:
        return shard_of(stream, self.store.shards)

    def not_now(self, asked: Verdict) -> Verdict:
        """Asking for "now" must not spin."""
        soonest = self.now + timedelta(milliseconds=1)
        return RetryAt(max(asked.at, soonest)) if isinstance(asked, RetryAt) else asked

    def spoilt(self, one: Slice, error: Exception) -> None:
        """A state that cannot be brought back fails its slice from the start, and nobody else's."""
        one.undo()
        self.failed(one, error)

    def failed(self, one: Slice, error: BaseException, *, overtaken: int = 0) -> None:
        """The message at hand could not be handled: what happens to its stream is for the error policy to say.

        That it was overtaken before, so many times, was nobody's failure.
        """
        one.error = error
        if self.raise_errors:
            one.verdict = Park()
            return
        message = one.deliveries[one.done].message
        failure = Failure(self.reactor.group, message, error, one.attempts - overtaken, self.now)
        one.verdict = judge(self.reactor.policy or self.engine.errors, failure)
        level = logging.WARNING if isinstance(one.verdict, RetryAt) else logging.ERROR
        log.log(
            level, "%s: %s seq %d (%s), attempt %d: %r; %s", self.reactor.group, one.stream, message.seq, message.type,
            one.attempts, error, in_words(one.verdict), exc_info=error,
        )  # fmt: skip
