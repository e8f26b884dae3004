"""Workers of Sourced in processes of their own, as `sourced worker` starts them, and what they work on."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias

from benchmarks.ours import Cart, ItemAdded, Order, Reservation
from sourced import Event, Message, Projector, Reactor, Sourced, View, after_commit, evolve, sync
from sourced.store import Store
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore

SOON = 0.01  # seconds between looks at what the workers have come to
PATIENCE = 120.0  # seconds: what takes longer has failed
GRACE = 20.0  # seconds that workers have to end

Make: TypeAlias = Callable[[], Store]
Work: TypeAlias = Callable[[Connection], Sequence[Reactor]]


def again(store: PostgresStore | SqliteStore) -> Make:
    """How another process opens the same store."""
    if isinstance(store, PostgresStore):
        return partial(PostgresStore, store.url)
    return partial(SqliteStore, store.path, synchronous="FULL")


# -- what they work on -------------------------------------------------------------------------------------------------


class Trouble(Exception):
    """What a stream of every hundred runs into."""


class Tallies(Projector[int]):
    """How many items each cart has got, in a table beside the log; the row is stored with the offset."""

    put = "insert into tallies (cart, items) values (?, ?) on conflict (cart) do update set items = excluded.items"
    get = "select items from tallies where cart = ?"

    def __init__(self, *, mark: str) -> None:
        self.put, self.get = self.put.replace("?", mark), self.get.replace("?", mark)

    def initial(self, stream: str) -> int:
        return 0

    def load(self, key: str, tx: Any) -> int | None:
        row = tx.execute(self.get, (key,)).fetchone()
        return None if row is None else int(row[0])

    @evolve
    def counted(self, row: int, event: ItemAdded) -> int:
        return row + 1

    @sync
    def save(self, row: int, batch: Any, tx: Any) -> None:
        tx.execute(self.put, (batch.stream, row))


class Count(View):
    items: int = 0


class Counts(Projector[Count]):
    """The same, and its rows are kept for it beside the log: of a whole round in one statement."""

    def __init__(self, *, troubled: bool) -> None:
        self.troubled = troubled

    @evolve
    def counted(self, row: Count, event: Message[ItemAdded]) -> None:
        if self.troubled and event.stream.endswith("00"):
            raise Trouble(event.stream)
        row.items += 1


class PromptCart(Cart):
    """Tells when what it did was durable."""

    def __init__(self, line: Connection) -> None:
        self.line = line

    @after_commit
    def tell(self, cart: Any, batch: Any) -> None:
        self.line.send(time.monotonic())


def tallies(line: Connection, *, mark: str) -> Sequence[Reactor]:
    return [Tallies(mark=mark)]


def counts(line: Connection, *, troubled: bool = False) -> Sequence[Reactor]:
    return [Counts(troubled=troubled)]


def orders(line: Connection) -> Sequence[Reactor]:
    return [Order(), Reservation()]


def carts(line: Connection) -> Sequence[Reactor]:
    return [PromptCart(line)]


# -- the processes -----------------------------------------------------------------------------------------------------


def serve(make: Make, work: Work, line: Connection) -> None:
    logging.getLogger("sourced").setLevel(logging.CRITICAL)  # what every hundredth stream runs into is known
    app = Sourced(make())
    app.register(*work(line))
    app.run()
    line.send(time.process_time())


class Crew:
    """So many workers; they are all there when the block begins, and gone when it ends."""

    def __init__(self, app: Sourced, make: Make, work: Work, processes: int = 1) -> None:
        self._app = app
        self._how = (make, work)
        self._count = processes
        self._processes: list[BaseProcess] = []
        self.lines: list[Connection] = []

    def __enter__(self) -> Crew:
        spawning = multiprocessing.get_context("spawn")
        for _ in range(self._count):
            here, there = spawning.Pipe()
            process = spawning.Process(target=serve, args=(*self._how, there))
            process.start()
            there.close()
            self._processes.append(process)
            self.lines.append(here)
        self._until(lambda: len(self._app.workers()) == self._count)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()  # politely: rounds in hand are ended
        for process in self._processes:
            process.join(GRACE)
            if process.is_alive():
                process.kill()
                process.join()

    def through(self, over: Callable[[], bool]) -> None:
        """Waits until that is so."""
        self._until(over)

    def processor_seconds(self) -> float:
        """What they have used so far, all together."""
        return sum(_used(process.pid or 0) for process in self._processes)

    def _until(self, fact: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not fact():
            if time.monotonic() > deadline or not all(process.is_alive() for process in self._processes):
                raise RuntimeError("the workers did not come to an end")
            time.sleep(SOON)


def caught_up(app: Sourced) -> bool:
    """Whether no shard holds anything that a group has not looked at; 64 looks at an index."""
    text = """
    select count(*) from {progress} p
    where p.checkpoint < coalesce((select max(m.position) from {messages} m where m.shard = p.shard), 0)
    """
    return not _number(app, text)


def stored(app: Sourced, event: type[Event], count: int, messages: int) -> bool:
    """Whether there are so many of them, in a log of so many messages; they are counted when it is that long."""
    if _number(app, "select coalesce(max(m.position), 0) from {messages} m") < messages:
        return False
    text = "select count(*) from {messages} m where m.type = :type"
    return _number(app, text, type=event.__sourced__.name) == count


def _number(app: Sourced, text: str, **asked: str) -> int:
    store: Any = app.store

    def op() -> Any:
        return (yield store.say("look", text, **asked))

    ((found,),) = store.transact(op(), reading=True)
    return int(found)


def _used(pid: int) -> float:
    """Seconds of processor time of a process; only Linux tells."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
