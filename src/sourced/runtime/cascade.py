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
from sourced.runtime import inline, seams
from sourced.runtime.engine import Engine, committed, remembered, write_down
from sourced.runtime.planned import Planned
from sourced.runtime.programs import Afterwards, Program, Transact
from sourced.runtime.rounds.round import PATIENCE, caught_up
from sourced.runtime.thinking import Thinking
from sourced.store import Entry, Outcome
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
            yield Transact(plan.stored(), anew=plan.stored)
        except Conflict:
            if expected_seq is not None or not tries_left:
                raise
            continue
        except Behind as behind:
            if not (tries_left and (yield from caught_up(engine, behind, PATIENCE))):
                raise
            continue
        yield Afterwards(committed(engine, plan.following))
        yield from write_down(engine, filter(None, (memo.snapshot() for memo in plan.memos.values())))
        yield Afterwards([remembered(engine, reactor, [memo]) for reactor, memo in plan.worth_keeping()])
        return plan.cascade()
    raise AssertionError("unreachable: the last try returns or raises")


class Plan(Thinking):
    """What was thought through, to be stored as a whole."""

    following: list[AfterCommit]  # what comes after the commit

    def stored(self) -> Op[None]:
        """Everything that was thought through, or nothing of it."""
        engine, store, runs = self.engine, self.engine.store, [*self.runs()]
        self.following = [*self.hooks]
        yield from store.reserve({planned.message.stream for planned in self.order})
        entries = [self.entry(run) for run in runs]
        wanted = engine.router.inline_for(record for entry in entries for record in entry.records)
        own = self.projecting()
        taking = yield from inline.held(engine, wanted, own)
        outcomes = (yield from store.append(inline.settled(entries, taking))) if entries else []
        places, projected = self.placed(runs, outcomes), inline.stored(taking, outcomes)
        for projector in inline.in_order({*projected, *own}):
            if projector in own:
                mine = [self.memos[projector, stream] for stream in own[projector]]
                yield from self.close((yield from self.rows[projector].settled(mine, places, engine.clock.now())))
            if projector in projected:
                yield from inline.projected(engine, projector, projected[projector], self.following)
        for (reactor, _), memo in self.memos.items():
            if not isinstance(reactor, Projector):
                yield from self.close(reactor.closing(memo))
        for sync in self.syncs:
            yield Call(sync.work)
        if self.scheduled:
            yield from store.schedule(self.scheduled)

    def projecting(self) -> dict[Projector[Any], list[str]]:
        """Whose rows are written here, and because of which streams."""
        own: dict[Projector[Any], list[str]] = {}
        for reactor, stream in self.memos:
            if isinstance(reactor, Projector):
                own.setdefault(reactor, []).append(stream)
        return own

    def placed(self, runs: Sequence[Sequence[Planned]], outcomes: Sequence[Outcome]) -> dict[str, Record]:
        """Where each of them was stored."""
        places: dict[str, Record] = {}
        for run, outcome in zip(runs, outcomes, strict=True):
            if isinstance(outcome, Conflict) or (isinstance(outcome, Duplicate) and not self.loose(run[0])):
                raise outcome
            records = outcome.records if isinstance(outcome, Duplicate) else outcome
            places |= {record.id: record for record in records}
        before = {stream: tail.shift for stream, tail in self.tails.items()}
        for planned in self.order:
            record, tail = places[planned.record.id], self.tails[planned.message.stream]
            tail.shift = record.seq - planned.record.seq
            planned.message = planned.message.placed(record.seq, record.position)
        for (_, stream), memo in self.memos.items():
            tail = self.tails[stream]
            memo.batch.placed([places[each.record.id] for each in tail.planned])
            if isinstance(memo, ActorMemo):
                memo.head.seq += tail.shift - before[stream]  # more than nothing, if the database took it back once
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
                self.following.append(action)
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
