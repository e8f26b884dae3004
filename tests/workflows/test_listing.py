"""Finding runs: exact at any moment, newest first, page by page; and cheap, however many there ever were."""

import asyncio
import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from sourced import Event, Invalid, Message, Sourced, Workflow, step
from sourced.archive import export_to, import_from
from sourced.audit import OPERATIONS, WorkflowCancelled, WorkflowForked
from sourced.errors import NotKnown
from sourced.ops import Connection, Statement
from sourced.store import Entry, Store
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.testing.clock import START
from sourced.workflow.info import RunInfo, Status
from tests.workflows.holiday import TripApproved, working


class Errand(Workflow):
    """Ends at once, fails, or waits."""

    async def run(self, what: str) -> str:
        await self.note(what)
        if what == "fail":
            raise ValueError(what)
        if what == "wait":
            return (await self.wait_for(TripApproved)).by
        return what

    @step
    def note(self, what: str) -> None: ...


class Impatient(Workflow):
    """Is parked at its first message."""

    async def run(self) -> None:
        await asyncio.sleep(1)


class Nap(Workflow):
    async def run(self) -> None:
        await self.sleep(timedelta(hours=1))


class Noise(Event):
    number: int


STATUSES: tuple[Status, ...] = get_args(Status)


def every(app: Sourced) -> list[RunInfo]:
    """All runs there are, found the hard way."""
    log = app.read_all()
    started = [message.stream for message in reversed(log) if message.type.endswith(".started") and message.seq == 1]
    return [app.workflows.get(run) for run in started]


def is_exact(app: Sourced) -> None:
    runs = every(app)
    assert app.workflows.list() == runs
    for status in STATUSES:
        found = app.workflows.list(status=status)
        assert sorted(info.id for info in found) == sorted(info.id for info in runs if info.status == status), status
        assert found == in_pages(app, status, 2)
    assert app.workflows.list(status="running") == [info for info in runs if info.status == "running"]


def in_pages(app: Sourced, status: Status | None, size: int) -> list[RunInfo]:
    found: list[RunInfo] = []
    while page := app.workflows.list(status=status, before=found[-1].id if found else None, limit=size):
        assert len(page) <= size
        found += page
    return found


def errands(store: Store, **options: Any) -> Sourced:
    return working(store, Errand(), Nap(), Impatient(), **options)


def test_runs_are_found_by_what_has_become_of_them_at_any_moment(store: Store):
    app = errands(store)
    assert app.workflows.list() == app.workflows.list(status="running") == []
    app.start(Errand, "done")
    app.start(Impatient)
    waits, nap, forgotten = app.start(Errand, "wait"), app.start(Nap), app.start(Errand, "fail")
    forgotten.cancel(at_once=True)
    is_exact(app)  # nobody has begun with any of them
    for _ in range(4):
        app.drain(limit=1)
        app.start(Errand, "wait")
        app.start(Errand, "fail")
        is_exact(app)
    app.drain()
    is_exact(app)
    assert next(info.parked for info in app.workflows.list(Impatient)).startswith("Impatient.run asked for")
    for group in ("errand", "Impatient", "Nap"):
        with contextlib.suppress(NotKnown):
            app.groups.reset(group)
            is_exact(app)
    fork = app.workflows.fork(waits, "note").fork
    is_exact(app)
    waits.signal(TripApproved("Ann"))
    nap.cancel()
    app.drain()
    is_exact(app)
    app.workflows.cancel(fork, at_once=True)
    is_exact(app)
    app.drain()
    is_exact(app)
    assert {info.status for info in app.workflows.list()} == {*STATUSES}


def test_the_runs_of_a_child_are_found_as_well(store: Store):
    class Parent(Workflow):
        async def run(self) -> str:
            return await self.call(Errand, "wait")

    app = working(store, Parent(), Errand())
    app.start(Parent)
    app.drain()
    is_exact(app)
    (child,) = app.workflows.list(Errand, status="running")
    app.signal(child.id, TripApproved("Ann"))
    app.drain()
    is_exact(app)
    assert app.workflows.list(status="running") == []


def test_runs_are_filtered_by_workflow_and_come_page_by_page(store: Store):
    app = errands(store)
    for _ in range(3):
        app.start(Errand, "done"), app.start(Errand, "wait"), app.start(Nap)
    app.drain()
    assert in_pages(app, None, 4) == app.workflows.list()
    assert {info.workflow for info in app.workflows.list(Nap)} == {"nap"}
    done = app.workflows.list(Errand, status="completed")
    assert [info.arguments for info in done] == [{"what": "done"}] * 3
    assert app.workflows.list(Errand, status="completed", before=done[1].id) == done[2:]
    assert app.workflows.list(limit=0) == []
    with pytest.raises(Invalid, match=f"found {done[0].id!r}, which is not failed"):
        app.workflows.list(status="failed", before=done[0].id)
    with pytest.raises(Invalid, match="found 'nap-7', which there is not"):
        app.workflows.list(before="nap-7")
    with pytest.raises(Invalid, match="expected running, completed, failed, cancelled or None, found 'parked'"):
        app.workflows.list(status="parked")  # type: ignore[arg-type]


class Counting:
    """A store that counts the rows it reads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def about_to_read(self) -> None: ...

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Connection]:
        with self.store.transaction(reading=reading) as connection:
            yield _Counting(self, connection)

    transact, commit = Store.transact, Store.commit


class _Counting:
    def __init__(self, store: Counting, connection: Connection) -> None:
        self._store, self._connection = store, connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: Statement) -> Any:
        self._store.about_to_read()
        rows = self._connection.execute(statement)
        if hasattr(rows, "__iter__"):
            rows = list(rows)
            self._store.rows += len(rows)
        return rows


def test_a_page_costs_the_same_however_many_runs_there_ever_were(store: Store):
    """Neither the log's length nor the number of runs that are over is in it."""
    counting = Counting(store)
    app = errands(store)
    looking = errands(counting)
    app.start(Errand, "wait"), app.start(Errand, "fail"), app.start(Nap).cancel(at_once=True)
    noise = [Message.new(Noise(n), stream=f"noise-{n}", now=START) for n in range(store.shards * 8)]
    store.commit([Entry(message.stream, app._engine.encode([message])) for message in noise])  # in every shard
    read = []
    for many in (3, 30):
        for number in range(many):
            app.start(Errand, "done")
            app.append(f"noise-{number}", [Noise(n) for n in range(5)])
        app.drain()
        for asked in (None, "running", "completed", "failed", "cancelled"):
            counting.rows = 0
            assert looking.workflows.list(status=asked, limit=1)
            read.append(counting.rows)
    assert all(later <= earlier for earlier, later in zip(read[:5], read[5:], strict=True)), read
    assert max(read) < 15 + 3 * store.shards


class Interrupted(Counting):
    """At one of its statements somebody else works on what there is."""

    def __init__(self, store: Store, at: int, meanwhile: Callable[[], object]) -> None:
        super().__init__(store)
        self.left, self.meanwhile = at, meanwhile

    def about_to_read(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.meanwhile()


def test_no_run_slips_by_while_it_is_looked_for(postgres_url: str):
    """It is begun with, or its failure is noted, between any two statements of the search."""
    with (
        contextlib.closing(PostgresStore(postgres_url)) as mine,
        contextlib.closing(PostgresStore(postgres_url)) as theirs,
    ):
        mine.migrate()
        app = errands(theirs)
        for at in itertools.count(1):
            runs = {app.start(Errand, "wait").id, app.start(Impatient).id}
            looking = Interrupted(mine, at, app.drain)
            assert runs <= {info.id for info in errands(looking).workflows.list(status="running")}, at
            if looking.left > 0:
                break
        assert at > 10


def test_runs_are_found_in_a_store_they_were_imported_into(postgres_url: str):
    """Where their messages have other places."""
    with contextlib.closing(PostgresStore(postgres_url)) as store:
        store.migrate()
        with store.transaction() as connection:
            connection.call(lambda tx: tx.execute("select setval('sourced_positions', 1000)"))
        there = errands(store)
        there.start(Errand, "wait"), there.start(Errand, "fail"), there.start(Nap)
        there.drain()
        there.start(Errand, "wait")
        file = io.BytesIO()
        export_to(store, file)
    file.seek(0)
    here = errands(MemoryStore(shards=8))
    import_from(here.store, file)
    is_exact(here)
    here.drain()
    here.start(Errand, "wait")
    is_exact(here)
    for info in here.workflows.list(Errand, status="running"):
        here.signal(info.id, TripApproved("Ann"))
    here.drain()
    is_exact(here)
    assert [info.workflow for info in here.workflows.list(status="running")] == ["nap"]


def test_what_is_done_to_runs_is_told_with_who_and_why(store: Store):
    app = errands(store)
    run, other = app.start(Errand, "wait"), app.start(Errand, "fail")
    app.drain()
    cancel, fork = app.workflows.cancel, app.workflows.fork
    cancelling = cancel(run, "a mistake", by="ann", dry_run=True)
    forking = fork(other, "note", reason="a second go", by="bob", dry_run=True)
    assert run.cancel(dry_run=True).waiting_for == ["trip_approved"]
    assert app.history(OPERATIONS) == []
    assert (run.status(), len(app.workflows.list())) == ("running", 2)
    cancelled = cancel(run, "a mistake", by="ann")
    forked = fork(other, "note", reason="a second go", by="bob")
    assert (
        cancelled
        == cancelling
        == WorkflowCancelled(
            by="ann", reason="a mistake", run=run.id, was="running", at_once=False, waiting_for=["trip_approved"]
        )
    )
    assert forking == replace(forked, fork="")
    assert forked == WorkflowForked(
        by="bob", reason="a second go", run=other.id, step="note", fork=forked.fork, known=1
    )
    app.drain()
    assert run.cancel("again").was == "cancelled"
    assert [message.payload for message in app.history(OPERATIONS)] == [cancelled, forked]
    assert app.workflows.get(forked.fork).forked_from == other.id


def test_a_run_that_was_ended_in_a_transaction_goes_on_when_that_is_rolled_back(store: Store):
    app = errands(store)
    run = app.start(Errand, "wait")
    app.drain()
    with contextlib.suppress(KeyError), app.transaction() as client:
        client.workflows.cancel(run.id, at_once=True)
        assert client.workflows.list(status="running") == []
        raise KeyError
    assert app.history(OPERATIONS) == []
    is_exact(app)
