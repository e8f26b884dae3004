"""States on the way through a long stream, kept for a minute, so that the next look at it begins near by."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from sourced.actor import Actor, Aggregate, Deciding
from sourced.app import Sourced
from sourced.codec import Content
from sourced.dashboard.difference import plain
from sourced.ops import Op
from sourced.runtime import foreground
from sourced.runtime.programs import Program, Transact
from sourced.store import Range

EVERY = 500  # messages between two marks at least: so few are read as fast as a state is brought back
PIECES = 8  # into which one reading is divided by the marks that it leaves behind, at most
LASTING = 60.0  # seconds: for so long a page may be made of what somebody has since changed behind the log's back
MOST = 16_000_000  # bytes, of all marks together

Key: TypeAlias = "tuple[str, str]"  # the actor's group, and the stream


class Mark(NamedTuple):
    """A state as of a message; as bytes, which nobody can change."""

    seq: int
    id: str
    state: bytes

    @property
    def size(self) -> int:
        return len(self.state) + 200


class Path(NamedTuple):
    """A piece of a stream, and the ids of the messages that marks are at, or will be."""

    pieces: Sequence[Sequence[Content]]
    ids: dict[int, str]


class Way(NamedTuple):
    """The marks of one actor along one stream."""

    since: float
    marks: dict[int, Mark]


class Marks:
    """What is loaded by way of them is what the log says: a stream that is another one now is read from its start."""

    def __init__(self, app: Sourced) -> None:
        self._app = app
        self._ways: OrderedDict[Key, Way] = OrderedDict()  # those that were used last at the end
        self._unfit: set[str] = set()  # groups of actors whose states cannot be kept
        self.size = 0

    async def load(self, actor: Actor[Any], stream: str, upto: int) -> Aggregate[Any]:
        """The actor as of a seq, to think with."""
        loaded = Aggregate(actor, stream)
        await self._app.aio._perform(self._read(loaded._fold, upto))
        return loaded

    def _read(self, fold: Deciding[Any], upto: int) -> Program[None]:
        engine, mark = self._app._engine, self._nearest(fold, upto)
        if mark is not None:
            path = yield Transact(self._ahead(fold, mark.seq, upto), reading=True)
            if path.ids.get(mark.seq) == mark.id:
                fold.resume(pickle.loads(mark.state), mark.seq)
                return self._walk(fold, path)
            self._forget(_key(fold))
        yield from foreground.begin(engine, fold, upto)
        self._walk(fold, (yield Transact(self._ahead(fold, fold.seq, upto), reading=True)))

    def _ahead(self, fold: Deciding[Any], seq: int, upto: int | None) -> Op[Path]:
        """What follows a place, in pieces, and which messages are there and at their ends."""
        store = self._app._engine.store
        news = yield from foreground.news(self._app._engine, fold, seq, upto)
        step = max(EVERY, -(-len(news) // PIECES))
        pieces = [news[start : start + step] for start in range(0, len(news), step)]
        marked = [seq, *(piece[-1].seq for piece in pieces if len(piece) == step)]
        ranges = [Range(fold.stream, each - 1, each) for each in marked if each]
        found = (yield from store.histories(ranges)) if ranges else []
        return Path(pieces, {record.seq: record.id for records in found for record in records})

    def _walk(self, fold: Deciding[Any], path: Path) -> None:
        """Folds what was read, and leaves marks."""
        for piece in path.pieces:
            foreground.take(fold, piece)
            if fold.seq in path.ids:
                self._keep(fold, path.ids[fold.seq])

    def _nearest(self, fold: Deciding[Any], upto: int) -> Mark | None:
        key = _key(fold)
        way = self._ways.get(key)
        if way is None:
            return None
        if self._app._engine.clock.elapsed() - way.since > LASTING:
            self._forget(key)
            return None
        self._ways.move_to_end(key)
        before = max((seq for seq in way.marks if seq <= upto), default=None)
        return None if before is None else way.marks[before]

    def _keep(self, fold: Deciding[Any], id: str) -> None:
        key, group = _key(fold), fold.owner.group
        state = None if group in self._unfit else in_bytes(fold.state, tried=key in self._ways)
        if state is None:
            self._unfit.add(group)
            return
        mark = Mark(fold.seq, id, state)
        while self._ways and self.size + mark.size > MOST and next(iter(self._ways)) != key:
            self._forget(next(iter(self._ways)))
        if self.size + mark.size <= MOST:
            way = self._ways.setdefault(key, Way(self._app._engine.clock.elapsed(), {}))
            if fold.seq not in way.marks:
                way.marks[fold.seq] = mark
                self.size += mark.size

    def _forget(self, key: Key) -> None:
        way = self._ways.pop(key, None)  # two who look at it may find out at the same time
        if way is not None:
            self.size -= sum(mark.size for mark in way.marks.values())


def in_bytes(state: Any, *, tried: bool) -> bytes | None:
    """None where it would not come back as it is: it holds a lock, a socket or the like, or leaves something out.

    Whether it does is tried at the first mark of a way.
    """
    try:
        kept = pickle.dumps(state, pickle.HIGHEST_PROTOCOL)
        return kept if tried or plain(pickle.loads(kept)) == plain(state) else None
    except Exception:
        return None


def _key(fold: Deciding[Any]) -> Key:
    return fold.owner.group, fold.stream
