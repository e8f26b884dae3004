"""What runs here and now for the one who asks: reading a stream into a state, and deciding on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from sourced.actions import AfterCommit, Batch, Sync
from sourced.actor import ActorMemo, Deciding, Decision, resume, snapshot_of
from sourced.codec import Content, Record
from sourced.envelope import Message
from sourced.errors import Conflict, Duplicate, StillWaiting, Undecodable
from sourced.ops import Call, Op
from sourced.runtime import inline, seams
from sourced.runtime.engine import Engine, committed, remembered, stored, write_down
from sourced.runtime.programs import Afterwards, Await, Program, Transact, within
from sourced.runtime.rounds.round import abreast, appending
from sourced.store import Entry, Outcome, Range, Scheduled, shard_of

LOOK_AGAIN = 0.1  # seconds: what a lost wake-up costs one who waits


def read(engine: Engine, stream: str, after: int = 0, upto: int | None = None) -> Program[Sequence[Record]]:
    (records,) = yield Transact(engine.store.histories([Range(stream, after, upto)]), reading=True)
    return records


def catch_up(engine: Engine, fold: Deciding[Any], upto: int | None = None) -> Program[None]:
    """Folds what was stored since."""
    if fold.seq == 0:
        yield from begin(engine, fold, upto)
    take(fold, (yield Transact(news(engine, fold, fold.seq, upto), reading=True)))


def begin(engine: Engine, fold: Deciding[Any], upto: int | None) -> Program[None]:
    """With a snapshot, if there is one."""
    if fold.owner.snapshots:
        op = engine.store.snapshots(fold.owner.group, [fold.stream])
        resume(fold, fold.owner.snapshots, (yield Transact(op, reading=True)).get(fold.stream), upto)


def news(engine: Engine, fold: Deciding[Any], after: int, upto: int | None) -> Op[Sequence[Content]]:
    """What its stream holds after a seq, as far as the state is made of it."""
    types = fold.owner.heeds
    if types is not None:
        found = yield from engine.store.contents(fold.stream, types, after=after, upto=upto)
        try:
            return engine.codec.contents(found, types)
        except Undecodable:
            pass  # which of them, is told when each is read by itself
    (records,) = yield from engine.store.histories([Range(fold.stream, after, upto)])
    return fold.contents(records, engine.codec)


def take(fold: Deciding[Any], contents: Iterable[Content]) -> None:
    try:
        fold.take(contents)
    except BaseException:
        fold.restart()  # states change in place: half of the news may be in it
        raise


@seams.executing
def execute(
    engine: Engine, source: Message[Any], fold: Deciding[Any], *, loaded: bool, pinned: bool = False
) -> Program[Decision]:
    """Decides a command and stores it with its events; on a conflict it is decided anew on fresh history.

    A state at hand is taken at its word first. Only when that fails is the log asked whether it was out of date. Who is
    overtaken again and again is decided while all others wait.
    """
    record = engine.codec.encode(source)  # refuses what could not be stored before anybody decides on it
    for tries_left in reversed(range(engine.tries)):
        if not loaded:
            yield from catch_up(engine, fold)
        turn, loaded = _InTurn(engine, fold, source, record), True
        try:
            if tries_left or pinned:
                decision, hooks = yield from _decide_and_store(engine, fold, source, record, pinned)
            else:
                decision, hooks = yield from turn.program()
        except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
            yield from _back_to(engine, fold, turn.place, pinned)
            outdated = isinstance(error, Exception) and fold.seq != turn.place
            if pinned or not outdated or not tries_left:
                raise  # it was up to date, so the answer stands
        else:
            types = {each.type for each in (decision.command, *decision.events)}
            yield Afterwards(committed(engine, hooks, types))
            yield from write_down(engine, filter(None, [snapshot_of(fold, turn.place)]))
            return decision
    raise AssertionError("unreachable: the last try returns or raises")


class _Decided(NamedTuple):
    """What is to be stored, and what goes with it."""

    entry: Entry
    command: Message[Any]
    events: Sequence[Message[Any]]
    batch: Batch
    syncs: Sequence[Sync]
    following: Sequence[AfterCommit]


def _decided(engine: Engine, fold: Deciding[Any], source: Message[Any], record: Record, *, pinned: bool) -> _Decided:
    actor, place = fold.owner, fold.seq
    fold.seq += 1  # the command's own place
    command = replace(source, seq=fold.seq)
    events = fold.follow(command, engine.clock.now())
    batch = Batch(fold.stream, [command], events)
    closing = list(actor.closing_with(fold.state, batch))
    records = (replace(record, seq=command.seq, settled_by=(actor.group,)), *engine.encode(events))
    entry = Entry(fold.stream, records, place, None if pinned else actor.heeds)
    syncs = [action for action in closing if isinstance(action, Sync)]
    following = [action for action in closing if isinstance(action, AfterCommit)]
    return _Decided(entry, command, events, batch, syncs, following)


def _decide_and_store(
    engine: Engine, fold: Deciding[Any], source: Message[Any], record: Record, pinned: bool
) -> Program[tuple[Decision, list[AfterCommit]]]:
    decided = _decided(engine, fold, source, record, pinned=pinned)
    if decided.syncs:
        storing = yield from abreast(engine, lambda hooks: _store_and_sync(engine, decided, hooks))
    else:
        storing = yield from appending(engine, [decided.entry])
    (outcome,), hooks = storing
    return _decision(fold, decided, outcome, hooks)


def _decision(
    fold: Deciding[Any], decided: _Decided, outcome: Outcome, hooks: Sequence[AfterCommit]
) -> tuple[Decision, list[AfterCommit]]:
    kept = _stored(outcome)
    if decided.syncs or decided.following:
        decided.batch.placed(kept)
    fold.seq = kept[-1].seq
    command, *events = stored([decided.command, *decided.events], kept)
    return Decision(command, events), [*decided.following, *hooks]


class _InTurn:
    """Read, decided and stored in one transaction that has the stream's place: nobody else stores there meanwhile."""

    def __init__(self, engine: Engine, fold: Deciding[Any], source: Message[Any], record: Record) -> None:
        self.engine, self.fold, self.source, self.record = engine, fold, source, record
        self.place = fold.seq  # what was known before it was decided

    def program(self) -> Program[tuple[Decision, list[AfterCommit]]]:
        (decided, outcome), hooks = yield from abreast(self.engine, self.storing)
        return _decision(self.fold, decided, outcome, hooks)

    def storing(self, hooks: list[AfterCommit]) -> Op[tuple[_Decided, Outcome]]:
        engine, fold = self.engine, self.fold
        yield from engine.store.reserve([fold.stream])
        if fold.seq != self.place:  # it was decided before, and that was taken back
            fold.restart()
        try:
            yield from within(catch_up(engine, fold), [])
        finally:
            self.place = fold.seq
        decided = _decided(engine, fold, self.source, self.record, pinned=False)
        (outcome,) = yield from _store_and_sync(engine, decided, hooks)
        return decided, outcome


def _stored(outcome: Outcome) -> tuple[Record, ...]:
    if not isinstance(outcome, tuple):
        raise outcome
    return outcome


def _store_and_sync(engine: Engine, decided: _Decided, hooks: list[AfterCommit]) -> Op[list[Outcome]]:
    """The append and the actor's sync blocks, or none of it."""
    outcomes = yield from inline.append(engine, [decided.entry], hooks)
    decided.batch.placed(_stored(outcomes[0]))
    for sync in decided.syncs:
        yield Call(sync.work)
    return outcomes


def _back_to(engine: Engine, fold: Deciding[Any], place: int, pinned: bool) -> Program[None]:
    """Nothing of a failed decision stays; what others stored meanwhile is read, unless the place is pinned."""
    if fold.seq > place + 1:  # events were applied in place: only the log knows what was before
        fold.restart()
    else:
        fold.seq = place
    yield from catch_up(engine, fold, place if pinned else None)


def execute_routed(engine: Engine, source: Message[Any], *, expected_seq: int | None) -> Program[Decision]:
    """The same without a loaded actor: routed to whoever decides the command, with the state it is remembered by."""
    actor = engine.router.decider(type(source.payload))
    memo = engine.memos.take(actor, source.stream)
    assert isinstance(memo, ActorMemo)
    pinned = expected_seq is not None
    if pinned and memo.head.seq != expected_seq:
        memo.head.restart()
        yield from catch_up(engine, memo.head)
        if memo.head.seq != expected_seq:
            raise Conflict(source.stream, expected=expected_seq or 0, actual=memo.head.seq)
    keeping = Afterwards([remembered(engine, actor, [memo])])
    try:
        decision = yield from execute(engine, source, memo.head, loaded=pinned or memo.head.seq > 0, pinned=pinned)
    except Exception:
        yield keeping  # the state was brought back to what the log says
        raise
    yield keeping
    return decision


@seams.dispatching
def dispatch(engine: Engine, message: Message[Any], at: Any) -> Program[Message[Any]]:
    """Stores a message for the workers, now or later; one that is stored already stays as it is."""
    record = engine.codec.encode(message)
    if at is not None:
        yield Transact(engine.store.schedule([Scheduled(record, at)]))
        return message
    (outcome,), hooks = yield from appending(engine, [Entry(message.stream, (record,))])
    if isinstance(outcome, Conflict):
        raise outcome
    kept = outcome.records[0] if isinstance(outcome, Duplicate) else outcome[0]
    yield Afterwards(committed(engine, hooks, {kept.type}))
    return engine.codec.decode(kept)


@seams.appending
def append(
    engine: Engine, messages: Sequence[Message[Any]], stream: str, expected_seq: int | None
) -> Program[list[Message[Any]]]:
    """Stores messages in one stream as they are; a conflict or a duplicate is raised, and nothing is stored."""
    if not messages:
        return []
    records = engine.encode(messages)
    (outcome,), hooks = yield from appending(engine, [Entry(stream, records, expected_seq)])
    kept = _stored(outcome)
    yield Afterwards(committed(engine, hooks, {each.type for each in kept}))
    return stored(messages, kept)


def wait_for(engine: Engine, message_id: str, seconds: float) -> Program[None]:
    """Until every group that wants the message has handled it."""
    deadline = engine.clock.elapsed() + seconds
    with engine.notifier.listen() as listener:
        while waiting := (yield Transact(_waiting_for(engine, message_id), reading=True)):
            left = deadline - engine.clock.elapsed()
            if left <= 0:
                raise StillWaiting(message_id, waiting, seconds)
            yield Await(listener, min(left, LOOK_AGAIN), by_others=True)


def _waiting_for(engine: Engine, message_id: str) -> Op[Mapping[str, str]]:
    """The groups that have not handled a message, and in plain words why."""
    story = yield from engine.store.trace(message_id)
    record = next((record for record in story if record.id == message_id), None)
    if record is None:
        return (yield from _not_stored(engine, message_id))
    waiting: dict[str, str] = {}
    groups = {group.name: group for group in (yield from engine.store.groups())}
    shard = shard_of(record.stream, engine.store.shards)
    for reactor in engine.router:
        if record.type not in engine.types(reactor) or reactor.group in record.settled_by:
            continue
        group = groups[reactor.group]
        behind = next((s for s in (yield from engine.store.stragglers(group.name)) if s.stream == record.stream), None)
        come = (yield from engine.store.places(group.name))[shard].checkpoint
        if behind and behind.from_seq <= record.seq:
            why = "parked" if behind.parked else f"to be tried again at {behind.retry_at}"
            why = f"being handled by {behind.holder}" if behind.holder else why
            waiting[group.name] = f"stream {record.stream!r} is {why} since seq {behind.from_seq}: {behind.error}"
        elif max(group.start, come) < record.position:
            stopped = f"the group was stopped: {group.reason}"
            free = "nobody has come to it yet; is a worker running, or did anybody call drain()?"
            waiting[group.name] = stopped if group.status == "stopped" else free
    return waiting


def _not_stored(engine: Engine, message_id: str) -> Op[Mapping[str, str]]:
    for each in (yield from engine.store.scheduled([message_id])):
        return {"the schedule": f"it was set aside: {each.error}" if each.error else f"it is due at {each.at}"}
    return {"the log": "no message with this id is stored"}
