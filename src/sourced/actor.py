"""Actors decide (command → events), evolve (event → state) and react (event → next commands), one stream at a time."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import datetime
from inspect import signature
from typing import Any, Generic, NamedTuple, TypeVar

from sourced.actions import Action, Actions, Append
from sourced.clock import SystemClock
from sourced.codec import Codec, Record
from sourced.envelope import Message
from sourced.errors import DifferentStream, NotKnown, Rejection
from sourced.evolving import Evolving
from sourced.fold import Fold
from sourced.messages import Command, Event, Payload, Rejected, check, detached, parse, snake
from sourced.purity import here
from sourced.reactor import Delivery, Memo, Want
from sourced.snapshots import Snapshot, Snapshots, snapshots_of

S = TypeVar("S")


class Decision(NamedTuple):
    """A command and the events that followed from it."""

    command: Message[Any]
    events: list[Message[Any]]


class Actor(Evolving, Generic[S]):
    """Subclass it as `class Cart(Actor[CartState])` and give it `@decide`, `@evolve` and `@react` methods."""

    roles = ("decide", "evolve", "react", "sync", "after_commit")

    snapshot_every = 0  # write the state down whenever the stream crosses a multiple of this; 0: never
    snapshots_kept = 1
    snapshot_version = 1  # raise it when `@evolve` methods make another state of the same messages

    @functools.cached_property
    def snapshots(self) -> Snapshots | None:
        every, keep, version = self.snapshot_every, self.snapshots_kept, self.snapshot_version
        return snapshots_of(type(self).__qualname__, self.made_of, every=every, keep=keep, version=version)

    @functools.cached_property
    def handles(self) -> tuple[type[Payload], ...]:  # type: ignore[override]
        return (*self.tables.decide, *self.reactions)

    @functools.cached_property
    def heeds(self) -> frozenset[str] | None:
        """What may not come between a state and a decision made on it; anything, when states are made of envelopes."""
        if any(envelope for _, envelope in self.evolvers.values()):
            return None
        return frozenset(self.evolvers)

    @functools.cached_property
    def checked(self) -> bool:
        """Whether nothing but events comes of a decision: made on an outdated state, it is refused by the append."""
        return self.heeds is not None and not (self.tables.sync or self.tables.after_commit)

    @classmethod
    def decides(cls) -> tuple[type[Payload], ...]:
        return tuple(cls.tables.decide)

    @classmethod
    def blank(cls, stream: str) -> Aggregate[S]:
        """A new one in memory, with nothing behind it: for tests, and to think with."""
        return Aggregate(cls(), stream)

    def memo(self, stream: str) -> ActorMemo:
        return ActorMemo(self, stream)

    def handle(self, delivery: Delivery) -> Actions:
        memo = delivery.memo
        assert isinstance(memo, ActorMemo)
        if delivery.replaying:
            return ()  # decided and reacted to before; a reset repeats neither
        if type(delivery.message.payload) in self.tables.decide:
            return (memo.decide(delivery),)
        return self.react_to(memo.as_of(delivery.message.seq), delivery)

    def closing(self, memo: Memo) -> Iterable[Action]:
        assert isinstance(memo, ActorMemo)
        return self.closing_with(memo.head.state, memo.batch)


class Deciding(Fold[S]):
    """A fold that decisions are made on."""

    __slots__ = ()
    owner: Actor[S]

    def follow(self, source: Message[Any], now: datetime) -> list[Message[Any]]:
        """The events that follow from a command, each applied as it is yielded. A failure leaves the state in doubt."""
        outer, here.deciding = here.deciding, type(self.owner).__qualname__
        try:
            return self._follow(source, now)
        finally:
            here.deciding = outer

    def _follow(self, source: Message[Any], now: datetime) -> list[Message[Any]]:
        handler = self.owner.tables.decide.get(type(source.payload))
        name = type(self.owner).__qualname__
        if handler is None:
            raise NotKnown(f"{name} decides no {type(source.payload).__qualname__}; it has no @decide method for it")
        where = f"{name}.{handler.name}"
        decider = handler.call(self.owner, self.state, source.detached())
        events: list[Message[Any]] = []
        if decider is None:
            return events
        if not isinstance(decider, Generator):
            raise TypeError(f"{where} returned {decider!r}; a decider yields its events")
        try:
            payload = _next(where, decider, None)
            while payload is not _END:
                if not isinstance(payload, Event):
                    raise TypeError(f"{where} yielded {payload!r}; a decider yields events")
                self.seq += 1  # before the event is applied: if that fails, this says that the state was touched
                event = source.follow(detached(payload), stream=self.stream, seq=self.seq, now=now)
                self.apply(event)
                events.append(event)
                payload = _next(where, decider, self.state)
        finally:
            decider.close()
        return events


class Aggregate(Generic[S]):
    """One stream's actor: its state, how far it was read, and decisions made on it in memory.

    Every command is a method too, so it has few names of its own.
    """

    def __init__(self, actor: Actor[S], stream: str) -> None:
        self._fold: Deciding[S] = Deciding(actor, stream)

    @property
    def stream(self) -> str:
        return self._fold.stream

    @property
    def seq(self) -> int:
        """The seq of the last message in the state."""
        return self._fold.seq

    @property
    def state(self) -> S:
        return self._fold.state

    def evolve(self, *messages: Message[Any]) -> S:
        """The state with these messages applied; they must follow what it is made of."""
        return self._fold.evolve(*messages)

    def decide(self, command: Command | Message[Command], *, now: datetime | None = None) -> Decision:
        """What would follow from a command: the events, applied to this state and stored nowhere."""
        fold = self._fold
        source = command if isinstance(command, Message) else Message.new(command, stream=fold.stream, now=now)
        if source.stream != fold.stream:
            raise DifferentStream(fold.stream, source.stream)
        check(source.payload)
        source = source.detached()
        before = copy.deepcopy(fold.state), fold.seq
        try:
            events = fold.follow(source, now or SystemClock().now())
            for event in events:
                check(event.payload)
            return Decision(source, events)
        except BaseException:
            fold.state, fold.seq = before  # a failed decision leaves nothing behind
            raise

    def __repr__(self) -> str:
        return f"<{type(self._fold.owner).__qualname__} {self.stream!r} at seq {self.seq}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Commands as methods: `cart.add_item(product_id=…)` decides `AddItem`."""
        if name.startswith("_"):
            raise AttributeError(name)  # whoever copies or pickles asks before there is an owner
        commands = {snake(cls.__name__): cls for cls in type(self._fold.owner).decides()}
        if name in commands:
            return functools.partial(self._command, commands[name])
        raise AttributeError(
            f"{type(self._fold.owner).__qualname__} has no attribute and decides no command named {name!r}; "
            f"it decides: {', '.join(commands) or 'none'}"
        )

    def _command(self, cls: type[Payload], /, *args: Any, **fields: Any) -> Any:
        try:
            given = signature(cls).bind_partial(*args, **fields).arguments
        except TypeError as error:
            raise TypeError(f"{snake(cls.__name__)}: {error}") from None
        encoded = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
        return self._run(parse(cls, {encoded[name]: value for name, value in given.items()}))

    def _run(self, command: Any) -> Any:
        return self.decide(command)


class ActorMemo(Memo):
    """An actor between rounds: `head`, as of the stream's end, to decide on; `trail`, as of an event, to react with.

    States change in place, so one that has moved on cannot go back: while reactions lag behind decisions there are two.
    """

    __slots__ = ("_reader", "_snapshot", "actor", "head", "trail")

    keep = True

    def __init__(self, actor: Actor[Any], stream: str) -> None:
        super().__init__(stream)
        self.actor = actor
        self.head: Deciding[Any] = Deciding(actor, stream)
        self.trail: Fold[Any] | None = None
        self._reader: Fold[Any] = self.head
        self._snapshot: Snapshot | None = None

    def wants(self, deliveries: Sequence[Delivery]) -> Iterable[Want]:
        decides, deciding = self.actor.tables.decide, bool(self.batch.commands)
        answers: list[int] = []
        for each in deliveries:
            if not each.replaying:
                if type(each.message.payload) in decides:
                    deciding = True
                else:
                    answers.append(each.message.seq)
        if deciding and not self._follow(deliveries):
            upto = self.batch.events[0].seq - 1 if self.batch.events else None  # what comes later, others stored since
            yield Want(self.stream, self.head.seq, upto, self._take_head)
        if answers:
            self._reader = self._reading_from(answers[0], deciding)
            if self._reader.seq < answers[-1]:
                yield Want(self.stream, self._reader.seq, answers[-1], self._reader.hold)

    def _follow(self, deliveries: Sequence[Delivery]) -> bool:
        """Whether these are all that came since, as far as is known here: then there is nothing to read for them."""
        heeds, decides, seq = self.actor.heeds or (), self.actor.tables.decide, self.head.seq
        if not (self.trusting and self.actor.checked) or self.batch.commands:
            return False
        for each in deliveries:
            message, seq = each.message, seq + 1
            if message.seq != seq or type(message.payload) not in decides or message.type in heeds or each.replaying:
                return False
        self.head.seq = seq
        return True

    def _reading_from(self, seq: int, deciding: bool) -> Fold[Any]:
        if not deciding and self.head.seq <= seq:
            return self.head
        if self.trail is None or self.trail.seq > seq:
            self.trail = Fold(self.actor, self.stream)
            resume(self.trail, self.actor.snapshots, self._snapshot, seq)
        return self.trail

    @property
    def blank(self) -> bool:
        """It has read nothing yet, and a snapshot would save it from reading everything."""
        return self.head.seq == 0 and self.actor.snapshots is not None

    def begin_with(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot
        resume(self.head, self.actor.snapshots, snapshot, self.batch.events[0].seq - 1 if self.batch.events else None)

    def snapshot(self) -> tuple[Snapshot, int] | None:
        """The head's state, if the batch has crossed a place where it is to be written down."""
        if self.tainted or not self.batch.events:
            return None
        return snapshot_of(self.head, self.batch.events[0].seq - 1)

    def _take_head(self, records: Sequence[Record], codec: Codec) -> None:
        self.head.feed(records, codec)
        for event in self.batch.events:
            if event.seq > self.head.seq:
                self.head.evolve(event)

    def as_of(self, seq: int) -> Any:
        return self._reader.as_of(seq)

    def decide(self, delivery: Delivery) -> Append:
        """The events that follow, or the rejection, as one append at the head's place."""
        head, source, place = self.head, delivery.message, self.head.seq
        try:
            events = head.follow(source, delivery.now)
        except Rejection as rejection:
            self.tainted, head.seq = head.seq > place, place
            rejected = _rejected(self.actor, source, rejection)
            events = [source.follow(rejected, stream=self.stream, seq=place + 1, now=delivery.now)]
            if not self.tainted:
                head.evolve(*events)
        except BaseException:
            self.tainted, head.seq = True, place
            raise
        self.batch.commands.append(source)
        self.batch.events.extend(events)
        return Append(tuple(events), place, self.actor.heeds)

    def placed(self, records: Sequence[Record]) -> None:
        super().placed(records)
        if records[-1].stream == self.stream:
            self.head.seq = records[-1].seq

    def restart(self) -> None:
        super().restart()
        self.head.restart()
        self.trail = None


def resume(fold: Fold[Any], policy: Snapshots | None, snapshot: Snapshot | None, upto: int | None) -> None:
    """Lets a fold that has read nothing begin with a snapshot, if it is of a place it may look at."""
    if policy is None or snapshot is None or (upto is not None and snapshot.seq > upto):
        return
    state = policy.decode(snapshot.state, snapshot.fingerprint)
    if state is not None:
        fold.resume(state, snapshot.seq)


def snapshot_of(fold: Deciding[Any], before: int) -> tuple[Snapshot, int] | None:
    """The fold as a snapshot, if one is due since its stream was at `before`; and how many of them are to stay."""
    policy = fold.owner.snapshots
    if policy is None or not policy.due(before, fold.seq):
        return None
    state = policy.encode(fold.state)
    return Snapshot(fold.owner.group, fold.stream, fold.seq, state, policy.fingerprint), policy.keep


def _next(where: str, decider: Generator[Any, Any, Any], state: Any) -> Any:
    """What the decider yields next. Its end is told apart from a `StopIteration` that an @evolve method lets slip."""
    try:
        return decider.send(state)
    except StopIteration as end:
        if end.value is not None:
            raise TypeError(
                f"{where} returned {end.value!r}; a decider yields its events and returns nothing"
            ) from None
        return _END


_END: Any = object()


def _rejected(actor: Actor[Any], source: Message[Any], rejection: Rejection) -> Rejected:
    details = [fact if isinstance(fact, str | int | float | bool | None) else str(fact) for fact in rejection.details]
    reason = snake(type(rejection).__name__)
    return Rejected(actor.group, source.type, source.id, reason, str(rejection), details)
