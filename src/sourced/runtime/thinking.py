"""What a message sets off among some reactors, thought through without a lock: they read, decide and react."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sourced.actions import Ack, Action, AfterCommit, Append, Schedule, Send, Sync
from sourced.actor import Actor, ActorMemo
from sourced.codec import Record
from sourced.envelope import Message
from sourced.errors import Conflict, Endless, NotKnown
from sourced.fold import Fold
from sourced.messages import Command
from sourced.ops import Op
from sourced.projector import Projector
from sourced.reactor import Delivery, Memo, Reactor
from sourced.runtime.engine import Engine
from sourced.runtime.planned import Planned, Tail
from sourced.runtime.programs import Invoke, Program, Transact, Work
from sourced.runtime.rounds.effects import VERDICTS, caused
from sourced.runtime.rounds.rows import Rows
from sourced.store import Range, Scheduled


class Thinking:
    """Everything a message sets off, before any of it is stored."""

    def __init__(self, engine: Engine, reactors: Sequence[Reactor], *, most: int, keep_commands: bool) -> None:
        self.engine = engine
        self.reactors = {reactor: engine.types(reactor) for reactor in reactors}
        self.most = most
        self.keep_commands = keep_commands
        self.queue: deque[Planned] = deque()
        self.order: list[Planned] = []
        self.tails: dict[str, Tail] = {}
        self.memos: dict[tuple[Reactor, str], Memo] = {}
        self.rows = {each: Rows(each, engine.store) for each in reactors if isinstance(each, Projector)}
        self.lagging: set[tuple[Reactor, str]] = set()
        self.scheduled: list[Scheduled] = []
        self.later: list[Message[Any]] = []
        self.syncs: list[Sync] = []
        self.hooks: list[AfterCommit] = []
        self.root: Planned

    def think(self, source: Message[Any], expected_seq: int | None) -> Program[None]:
        """Breadth first: what a message sets off comes after everything that was set off before it."""
        self.root = self.add(source, by="")
        if not self.root.wanted:
            names = ", ".join(reactor.group for reactor in self.reactors)
            raise NotKnown(f"none of {names} handles {source.type}; name the reactor that does")
        if expected_seq is not None:
            yield from self.pin(source.stream, expected_seq)
        handled: list[str] = []
        while self.queue:
            planned = self.queue.popleft()
            if len(handled) == self.most:
                raise Endless(self.most, handled[-5:])
            handled.append(planned.message.type)
            for reactor in self.takers(planned.message):
                yield from self.hand_over(reactor, planned)

    def pin(self, stream: str, expected_seq: int) -> Program[None]:
        tail = yield from self.opened(stream, 0)
        if tail.head != expected_seq:
            raise Conflict(stream, expected=expected_seq, actual=tail.head or 0)
        tail.relied_on(None)

    def add(self, message: Message[Any], by: str) -> Planned:
        wanted = any(True for _ in self.takers(message))
        kept = self.keep_commands or not (wanted and isinstance(message.payload, Command))
        planned = Planned(message, self.engine.codec.encode(message), by, wanted=wanted, kept=kept)
        if kept:
            self.order.append(planned)
            self.tails.setdefault(message.stream, Tail(message.stream)).add(planned)
        if wanted:
            self.queue.append(planned)
        return planned

    def takers(self, message: Message[Any]) -> Iterator[Reactor]:
        return (reactor for reactor, types in self.reactors.items() if message.type in types)

    def hand_over(self, reactor: Reactor, planned: Planned) -> Program[None]:
        stream = planned.message.stream
        if isinstance(reactor, Projector) and not (yield from self.up_to_date(reactor, stream)):
            return  # in order, by the workers
        memo = yield from self.memo(reactor, stream)
        if isinstance(memo, ActorMemo) and type(planned.message.payload) in memo.actor.tables.decide:
            yield from self.decide(memo, planned)
        else:
            yield from self.react(reactor, memo, planned)

    def up_to_date(self, projector: Projector[Any], stream: str) -> Program[bool]:
        place = (projector, stream)
        if place not in self.memos and place not in self.lagging:
            lag: bool = yield Transact(lags(self.engine, projector, stream), reading=True)
            self.lagging |= {place} if lag else set()
        return place not in self.lagging

    def memo(self, reactor: Reactor, stream: str) -> Program[Memo]:
        """What the reactor remembers of the stream, which is opened with it."""
        memo = self.memos.get((reactor, stream))
        if memo is None:
            memo = self.memos[reactor, stream] = self.engine.memos.take(reactor, stream)
            if memo.blank:
                op = self.engine.store.snapshots(reactor.group, [stream])
                memo.begin_with((yield Transact(op, reading=True)).get(stream))
            if rows := self.rows_of(reactor):
                rows.lend(memo)
            head = memo.head.seq if isinstance(memo, ActorMemo) else 0
            tail = yield from self.opened(stream, head)
            if head > (tail.head or 0):  # somebody was here since the stream was looked at
                memo = self.memos[reactor, stream] = reactor.memo(stream)
        return memo

    def rows_of(self, reactor: Reactor) -> Rows | None:
        return self.rows.get(reactor) if isinstance(reactor, Projector) else None

    def opened(self, stream: str, after: int) -> Program[Tail]:
        tail = self.tails.setdefault(stream, Tail(stream))
        if tail.head is None:
            (records,) = yield Transact(self.engine.store.histories([Range(stream, after)]), reading=True)
            tail.open(after, records)
        return tail

    def decide(self, memo: ActorMemo, command: Planned) -> Program[None]:
        """As in the foreground: a rejection reaches the caller, and then nothing at all is stored."""
        tail, head, actor = self.tails[memo.stream], memo.head, memo.actor
        head.feed((yield from self.records(tail, head.seq, None)), self.engine.codec)
        if actor.reactions and (memo.trail is None or not tail.after <= memo.trail.seq <= head.seq):
            memo.trail = Fold(actor, memo.stream)
            memo.trail.resume(copy.deepcopy(head.state), head.seq)
        events = head.follow(command.message, self.engine.clock.now())
        memo.batch.commands.append(command.message)
        memo.batch.events.extend(events)
        tail.relied_on(actor.heeds)
        command.settled[actor.group] = None
        for event in events:
            self.add(event, by=actor.group)

    def react(self, reactor: Reactor, memo: Memo, planned: Planned) -> Program[None]:
        delivery = Delivery(planned.message, False, self.engine.clock.now(), memo)
        for want in list(memo.wants([delivery])):
            tail = yield from self.opened(want.stream, want.after)
            want.take((yield from self.records(tail, want.after, want.upto)), self.engine.codec)
            tail.relied_on(reactor.heeds if isinstance(reactor, Actor) else None)
        if rows := self.rows_of(reactor):
            yield Transact(rows.bring([(memo, [delivery])]), reading=True)
        answer = Answer(reactor, delivery)
        yield Invoke([answer.work()])
        actions = answer.actions()
        if any(isinstance(action, VERDICTS) for action in actions):
            return  # not now: the workers will hear the same from it, and wait
        planned.settled[reactor.group] = None
        for action in actions:
            yield from self.carry(action, planned.message, reactor.group)

    def records(self, tail: Tail, after: int, upto: int | None) -> Program[list[Record]]:
        """A piece of a stream as it will be: what is in the log, then what is planned."""
        assert tail.head is not None
        last = tail.end if upto is None else upto
        stored = tail.read
        if after < tail.after and after < last:
            piece = Range(tail.stream, after, min(last, tail.head))
            (stored,) = yield Transact(self.engine.store.histories([piece]), reading=True)
        there = (*stored, *(each.record for each in tail.planned))
        return [record for record in there if after < record.seq <= last]

    def carry(self, action: Action, source: Message[Any], by: str) -> Program[None]:
        if isinstance(action, Append):
            if action.messages:
                tail = yield from self.opened(action.messages[0].stream, 0)
                if tail.end != action.expected_seq:
                    raise Conflict(tail.stream, expected=action.expected_seq, actual=tail.end)
                tail.relied_on(action.heeds)
                self.send(action.messages, source, by)
        elif isinstance(action, Send):
            self.send(action.messages, source, by)
        elif isinstance(action, Schedule):
            messages = [each.detached() for each in caused(source, action.messages)]
            self.later += messages
            self.scheduled += [Scheduled(record, action.at) for record in self.engine.encode(messages)]
        elif isinstance(action, Sync):
            self.syncs.append(action)
        elif isinstance(action, AfterCommit):
            self.hooks.append(action)
        elif not isinstance(action, Ack) or action.message.seq > source.seq:
            raise TypeError(f"{by}: a unit cannot carry out {action!r}; it handles one message after the other")

    def send(self, messages: Iterable[Message[Any]], source: Message[Any], by: str) -> None:
        for message in caused(source, messages):
            self.add(message.detached(), by)


class Answer:
    """What a reactor says to one message."""

    def __init__(self, reactor: Reactor, delivery: Delivery) -> None:
        self.reactor = reactor
        self.delivery = delivery
        self._actions: list[Action] = []
        self._error: Exception | None = None

    def work(self) -> Work:
        try:
            reactor = self.reactor
            batched = reactor.in_batches
            actions: Any = reactor.handle_batch([self.delivery]) if batched else reactor.handle(self.delivery)
            if inspect.isawaitable(actions):
                actions = yield actions
            self._actions = list(actions or ())
        except Exception as error:
            self._error = error

    def actions(self) -> list[Action]:
        if self._error is not None:
            raise self._error
        return self._actions


def lags(engine: Engine, projector: Projector[Any], stream: str) -> Op[bool]:
    """Whether a group has anything of the stream still to do, so that its order wants that done first."""
    group, behind = yield from engine.store.hold_group(projector.group, [stream], engine.types(projector))
    return bool(behind) or group.status != "active"
