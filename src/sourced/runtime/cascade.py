"""A message and everything it sets off among some reactors: thought through first, then stored in one transaction.

Nothing is locked while handlers run. What was read is checked when it is stored; if somebody else was first, all of it
is thought through again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from sourced.actions import Action, AfterCommit, Sync
from sourced.actor import ActorMemo
from sourced.codec import Record
from sourced.envelope import Message
from sourced.errors import Behind, Conflict, Duplicate
from sourced.messages import Event
from sourced.ops import Call, Op
from sourced.projector import Projector
from sourced.reactor import Memo, Reactor
from sourced.runtime import seams
from sourced.runtime.engine import Engine, committed, remembered, write_down
from sourced.runtime.inline import append
from sourced.runtime.planned import Planned
from sourced.runtime.programs import Afterwards, Program, Transact
from sourced.runtime.rounds.round import PATIENCE, caught_up
from sourced.runtime.thinking import Thinking, lags
from sourced.store import Entry
from sourced.telemetry import Executed


class Cascade(msgspec.Struct, frozen=True):
    """What a unit has stored: the command, all that followed from it in order, and what is to come later."""

    command: Message[Any]
    messages: tuple[Message[Any], ...]
    scheduled: tuple[Message[Any], ...]
    by: dict[str, tuple[Message[Any], ...]]  # group → what it had stored

    @property
    def events(self) -> tuple[Message[Any], ...]:
        return tuple(message for message in self.messages if isinstance(message.payload, Event))

    def of(self, reactor: str | type[Reactor] | Reactor) -> tuple[Message[Any], ...]:
        """What one of the reactors had stored; nothing of a read model, as a rule."""
        return self.by.get(reactor if isinstance(reactor, str) else reactor.group, ())


executing = seams.stores(
    "execute", lambda cascade, seconds, *_: Executed(cascade.command, tuple(cascade.events), seconds)
)


@executing
def execute(
    engine: Engine,
    source: Message[Any],
    reactors: Sequence[Reactor],
    *,
    most: int,
    keep_commands: bool,
    expected_seq: int | None,
) -> Program[Cascade]:
    """All of it, or nothing. On a conflict it is thought through again, a few times; a pinned seq is tried once."""
    for tries_left in reversed(range(engine.tries)):
        plan = Plan(engine, reactors, most=most, keep_commands=keep_commands)
        try:
            yield from plan.think(source, expected_seq)
            yield Transact(plan.stored())
        except Conflict:
            if expected_seq is not None or not tries_left:
                raise
            continue
        except Behind as behind:
            if not (tries_left and (yield from caught_up(engine, behind, PATIENCE))):
                raise
            continue
        yield Afterwards(committed(engine, plan.hooks))
        yield from write_down(engine, filter(None, (memo.snapshot() for memo in plan.memos.values())))
        yield Afterwards([remembered(engine, reactor, [memo]) for reactor, memo in plan.worth_keeping()])
        return plan.cascade()
    raise AssertionError("unreachable: the last try returns or raises")


class Overtaken(Conflict):
    """A read model that was up to date lags behind now."""

    def __init__(self, stream: str, seq: int) -> None:
        super().__init__(stream, expected=seq, actual=seq)


class Plan(Thinking):
    """What was thought through, to be stored as a whole."""

    def stored(self) -> Op[None]:
        """Everything that was thought through, or nothing of it."""
        store = self.engine.store
        yield from store.reserve({planned.message.stream for planned in self.order})
        for reactor, stream in self.memos:
            if isinstance(reactor, Projector) and (yield from lags(self.engine, reactor, stream)):
                raise Overtaken(stream, self.tails[stream].end)
        places = yield from self.append()
        for (reactor, _), memo in self.memos.items():
            if not isinstance(reactor, Projector):
                yield from self.close(reactor.closing(memo))
        for rows in self.rows.values():
            mine = [memo for (reactor, _), memo in self.memos.items() if reactor is rows.projector]
            yield from self.close((yield from rows.settled(mine, places, self.engine.clock.now())))
        for sync in self.syncs:
            yield Call(sync.work)
        if self.scheduled:
            yield from store.schedule(self.scheduled)

    def append(self) -> Op[dict[str, Record]]:
        """Where each of them was stored."""
        runs = list(self.runs())
        outcomes = (yield from append(self.engine, [self.entry(run) for run in runs], self.hooks)) if runs else []
        places: dict[str, Record] = {}
        for run, outcome in zip(runs, outcomes, strict=True):
            if isinstance(outcome, Conflict) or (isinstance(outcome, Duplicate) and not self.loose(run[0])):
                raise outcome
            records = outcome.records if isinstance(outcome, Duplicate) else outcome
            places |= {record.id: record for record in records}
        for planned in self.order:
            record, tail = places[planned.record.id], self.tails[planned.message.stream]
            tail.shift = record.seq - planned.record.seq
            planned.message = planned.message.placed(record.seq, record.position)
        for (_, stream), memo in self.memos.items():
            tail = self.tails[stream]
            memo.batch.placed([places[each.record.id] for each in tail.planned])
            if isinstance(memo, ActorMemo):
                memo.head.seq += tail.shift
        return places

    def runs(self) -> Iterator[list[Planned]]:
        """Stretches of messages of one stream, so that causes come before their effects in the whole log."""
        run: list[Planned] = []
        for planned in self.order:
            if run and (run[0].message.stream != planned.message.stream or self.loose(run[0]) or self.loose(planned)):
                yield run
                run = []
            run.append(planned)
        if run:
            yield run

    def loose(self, planned: Planned) -> bool:
        """It goes to the end of a stream that nothing here looks at; one that is there already stays as it is."""
        return not planned.wanted and not self.tails[planned.message.stream].decisive

    def entry(self, run: Sequence[Planned]) -> Entry:
        """Only a stream's first stretch has to say what it follows: from then on the stream is ours."""
        tail = self.tails[run[0].message.stream]
        records = tuple(replace(each.record, settled_by=tuple(each.settled)) for each in run)
        if tail.decisive and run[0] is tail.planned[0]:
            return Entry(tail.stream, records, tail.head, tail.heeds)
        return Entry(tail.stream, records)

    def close(self, actions: Iterable[Action]) -> Op[None]:
        for action in actions:
            if isinstance(action, Sync):
                yield Call(action.work)
            elif isinstance(action, AfterCommit):
                self.hooks.append(action)
            else:
                raise TypeError(f"closing: a unit carries out Sync and AfterCommit, found {action!r}")

    # -- afterwards --------------------------------------------------------------------------------------------------

    def worth_keeping(self) -> Iterator[tuple[Reactor, Memo]]:
        for (reactor, stream), memo in self.memos.items():
            if isinstance(memo, ActorMemo) or not self.tails[stream].shift:
                yield reactor, memo

    def cascade(self) -> Cascade:
        by: dict[str, tuple[Message[Any], ...]] = {}
        for planned in self.order:
            if planned.by:
                by[planned.by] = (*by.get(planned.by, ()), planned.message)
        messages = tuple(planned.message for planned in self.order)
        return Cascade(self.root.message, messages, tuple(self.later), by)
