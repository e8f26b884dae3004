"""What every program has at hand: the store, the codec, the clock, who handles what, what is remembered of streams."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sourced.actions import AfterCommit, Batch, Policy
from sourced.actor import Actor
from sourced.clock import Clock
from sourced.codec import Codec, Record
from sourced.envelope import Message
from sourced.errors import DefinitionError, NotKnown, UnknownGroup
from sourced.evolving import Evolving
from sourced.forks import begin_anew_in_children
from sourced.messages import Event, Payload, is_family
from sourced.notifier import Notifier, Types
from sourced.ops import Op
from sourced.policy import check_policy
from sourced.projector import Projector
from sourced.reactor import Memo, Reactor
from sourced.runtime.programs import Program, Transact, Turn, Work
from sourced.snapshots import Snapshot
from sourced.store import Store
from sourced.telemetry import Telemetry

log = logging.getLogger("sourced")


class Router:
    """Who handles what."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._reactors: dict[str, Reactor] = {}
        self._deciders: dict[type[Payload], Actor[Any]] = {}
        self.starts: dict[str, Any] = {}  # group → "beginning", "now" or a time
        self.inline: dict[str, Projector[Any]] = {}  # group → those that are projected with the append
        self._inline_by_type: dict[str, list[Projector[Any]]] = {}

    def add(self, thing: type[Reactor] | Reactor, *, inline: bool = False) -> None:
        """Takes a reactor, or a class to make one of; the same again changes nothing."""
        if inline and not (issubclass(thing, Projector) if isinstance(thing, type) else isinstance(thing, Projector)):
            raise DefinitionError(f"register(inline=True): expected projectors, found {_where(thing)}")
        known = self._reactors.get(thing.group)
        if known is not None and (thing is known or thing is type(known)):
            if inline != (thing.group in self.inline):
                raise DefinitionError(
                    f"{_where(known)} is registered already, {'not ' * inline}inline; say it once, and in one way"
                )
            return
        reactor = _made(thing) if isinstance(thing, type) else thing
        if known is not None:
            raise DefinitionError(
                f"two reactors share the group {reactor.group!r}: {_where(known)} and {_where(reactor)}; "
                f"give one of them a name of its own with group=…"
            )
        decided: Iterable[type[Payload]] = reactor.decides() if isinstance(reactor, Actor) else ()
        for command in decided:
            if command in self._deciders:
                raise DefinitionError(
                    f"{command.__qualname__} is decided by {_where(self._deciders[command])} and by {_where(reactor)}; "
                    f"a command has one actor"
                )
        if not reactor.handles:
            raise DefinitionError(f"{_where(reactor)} handles no messages; give it methods or `handles`")
        if type(reactor).handle is Reactor.handle and not reactor.in_batches:
            raise DefinitionError(f"{_where(reactor)}: expected a method handle(self, delivery)")
        if isinstance(reactor, Evolving) and (late := next(reactor.tables.left_out(), None)):
            raise DefinitionError(
                f"{_where(reactor)} evolves by all messages of a family, but {late.__qualname__} was made after it; "
                f"import it before"
            )
        family = next((message for message in reactor.handles if is_family(message)), None)
        if family is not None:
            raise DefinitionError(
                f"{_where(reactor)} handles the family {family.__qualname__}; name each message of it"
            )
        if reactor.errors is not None:
            check_policy(f"{_where(reactor)}.errors", reactor.errors)
        if isinstance(reactor, Actor):
            _ = reactor.snapshots  # refuses a policy that cannot be carried out
        start = _pinned(reactor)
        self._codec.learn(*reactor.messages())
        self.starts[reactor.group] = start
        self._reactors[reactor.group] = reactor
        if inline and isinstance(reactor, Projector):
            self.inline[reactor.group] = reactor
            for name in types_of(reactor):
                self._inline_by_type[name] = [*self._inline_by_type.get(name, ()), reactor]
        for command in decided:
            assert isinstance(reactor, Actor)
            self._deciders[command] = reactor

    def __iter__(self) -> Iterator[Reactor]:
        return iter(tuple(self._reactors.values()))

    def inline_for(self, records: Iterable[Record], *, by: str = "") -> dict[Projector[Any], list[Record]]:
        """Who projects any of these with their append, and which; what he has settled already he does not."""
        wanted: dict[Projector[Any], list[Record]] = {}
        if self.inline:
            for record in records:
                for projector in self._inline_by_type.get(record.type, ()):
                    if projector.group != by and projector.group not in record.settled_by:
                        wanted.setdefault(projector, []).append(record)
        return wanted

    def group(self, reactor: str | type[Reactor] | Reactor) -> Reactor:
        """A registered reactor by its group's name, its class or itself."""
        name = reactor if isinstance(reactor, str) else reactor.group
        if name not in self._reactors:
            raise UnknownGroup(name, tuple(self._reactors))
        return self._reactors[name]

    def actor(self, cls: type[Actor[Any]]) -> Actor[Any]:
        if not (isinstance(cls, type) and issubclass(cls, Actor)):
            raise NotKnown(f"expected the class of a registered actor, found {cls!r}")
        for reactor in self._reactors.values():
            if type(reactor) is cls:
                return reactor
        raise NotKnown(f"{cls.__qualname__} is not registered here; call app.register({cls.__qualname__}) first")

    def decider(self, command: type[Payload]) -> Actor[Any]:
        actor = self._deciders.get(command)
        if actor is None:
            known = ", ".join(sorted(each.__qualname__ for each in self._deciders)) or "none"
            hint = "register the actor with a @decide method for it"
            if issubclass(command, Event):
                hint = "an event is nobody's to decide: store it with app.append(…) or app.dispatch(…)"
            raise NotKnown(f"no registered actor decides {command.__qualname__}; {hint}; decided here are: {known}")
        return actor


class Memos:
    """What reactors remember of the streams used last. A memo is taken out to be used: two never share one.

    What nobody has used for a while is forgotten, as is the one used longest ago when there are too many.
    """

    def __init__(self, capacity: int, clock: Clock, idle: timedelta) -> None:
        self._capacity = capacity
        self._now = clock.now
        self._idle = idle
        self.forked()
        begin_anew_in_children(self)

    def forked(self) -> None:
        self._memos: OrderedDict[tuple[str, str], tuple[Memo, datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._memos)

    def take(self, reactor: Reactor, stream: str) -> Memo:
        kept = self._memos.pop((reactor.group, stream), None)
        return kept[0] if kept else reactor.memo(stream)

    def keep(self, reactor: Reactor, *memos: Memo) -> None:
        kept = [memo for memo in memos if memo.keep and not memo.tainted and self._capacity]
        if not kept:
            return
        now = self._now()
        for memo in kept:
            if memo.batch.commands or memo.batch.events:
                memo.batch = Batch(memo.stream)
        with self._lock:
            for memo in kept:
                self._memos[reactor.group, memo.stream] = memo, now
            while len(self._memos) > self._capacity:
                self._memos.popitem(last=False)
            self._passivate(now - self._idle)

    def passivate(self) -> None:
        """Forgets what nobody has used for a while."""
        with self._lock:
            self._passivate(self._now() - self._idle)

    def _passivate(self, last_used: datetime) -> None:
        """The first ones: whoever is used becomes the last."""
        while self._memos and next(iter(self._memos.values()))[1] < last_used:
            self._memos.popitem(last=False)

    def forget(self, reactor: Reactor) -> None:
        """Everything about a group, after it was reset."""
        with self._lock:
            for key in [key for key in self._memos if key[0] == reactor.group]:
                del self._memos[key]


class Breadth:
    """How many shards the next round of a group takes: few where each has much to do, so that few streams share it.

    A stream costs a round more than a message does: its history is read, its row is loaded and saved. Handlers that
    have something awaited are another matter: the more streams there are, the more goes on at a time.
    """

    def __init__(self) -> None:
        self._most: int | None = None

    def within(self, most: int | None) -> int | None:
        return most if self._most is None else min(self._most, most or self._most)

    def learn(self, shards: int, found: int, limit: int) -> None:
        """From a round: it took so many shards, and found so many messages of as many as it may have."""
        room = max(1, limit // shards) * shards
        if found >= room * 0.9:
            self._most = max(1, shards // 2)
        elif self._most is not None and found < room / 2:
            self._most = shards * 2

    def reset(self) -> None:
        self._most = None


@dataclass
class Engine:
    """The one object that programs are given."""

    store: Store
    codec: Codec
    clock: Clock
    notifier: Notifier
    errors: Policy
    router: Router
    memos: Memos
    batch: int = 500  # messages a round
    tries: int = 5  # how often a foreground decision is made anew on a conflict
    lease: timedelta = timedelta(seconds=30)
    started: set[str] = field(default_factory=set)  # groups the store knows of
    breadths: dict[str, Breadth] = field(default_factory=lambda: defaultdict(Breadth))
    _all_known: int = 0
    telemetry: Telemetry = field(default_factory=Telemetry)
    introducing: Turn = field(default_factory=Turn)  # of those it does not know

    def unknown_groups(self) -> list[tuple[str, Any]]:
        """Registered here, and not yet known to the store."""
        starts = self.router.starts
        if self._all_known == len(starts):
            return []
        unknown = [(name, start) for name, start in starts.items() if name not in self.started]
        if not unknown:
            self._all_known = len(starts)  # which only grow, both
        return unknown

    def encode(self, messages: Iterable[Message[Any]], settled_by: tuple[str, ...] = ()) -> tuple[Record, ...]:
        encode = self.codec.encode
        return tuple([encode(message, settled_by) for message in messages])

    def types(self, reactor: Reactor) -> frozenset[str]:
        return types_of(reactor)


def types_of(reactor: Reactor) -> frozenset[str]:
    """The names that what it handles is stored under."""
    return frozenset(name for message in reactor.handles for name in message.__sourced__.names)


def _made(cls: type[Reactor]) -> Reactor:
    try:
        return cls()
    except TypeError as error:
        name = cls.__qualname__
        raise DefinitionError(
            f"{name}() failed: {error}; register one that you made: app.register({name}(…))"
        ) from error


def _pinned(reactor: Reactor) -> Any:
    """Where a reactor starts, asked once, when it is registered."""
    wanted = reactor.start_from() if callable(reactor.start_from) else reactor.start_from
    if wanted in ("beginning", "now") or (isinstance(wanted, datetime) and wanted.tzinfo):
        return wanted
    raise DefinitionError(
        f"{_where(reactor)}.start_from: expected 'beginning', 'now' or a time with a zone, found {wanted!r}"
    )


def committed(engine: Engine, hooks: Iterable[AfterCommit], types: Types = None) -> list[Work]:
    """What follows a commit: whoever waits is told, then the hooks; one that fails is logged, the data is safe."""
    return [_notify(engine, types), *map(_guarded, hooks)]


def _notify(engine: Engine, types: Types) -> Work:
    try:
        engine.notifier.notify(types)
    except Exception:
        log.exception("nobody was woken up; what was committed is found when they next look")
    yield from ()


def remembered(engine: Engine, reactor: Reactor, memos: Iterable[Memo]) -> Work:
    """Keeps states for the next time, once what they are made of is durable."""
    engine.memos.keep(reactor, *memos)
    yield from ()


def write_down(engine: Engine, due: Iterable[tuple[Snapshot, int]]) -> Program[None]:
    """Stores snapshots, each with how many of its stream stay; when that fails, all it costs is a longer replay."""
    snapshots = list(due)
    if not snapshots:
        return
    try:
        yield Transact(_saved(engine, snapshots))
    except Exception as error:
        names = ", ".join(f"{snapshot.stream!r} at seq {snapshot.seq}" for snapshot, _ in snapshots)
        log.warning("no snapshot was stored of %s: %s", names, error)


def _saved(engine: Engine, snapshots: Iterable[tuple[Snapshot, int]]) -> Op[None]:
    for snapshot, keep in snapshots:
        yield from engine.store.save_snapshot(snapshot, keep)


def _guarded(hook: AfterCommit) -> Work:
    try:
        result = hook.work()
        if inspect.isawaitable(result):
            yield result
    except Exception:
        log.exception("an after-commit hook failed; what was committed stays")


def stored(messages: Sequence[Message[Any]], records: Sequence[Record]) -> list[Message[Any]]:
    """Messages with the place the store gave them."""
    return [m.placed(r.seq, r.position) for m, r in zip(messages, records, strict=True)]


def _where(reactor: Reactor | type[Reactor]) -> str:
    its_own = isinstance(reactor, type) or "__qualname__" in vars(reactor)  # it may be made of a function
    named: Any = reactor if its_own else type(reactor)
    return f"{named.__module__}.{named.__qualname__}"
