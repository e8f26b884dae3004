"""Database work as generators: an `Op` yields the statements it needs and is sent their rows.

One copy of the logic serves synchronous and asynchronous callers, composes inside one transaction with
`yield from`, joins a transaction the caller owns, and can be stopped at every single statement by a test.
`run` and `run_async` are the only code that touches a connection.
"""

from __future__ import annotations

import asyncio
import dis
import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from types import CodeType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from sourced.errors import DefinitionError, NeedsAwait

T = TypeVar("T")
Rows: TypeAlias = Any


class Statement(NamedTuple):
    """One thing asked of a store: a verb people can read, a body its connection understands, and arguments.

    The rest is for connections that save round trips, and for others to ignore.
    """

    verb: str
    body: Any = None
    args: tuple[Any, ...] = ()
    whole: bool = False  # where it is the first of a transaction, it may as well be one by itself
    silent: bool = False  # nobody looks at its rows: it may go out with the next statement, or with the commit


class Call(NamedTuple):
    """User code that runs inside the open transaction and is handed it."""

    work: Callable[[Any], Any]


Op: TypeAlias = Generator[Statement | Call, Rows, T]

SAVEPOINT = Statement("savepoint")
RELEASE = Statement("release savepoint")
ROLLBACK = Statement("rollback to savepoint")


class Connection(Protocol):
    """An open transaction: it executes statements; `tx` is what user code inside it is handed."""

    @property
    def tx(self) -> Any: ...
    def execute(self, statement: Statement) -> Rows: ...

    def call(self, work: Callable[[Any], Any]) -> Any:
        """Hands the open transaction to user code; it has begun by then, whatever that is going to do with it."""
        return finish(work(self.tx))


class AsyncConnection(Protocol):
    @property
    def tx(self) -> Any: ...
    async def execute(self, statement: Statement) -> Rows: ...

    async def call(self, work: Callable[[Any], Any]) -> Any:
        return await hand_over(self.tx, work)


def savepoint(op: Op[T]) -> Op[T]:
    """The op, or nothing of it: when it raises, only its own statements are undone."""
    yield SAVEPOINT
    try:
        result = yield from op
    except (Exception, KeyboardInterrupt, asyncio.CancelledError):
        yield ROLLBACK
        raise
    yield RELEASE
    return result


def run(op: Op[T], connection: Connection) -> T:
    """Carry the op out on a connection."""
    try:
        step = next(op)
        while True:
            try:
                rows = connection.execute(step) if type(step) is Statement else connection.call(step.work)  # type: ignore[union-attr]
            except BaseException as error:
                step = op.throw(error)
            else:
                step = op.send(rows)
    except StopIteration as done:
        return done.value


async def run_async(op: Op[T], connection: AsyncConnection) -> T:
    """Carry the op out on an asynchronous connection."""
    try:
        step = next(op)
        while True:
            try:
                if type(step) is Statement:
                    rows = await connection.execute(step)
                else:
                    rows = await connection.call(step.work)  # type: ignore[union-attr]
            except BaseException as error:
                step = op.throw(error)
            else:
                step = op.send(rows)
    except StopIteration as done:
        return done.value


def finish(result: T | Awaitable[T]) -> T:
    """The result of user code that may be `async def`, for a caller that is not."""
    if not inspect.isawaitable(result):
        return result
    if not _loop_is_running():
        return asyncio.run(_awaited(result))
    if inspect.iscoroutine(result):
        result.close()
    raise NeedsAwait(result)


async def hand_over(tx: Any, work: Callable[[Any], Any]) -> Any:
    """The result of user code that is handed a transaction. Where that has to be awaited, so has whoever uses it."""
    result = work(tx)
    if inspect.isawaitable(result):
        return await result
    if inspect.iscoroutinefunction(getattr(type(tx), "execute", None)) and (user := _user_of(work)):
        raise DefinitionError(
            f"{user}: its transaction is a {type(tx).__name__} here, of which nothing is done that is not awaited; "
            f"expected `async def`, or a method that returns what is to be awaited, found one that does neither"
        )
    return result


def _user_of(work: Any) -> str:
    """The function's name, if it mentions its last parameter, which is the transaction."""
    while isinstance(work, functools.partial):
        work = work.func
    function = inspect.unwrap(getattr(work, "__func__", work))
    code: CodeType | None = getattr(function, "__code__", None)
    if code is None or not code.co_argcount:
        return ""
    tx = code.co_varnames[code.co_argcount - 1]
    return function.__qualname__ if any(each.argval == tx for each in dis.get_instructions(code)) else ""


def _loop_is_running() -> bool:
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


async def _awaited(result: Awaitable[T]) -> T:
    return await result
