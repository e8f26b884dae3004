"""Actors decide (command → events), evolve (event → state) and react (event → next commands), one stream at a time."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from sourced.actions import Action, Actions, AfterCommit, Append, Batch, Schedule, Send, Sync
from sourced.clock import SystemClock
from sourced.codec import Codec, Record
from sourced.envelope import Message, Outgoing
from sourced.errors import NotKnown, Rejection
from sourced.fold import Fold, first_state, state_class
from sourced.handlers import Tables, collect, mentioned
from sourced.messages import Command, Event, Payload, Rejected, is_family, parse, snake
from sourced.reactor import Delivery, Memo, Reactor, Want

S = TypeVar("S")


class Decision(NamedTuple):
    """A command and the events that followed from it."""

    command: Message[Any]
    events: list[Message[Any]]


class Evolving(Reactor):
    """What actors and projectors share: a state per stream that messages are folded into."""

    roles: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[Tables] = Tables()
    made_of: ClassVar[Any] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.tables = collect(cls, cls.tables, cls.roles)
        cls.made_of = state_class(cls, Evolving)

    def initial(self, stream: str) -> Any:
        """The first state of a stream: by default the state class called with the stream's id."""
        return first_state(type(self).__qualname__, self.made_of, stream)

    def before_evolve(self, state: Any, message: Message[Any]) -> None:
        """Runs before each message that has an `@evolve` method."""

    @property
    def evolvers(self) -> Mapping[str, tuple[Callable[[Any, Any], Any], bool]]:
        return self._evolvers

    @functools.cached_property
    def _evolvers(self) -> Mapping[str, tuple[Callable[[Any, Any], Any], bool]]:
        return {
            name: self._evolver(handler.name, handler.envelope)
            for message, handler in self.tables.evolve.items()
            for name in message.__sourced__.names
        }

    def _evolver(self, name: str, envelope: bool) -> tuple[Callable[[Any, Any], Any], bool]:
        method = getattr(self, name)
        if type(self).before_evolve is Evolving.before_evolve:
            return method, envelope

        def hooked(state: Any, message: Message[Any]) -> Any:
            self.before_evolve(state, message)
            return method(state, message if envelope else message.payload)

        return hooked, True

    @functools.cached_property
    def reactions(self) -> Mapping[type[Payload], Any]:
        return self.tables.reactions()

    def messages(self) -> Iterable[type[Payload]]:
        tables = self.tables
        declared = (*tables.decide, *tables.evolve, *self.reactions)
        handlers = {h.name for table in (tables.decide, tables.evolve, self.reactions) for h in table.values()}
        named = (message for name in handlers for message in mentioned(getattr(self, name)))
        return dict.fromkeys((*declared, *(message for message in named if not is_family(message))))

    def react_to(self, state: Any, delivery: Delivery) -> Actions:
        """The commands a reaction yields, as actions; a coroutine of them when the reaction is async."""
        handler = self.reactions.get(type(delivery.message.payload))
        if handler is None:
            return ()
        where = f"{type(self).__qualname__}.{handler.name}"
        yielded = handler.call(self, state, delivery.message)
        if inspect.isawaitable(yielded) or isinstance(yielded, AsyncIterable):
            return self._sent_async(where, yielded, delivery)
        return self._sent(where, yielded, delivery)

    async def _sent_async(self, where: str, yielded: Any, delivery: Delivery) -> list[Action]:
        if inspect.isawaitable(yielded):
            return self._sent(where, await yielded, delivery)
        return self._sent(where, [each async for each in yielded], delivery)

    def _sent(self, where: str, yielded: Any, delivery: Delivery) -> list[Action]:
        now: list[Message[Any]] = []
        later: dict[datetime, list[Message[Any]]] = {}
        for outgoing in _each(where, yielded):
            if not isinstance(outgoing.payload, Command):
                raise TypeError(
                    f"{where} yielded {outgoing.payload!r}; a reaction yields commands or dispatch(command, …)"
                )
            at = outgoing.due(delivery.now)
            message = outgoing.following(delivery.message, delivery.now, producer=self.group)
            (now if at is None else later.setdefault(at, [])).append(message)
        sends: list[Action] = [Send(tuple(now))] if now else []
        return sends + [Schedule(tuple(messages), at) for at, messages in later.items()]

    def closing_with(self, state: Any, batch: Batch) -> Iterator[Action]:
        if batch.commands or batch.events:
            for name in self.tables.sync:
                yield Sync(functools.partial(getattr(self, name), state, batch))
            for name in self.tables.after_commit:
                yield AfterCommit(functools.partial(getattr(self, name), state, batch))


class Actor(Evolving, Generic[S]):
    """Subclass it as `class Cart(Actor[CartState])` and give it `@decide`, `@evolve` and `@react` methods."""

    roles = ("decide", "evolve", "react", "sync", "after_commit")

    @functools.cached_property
    def handles(self) -> tuple[type[Payload], ...]:  # type: ignore[override]
        return (*self.tables.decide, *self.reactions)

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


class Aggregate(Fold[S]):
    """One stream's actor: its state, how far it was read, and decisions made on it in memory."""

    __slots__ = ()
    owner: Actor[S]

    def decide(self, command: Command | Message[Any], *, now: datetime | None = None) -> Decision:
        """What would follow from a command: the events, applied to this state and stored nowhere."""
        source = command if isinstance(command, Message) else Message.new(command, stream=self.stream, now=now)
        before = copy.deepcopy(self.state), self.seq
        try:
            return Decision(source, self.follow(source, now or SystemClock().now()))
        except BaseException:
            self.state, self.seq = before  # a failed decision leaves nothing behind
            raise

    def follow(self, source: Message[Any], now: datetime) -> list[Message[Any]]:
        """The events that follow from a command, each applied as it is yielded. A failure leaves the state in doubt."""
        handler = self.owner.tables.decide.get(type(source.payload))
        name = type(self.owner).__qualname__
        if handler is None:
            raise NotKnown(f"{name} decides no {type(source.payload).__qualname__}; it has no @decide method for it")
        where = f"{name}.{handler.name}"
        decider = handler.call(self.owner, self.state, source)
        events: list[Message[Any]] = []
        if decider is None:
            return events
        if not isinstance(decider, Generator):
            raise TypeError(f"{where} returned {decider!r}; a decider yields its events")
        try:
            payload = next(decider)
            while True:
                if not isinstance(payload, Event):
                    raise TypeError(f"{where} yielded {payload!r}; a decider yields events")
                event = source.follow(payload, stream=self.stream, seq=self.seq + 1, now=now)
                self.apply(event)
                self.seq += 1
                events.append(event)
                payload = decider.send(self.state)
        except StopIteration as end:
            if end.value is not None:
                raise TypeError(
                    f"{where} returned {end.value!r}; a decider yields its events and returns nothing"
                ) from None
        finally:
            decider.close()
        return events

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Commands as methods: `cart.add_item(product_id=…)` decides `AddItem`."""
        if not name.startswith("_"):
            for cls in type(self.owner).decides():
                if name == snake(cls.__name__):
                    return functools.partial(self._command, cls)
        raise AttributeError(f"{type(self.owner).__qualname__} has no attribute and decides no command named {name!r}")

    def _command(self, cls: type[Payload], *args: Any, **fields: Any) -> Any:
        named = dict(zip(cls.__struct_fields__, args, strict=False)) | fields
        return self._run(parse(cls, named))

    def _run(self, command: Any) -> Any:
        return self.decide(command)


class ActorMemo(Memo):
    """An actor between rounds: `head`, as of the stream's end, to decide on; `trail`, as of an event, to react with.

    States change in place, so one that has moved on cannot go back: while reactions lag behind decisions there are two.
    """

    keep = True

    def __init__(self, actor: Actor[Any], stream: str) -> None:
        super().__init__(stream)
        self.actor = actor
        self.head: Aggregate[Any] = Aggregate(actor, stream)
        self.trail: Fold[Any] | None = None
        self._reader: Fold[Any] = self.head

    def wants(self, deliveries: Sequence[Delivery]) -> Iterable[Want]:
        live = [d.message for d in deliveries if not d.replaying]
        answers = [m.seq for m in live if type(m.payload) not in self.actor.tables.decide]
        deciding = len(answers) < len(live) or bool(self.batch.events)
        if deciding:
            yield Want(self.stream, self.head.seq, None, self._take_head)
        if answers:
            self._reader = self._reading_from(answers[0], deciding)
            if self._reader.seq < answers[-1]:
                yield Want(self.stream, self._reader.seq, answers[-1], self._reader.hold)

    def _reading_from(self, seq: int, deciding: bool) -> Fold[Any]:
        if not deciding and self.head.seq <= seq:
            return self.head
        if self.trail is None or self.trail.seq > seq:
            self.trail = Fold(self.actor, self.stream)
        return self.trail

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
        return Append(tuple(events), place)

    def restart(self) -> None:
        super().restart()
        self.head.restart()
        self.trail = None


def _rejected(actor: Actor[Any], source: Message[Any], rejection: Rejection) -> Rejected:
    details = [fact if isinstance(fact, str | int | float | bool | None) else str(fact) for fact in rejection.details]
    reason = snake(type(rejection).__name__)
    return Rejected(actor.group, source.type, source.id, reason, str(rejection), details)


def _each(where: str, yielded: Any) -> Iterator[Outgoing]:
    if yielded is None:
        return
    if not isinstance(yielded, Generator | list):
        raise TypeError(f"{where} returned {yielded!r}; a reaction yields its commands")
    for each in yielded:
        if isinstance(each, Outgoing):
            yield each
        elif isinstance(each, Payload):
            yield Outgoing(each)
        else:
            raise TypeError(f"{where} yielded {each!r}; a reaction yields commands or dispatch(command, …)")
