"""What every program has at hand: the store, the codec, the clock, who handles what, what is remembered of streams."""

from __future__ import annotations

import inspect
import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sourced.actions import AfterCommit, Batch, Policy
from sourced.clock import Clock
from sourced.codec import Codec, Record
from sourced.envelope import Message
from sourced.forks import begin_anew_in_children
from sourced.notifier import Notifier, Types
from sourced.ops import Op
from sourced.reactor import Memo, Reactor
from sourced.runtime.programs import Program, Transact, Turn, Work
from sourced.runtime.router import Router, types_of
from sourced.snapshots import Snapshot
from sourced.store import Store
from sourced.telemetry import Telemetry

log = logging.getLogger("sourced")


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
        with self._lock:  # whoever keeps or forgets goes through them at the same time
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
        elif self._most is not None and found < room * 0.75:
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
