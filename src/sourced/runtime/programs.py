"""Programs are generators that say what to do next, `Transact` or `Invoke`; two drivers carry them out.

All an app does, from `execute` to a round, is written once as a program; one driver calls, the other awaits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sourced.errors import NeedsAwait
from sourced.forks import begin_anew_in_children
from sourced.notifier import Listener
from sourced.ops import Call, Op, finish
from sourced.purity import here, refuse_to_store
from sourced.store import Entry

T = TypeVar("T")

SOON = 0.005  # seconds
CANCELLED = "the handler awaited something that was cancelled"

Work: TypeAlias = Generator[Awaitable[Any], Any, None]
"""User code under way: it yields whatever has to be awaited before it can go on."""


class Transact(NamedTuple):
    """Carry the op out in one transaction; one that only reads says so, and stands in no writer's way."""

    op: Op[Any]
    reading: bool = False
    anew: Callable[[], Op[Any]] | None = None  # makes it once more, when the database took it back for another's sake
    taking: bool = False  # who is cancelled meanwhile learns what he got before he hears of it, and can give it back


class Commit(NamedTuple):
    """Append, and nothing else; it may share its transaction with others who do the same."""

    entries: Sequence[Entry]


UnderWay: TypeAlias = "tuple[Work, Future[Any]]"
"""Work, and what it waits for at the moment."""


class Stepping(Future[Any]):
    """Plain code of a work that some thread is in the middle of; its result is what the work waits for next."""


class Relieved(BaseException):
    """For a thread that was held up by plain code: another one has gone on without it."""


Leaving: TypeAlias = Callable[[Sequence[Work]], Any]
"""Drives works, but for some time only; its answer, awaited or not, is those not through and what each waits for."""


class Taken(BaseException):
    """For a task that was cancelled in the middle of a step which came to its end all the same."""

    def __init__(self, result: Any, cancelled: asyncio.CancelledError) -> None:
        super().__init__(cancelled)
        self.result, self.cancelled = result, cancelled


class Invoke(NamedTuple):
    """Run user code; pieces of work may run side by side. Who has a driver of his own may get some back unfinished."""

    works: Sequence[Work]
    drive: Leaving | None = None


class Afterwards(NamedTuple):
    """Run user code once everything so far is durable: at once, or when the caller's own transaction has committed."""

    works: Sequence[Work]


class Await(NamedTuple):
    """Wait for a wake-up."""

    listener: Listener
    seconds: float
    by_others: bool = False  # it comes of what others do, maybe on the event loop that is running here


class Turn:
    """One after the other, for threads and for tasks; whoever holds it goes on where he would wait for himself."""

    def __init__(self) -> None:
        self.forked()
        begin_anew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._thread = 0

    @contextlib.contextmanager
    def blocking(self) -> Iterator[None]:
        """Another task of this very thread cannot come to its end while we wait for it."""
        if self._thread == threading.get_ident():
            yield
            return
        with self._lock, self._taken():
            yield

    @contextlib.asynccontextmanager
    async def awaiting(self) -> AsyncIterator[None]:
        while not self._lock.acquire(blocking=False):  # noqa: ASYNC110  (a thread may hold it)
            await asyncio.sleep(SOON)
        try:
            with self._taken():
                yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _taken(self) -> Iterator[None]:
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = 0


class InTurn(NamedTuple):
    """Carry the program out when nobody else does so; one that is part of the caller's transaction waits for nobody."""

    turn: Turn
    program: Program[Any]


Step: TypeAlias = "Transact | Commit | Invoke | Afterwards | Await | InTurn"
Program: TypeAlias = Generator[Step, Any, T]
Transacting: TypeAlias = Callable[[Transact | Commit], Any]
TransactingAsync: TypeAlias = Callable[[Transact | Commit], Awaitable[Any]]


def perform(
    program: Program[T],
    transact: Transacting,
    later: list[Work] | None = None,
    drive: Callable[[Sequence[Work]], None] | None = None,
    begun: Step | None = None,
) -> T:
    """Carry the program out here and now; `later` collects what has to wait for a commit that is not ours.

    One that was begun goes on with the step it had come to.
    """
    result: Any
    drive = drive or drive_each
    try:
        step = begun or program.send(None)
        while True:
            kind = type(step)
            try:
                if kind is Transact or kind is Commit:
                    if (here.deciding or here.evolving) and not getattr(step, "reading", False):
                        refuse_to_store()
                    result = transact(step)  # type: ignore[arg-type]
                elif kind is Afterwards:
                    result = None
                    if later is None:
                        drive(step.works)  # type: ignore[union-attr]
                    else:
                        later.extend(step.works)  # type: ignore[union-attr]
                elif kind is Invoke:
                    result = (step.drive or drive)(step.works)  # type: ignore[union-attr]
                elif kind is Await:
                    if step.by_others and asyncio._get_running_loop() is not None:  # type: ignore[union-attr]
                        raise NeedsAwait
                    result = step.listener.wait(step.seconds)  # type: ignore[union-attr]
                else:
                    assert isinstance(step, InTurn), step
                    with contextlib.nullcontext() if later is not None else step.turn.blocking():
                        result = perform(step.program, transact, later, drive)
            except Relieved:
                raise  # the program is in other hands
            except BaseException as error:
                step = program.throw(error)
            else:
                step = program.send(result)
    except StopIteration as done:
        return done.value


async def perform_async(
    program: Program[T],
    transact: TransactingAsync,
    later: list[Work] | None = None,
    drive: Callable[[Sequence[Work]], Awaitable[None]] | None = None,
) -> T:
    """Carry the program out on the running event loop."""
    drive = drive or drive_all
    result: Any
    try:
        step = program.send(None)
        while True:
            kind = type(step)
            try:
                if kind is Transact or kind is Commit:
                    result = await transact(step)  # type: ignore[arg-type]
                elif kind is Afterwards:
                    result = None
                    if later is None:
                        await drive(step.works)  # type: ignore[union-attr]
                    else:
                        later.extend(step.works)  # type: ignore[union-attr]
                elif kind is Invoke:
                    result = await (step.drive or drive)(step.works)  # type: ignore[union-attr]
                elif kind is Await:
                    result = await step.listener.wait_async(step.seconds)  # type: ignore[union-attr]
                else:
                    assert isinstance(step, InTurn), step
                    async with contextlib.nullcontext() if later is not None else step.turn.awaiting():
                        result = await perform_async(step.program, transact, later, drive)
            except Taken as taken:
                try:
                    program.send(taken.result)
                except StopIteration:
                    raise taken.cancelled from None
                step = program.throw(taken.cancelled)
            except BaseException as error:
                step = program.throw(error)
            else:
                step = program.send(result)
    except StopIteration as done:
        return done.value


def drive_each(works: Iterable[Work]) -> None:
    """Runs pieces of work one after the other."""
    for work in works:
        drive(work)


def drive(work: Work) -> None:
    """Runs work to its end; what it waits for is waited for here."""
    awaitable = next(work, None)
    while awaitable is not None:
        try:
            result = finish(awaitable)
        except NeedsAwait:
            raise  # the caller's mistake, not the handler's
        except asyncio.CancelledError:
            awaitable = go_on(work.throw, RuntimeError(CANCELLED))
        except Exception as error:
            awaitable = go_on(work.throw, error)
        else:
            awaitable = go_on(work.send, result)


def go_on(step: Callable[[Any], Awaitable[Any]], answer: Any) -> Awaitable[Any] | None:
    """What work waits for next, or None when it is through."""
    try:
        return step(answer)
    except StopIteration:
        return None


async def drive_all(works: Iterable[Work]) -> None:
    """Runs pieces of work side by side. Plain handlers are through before anything is awaited, so they need no task."""
    waiting = [(work, awaitable) for work in works if (awaitable := next(work, None)) is not None]
    async with asyncio.TaskGroup() as tasks:
        for work, awaitable in waiting:
            tasks.create_task(_finish(work, awaitable))


async def _finish(work: Work, awaitable: Awaitable[Any] | None) -> None:
    while awaitable is not None:
        try:
            result = await awaitable
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # we are the ones who are cancelled
            awaitable = go_on(work.throw, RuntimeError(CANCELLED))
        except Exception as error:
            awaitable = go_on(work.throw, error)
        else:
            awaitable = go_on(work.send, result)


def within(program: Program[T], later: list[Work]) -> Op[T]:
    """A program as a part of an open transaction: its own ones are this one, and `later` gets what follows a commit."""
    try:
        step = next(program)
        while True:
            try:
                result: Any = None
                if isinstance(step, Transact):
                    result = yield from step.op
                elif isinstance(step, Afterwards):
                    later.extend(step.works)
                elif isinstance(step, Invoke):
                    for work in step.works:
                        yield from called(work)
                else:
                    raise TypeError(f"{step!r} has no place in an open transaction")
            except BaseException as error:
                step = program.throw(error)
            else:
                step = program.send(result)
    except StopIteration as done:
        return done.value


def called(work: Work) -> Op[None]:
    """User code that runs while the transaction is open, and whatever it waits for."""
    awaitable = next(work, None)
    while awaitable is not None:
        try:
            result = yield Call(partial(_given, awaitable))
        except NeedsAwait:
            raise
        except Exception as error:
            awaitable = go_on(work.throw, error)
        else:
            awaitable = go_on(work.send, result)


def _given(awaitable: Awaitable[Any], tx: Any) -> Awaitable[Any]:
    return awaitable
