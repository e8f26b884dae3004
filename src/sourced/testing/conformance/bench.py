"""What the cases are written with: a store, records for it, and the ways to carry an op out."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

from msgspec.structs import replace

from sourced.app import Sourced
from sourced.codec import Record
from sourced.ids import new_id
from sourced.ops import Op, run, run_async
from sourced.store import Claim, Entry, Group, Lease, Move, Outcome, Pending, Range, Scheduled, Store, Straggler
from sourced.store import shard_of as _shard_of
from sourced.testing.clock import START

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

TYPES = ("thing.done",)


def at(seconds: float) -> datetime:
    """So many seconds after the tests' noon."""
    return START + timedelta(seconds=seconds)


def record(stream: str = "s", **changes: Any) -> Record:
    """A record as it comes from the codec: an identity, and no place in the log yet."""
    own = changes.pop("id", None) or new_id()
    plain = Record(own, stream, 0, 0, TYPES[0], 1, "{}", "{}", own, own, START)
    return replace(plain, **changes)


def entry(stream: str = "s", count: int = 1, expected_seq: int | None = None, **changes: Any) -> Entry:
    return Entry(stream, tuple(record(stream, **changes) for _ in range(count)), expected_seq)


def scheduled(stream: str = "s", due: float = 0, **changes: Any) -> Scheduled:
    return Scheduled(record(stream, **changes), at(due))


def kept(outcome: Outcome) -> tuple[Record, ...]:
    """The records of an entry that was stored."""
    assert isinstance(outcome, tuple), f"expected it to be stored, found {outcome!r}"
    return outcome


def shards_of(claim: Claim) -> set[int]:
    return {lease.shard for lease in claim.leases}


class Caught:
    """What `refused` has caught."""

    error: Any = None


@contextlib.contextmanager
def refused(kind: type[BaseException]) -> Iterator[Caught]:
    """The block is expected to raise this."""
    caught = Caught()
    try:
        yield caught
    except kind as error:
        caught.error = error
    else:
        raise AssertionError(f"expected {kind.__name__}, and nothing was raised")


class Broken(Exception):
    """What goes wrong on purpose."""


def breaking(op: Op[Any]) -> Op[None]:
    """The op, and then it goes wrong."""
    yield from op
    raise Broken


class Bench:
    """A fresh store for every case, and what is done with it again and again."""

    store: Store

    def make(self) -> Store:
        """A new, empty store."""
        raise NotImplementedError(f"{type(self).__name__}: expected make(self) to return a new, empty store")

    def setup_method(self) -> None:
        self.store = self.make()

    def teardown_method(self) -> None:
        self.store.close()

    # -- carrying out

    def do(self, op: Op[T], store: Store | None = None) -> T:
        """The op, in a transaction of its own."""
        with (store or self.store).transaction() as connection:
            return run(op, connection)

    def at_once(self, works: Sequence[Callable[[], Op[T]]]) -> list[T]:
        """Every op in a transaction of its own, all at the same time."""
        start = threading.Barrier(len(works))

        def work(make: Callable[[], Op[T]]) -> T:
            start.wait()
            return self.do(make())

        with ThreadPoolExecutor(len(works)) as threads:
            return list(threads.map(work, works))

    def verbs(self, app: Sourced) -> Any:
        """What the app can be asked to do, here and now."""
        return app

    # -- the log

    def append(self, *entries: Entry) -> list[Outcome]:
        return self.do(self.store.append(entries))

    def put(self, stream: str = "s", count: int = 1, **changes: Any) -> tuple[Record, ...]:
        """Stores new records at the end of a stream."""
        (outcome,) = self.append(entry(stream, count, **changes))
        return kept(outcome)

    def history(self, stream: str = "s", after: int = 0, upto: int | None = None) -> list[Record]:
        (records,) = self.do(self.store.histories([Range(stream, after, upto)]))
        return list(records)

    def shard(self, stream: str) -> int:
        return _shard_of(stream, self.store.shards)

    def apart(self, count: int) -> list[str]:
        """Names of streams that all live in different shards."""
        names: dict[int, str] = {}
        for number in range(100_000):
            names.setdefault(self.shard(f"s-{number}"), f"s-{number}")
            if len(names) == count:
                break
        assert len(names) == count, f"expected at least {count} shards, found {self.store.shards}"
        return list(names.values())

    def together(self, count: int) -> list[str]:
        """Names of streams that all live in one shard."""
        names = [f"s-{number}" for number in range(count * self.store.shards * 20) if self.shard(f"s-{number}") == 0]
        return names[:count]

    # -- groups and rounds

    def register(self, name: str = "g", start_from: Any = "beginning") -> Group:
        return self.do(self.store.register(name, start_from))

    def group(self, name: str = "g") -> Group:
        return next(group for group in self.do(self.store.groups()) if group.name == name)

    def claim(self, owner: str = "w", *, now: float = 0, limit: int = 100, group: str = "g") -> Claim:
        """A claim that lasts for thirty seconds."""
        return self.do(self.store.claim(group, owner, now=at(now), until=at(now + 30), limit=limit))

    def pending(self, claim: Claim, *, limit: int = 100, types: Collection[str] = TYPES) -> Pending:
        return self.do(self.store.pending(claim.group.name, claim.leases, types, limit))

    def settle(self, claim: Claim, pending: Pending | None = None, *, release: bool = True, careful: int = 0) -> None:
        """Moves the checkpoints of a claim to where `pending` has looked, behind the fence, as a round does."""
        scanned = pending.scanned if pending else {}
        moves = [self.move(lease, scanned.get(lease.shard, lease.checkpoint), careful) for lease in claim.leases]

        def op() -> Op[None]:
            yield from self.store.fence(claim)
            yield from self.store.settle(claim.group.name, moves, release=release)

        self.do(op())

    def move(self, lease: Lease, checkpoint: int, careful: int = 0) -> Move:
        return Move(lease.shard, checkpoint, checkpoint, careful)

    def work_off(self, group: str = "g", owner: str = "w", **options: Any) -> list[Record]:
        """One whole round that handles everything it is given; what that was."""
        claim = self.claim(owner, group=group)
        pending = self.pending(claim, **options)
        self.settle(claim, pending)
        return list(pending.records)

    def straggle(self, stream: str = "s", from_seq: int = 1, group: str = "g", **facts: Any) -> Straggler:
        row = Straggler(group, stream, from_seq, **facts)
        self.do(self.store.straggle([row]))
        return row

    def straggler(self, stream: str = "s", group: str = "g") -> Straggler:
        return next(row for row in self.do(self.store.stragglers(group)) if row.stream == stream)

    # -- all of it

    def everything(self, store: Store | None = None) -> dict[str, Any]:
        """All that can be read of a store, so that two readings can be compared."""
        store = store or self.store

        def op() -> Op[dict[str, Any]]:
            found: dict[str, Any] = {"log": (yield from store.read_all()), "extent": (yield from store.extent())}
            found["streams"] = yield from store.streams(None)
            found["groups"] = sorted((yield from store.groups()), key=lambda group: group.name)
            for name in [group.name for group in found["groups"]]:
                found[f"progress of {name}"] = sorted((yield from store.progress(name)), key=lambda each: each.shard)
                found[f"stragglers of {name}"] = sorted((yield from store.stragglers(name)), key=lambda row: row.stream)
                found[f"snapshots of {name}"] = yield from store.snapshots(name, [s.stream for s in found["streams"]])
                found[f"views of {name}"] = yield from store.page_views(name)
            return found | {"schedule": (yield from store.scheduled())}

        return self.do(op(), store)


class AsyncBench(Bench):
    """The same through `transaction_async` and `run_async`, on one event loop for each case."""

    runner: asyncio.Runner

    def setup_method(self) -> None:
        self.runner = asyncio.Runner()
        super().setup_method()

    def teardown_method(self) -> None:
        super().teardown_method()
        self.runner.close()

    def do(self, op: Op[T], store: Store | None = None) -> T:
        return self.runner.run(self._do(op, store or self.store))

    async def _do(self, op: Op[T], store: Store) -> T:
        async with store.transaction_async() as connection:
            return await run_async(op, connection)

    def at_once(self, works: Sequence[Callable[[], Op[T]]]) -> list[T]:
        async def all_of_them() -> list[T]:
            return await asyncio.gather(*(self._do(make(), self.store) for make in works))

        return self.runner.run(all_of_them())

    def verbs(self, app: Sourced) -> Any:
        return _Awaited(app.aio, self.runner)


class _Awaited:
    """The verbs of `app.aio`, each awaited on the spot."""

    def __init__(self, verbs: Any, runner: asyncio.Runner) -> None:
        self._verbs = verbs
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        verb = getattr(self._verbs, name)

        def awaited(*args: Any, **options: Any) -> Any:
            return self._runner.run(verb(*args, **options))

        return awaited
