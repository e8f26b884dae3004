"""Ops: generators of statements, carried out by `run` and `run_async`, one copy of the logic for both."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sourced.errors import NeedsAwait
from sourced.ops import (
    RELEASE,
    ROLLBACK,
    SAVEPOINT,
    Call,
    Op,
    Statement,
    finish,
    hand_over,
    run,
    run_async,
    savepoint,
)
from sourced.testing import Crash


class Ledger:
    """A connection that writes down what it is asked, and answers with the length of the list."""

    tx = "the transaction"

    def __init__(self, fails: str = "", error: BaseException | None = None) -> None:
        self.asked: list[str] = []
        self.fails = fails
        self.error = error or LookupError(fails)

    def execute(self, statement: Statement) -> int:
        self.asked.append(statement.verb)
        if statement.verb == self.fails:
            raise self.error
        return len(self.asked)

    def call(self, work: Callable[[Any], Any]) -> Any:
        return finish(work(self.tx))


class AsyncLedger(Ledger):
    async def execute(self, statement: Statement) -> int:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().execute(statement)

    async def call(self, work: Callable[[Any], Any]) -> Any:
        return await hand_over(self.tx, work)


def awaited(op: Op[Any], ledger: AsyncLedger) -> Any:
    return asyncio.run(run_async(op, ledger))


both = pytest.mark.parametrize(
    ("carry_out", "ledger"), [(run, Ledger), (awaited, AsyncLedger)], ids=["calling", "awaiting"]
)
Runner = Callable[[Op[Any], Any], Any]
Connections = Callable[..., Ledger]


def ask(*verbs: str) -> Op[list[int]]:
    rows: list[int] = []
    for verb in verbs:
        rows += [(yield Statement(verb))]
    return rows


# -- run and run_async -------------------------------------------------------------------------------------------------


@both
def test_an_op_is_sent_the_rows_of_every_statement_and_its_return_is_the_result(carry_out: Runner, ledger: Connections):
    connection = ledger()
    assert carry_out(ask("a", "b", "c"), connection) == [1, 2, 3]
    assert connection.asked == ["a", "b", "c"]


@both
def test_an_op_that_asks_for_nothing_is_only_its_result(carry_out: Runner, ledger: Connections):
    connection = ledger()
    assert carry_out(ask(), connection) == []
    assert connection.asked == []


@both
def test_ops_are_put_together_with_yield_from(carry_out: Runner, ledger: Connections):
    def both_of_them() -> Op[list[int]]:
        first = yield from ask("a")
        return first + (yield from ask("b", "c"))

    assert carry_out(both_of_them(), ledger()) == [1, 2, 3]


@both
def test_what_a_statement_raises_is_raised_where_it_was_asked_for_and_reaches_the_caller(
    carry_out: Runner, ledger: Connections
):
    seen = []

    def op() -> Op[None]:
        try:
            yield from ask("a", "bad", "never")
        except LookupError as error:
            seen.append(error)
            raise

    connection = ledger(fails="bad")
    with pytest.raises(LookupError) as caught:
        carry_out(op(), connection)
    assert seen == [caught.value] == [connection.error]
    assert connection.asked == ["a", "bad"]


@both
def test_an_op_may_go_on_after_what_a_statement_raised(carry_out: Runner, ledger: Connections):
    def op() -> Op[Any]:
        try:
            yield Statement("bad")
        except LookupError:
            return (yield Statement("instead"))

    connection = ledger(fails="bad")
    assert carry_out(op(), connection) == 2
    assert connection.asked == ["bad", "instead"]


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), asyncio.CancelledError(), GeneratorExit()])
def test_even_what_ends_a_program_passes_through_the_op_so_that_it_can_clean_up(
    carry_out: Runner, ledger: Connections, error: BaseException
):
    seen = []

    def op() -> Op[None]:
        try:
            yield Statement("bad")
        finally:
            seen.append("cleaned up")

    with pytest.raises(type(error)):
        carry_out(op(), ledger("bad", error))
    assert seen == ["cleaned up"]


@both
def test_a_stop_iteration_from_below_is_an_error_and_never_taken_for_the_end_of_the_op(
    carry_out: Runner, ledger: Connections
):
    with pytest.raises(RuntimeError, match="StopIteration"):
        carry_out(ask("bad"), ledger("bad", StopIteration("no result")))


@both
def test_an_op_is_carried_out_once(carry_out: Runner, ledger: Connections):
    op = ask("a")
    connection = ledger()
    carry_out(op, connection)
    assert carry_out(op, connection) is None
    assert connection.asked == ["a"]


# -- the caller's own code ---------------------------------------------------------------------------------------------


@both
def test_a_call_is_handed_the_transaction_and_its_result_is_sent_back(carry_out: Runner, ledger: Connections):
    def op() -> Op[Any]:
        return (yield Call(lambda tx: [tx, "seen"]))

    assert carry_out(op(), ledger()) == ["the transaction", "seen"]


@both
def test_a_call_may_be_async_on_either_side(carry_out: Runner, ledger: Connections):
    async def work(tx: Any) -> str:
        await asyncio.sleep(0)
        return f"{tx}, awaited"

    def op() -> Op[Any]:
        return (yield Call(work))

    assert carry_out(op(), ledger()) == "the transaction, awaited"


@both
def test_a_call_that_raises_raises_in_the_op(carry_out: Runner, ledger: Connections):
    def plain(_: Any) -> None:
        raise ZeroDivisionError

    async def later(_: Any) -> None:
        raise ZeroDivisionError

    def op(work: Callable[[Any], Any]) -> Op[str]:
        try:
            yield Call(work)
        except ZeroDivisionError:
            return "caught"
        return "missed"

    assert [carry_out(op(work), ledger()) for work in (plain, later)] == ["caught", "caught"]


def test_an_async_call_on_the_blocking_side_of_a_running_loop_is_refused_and_leaves_nothing_unawaited():
    """The way out is in the message; and no warning about a coroutine that was never awaited follows."""

    async def work(_: Any) -> None: ...

    def op() -> Op[None]:
        yield Call(work)

    async def inside() -> None:
        with pytest.raises(NeedsAwait, match=r"app\.aio"):
            run(op(), Ledger())

    asyncio.run(inside())


# -- savepoints --------------------------------------------------------------------------------------------------------


@both
def test_a_savepoint_that_goes_well_is_released(carry_out: Runner, ledger: Connections):
    connection = ledger()
    assert carry_out(savepoint(ask("a", "b")), connection) == [2, 3]
    assert connection.asked == [SAVEPOINT.verb, "a", "b", RELEASE.verb]


@both
def test_a_savepoint_that_fails_is_rolled_back_and_the_error_goes_on(carry_out: Runner, ledger: Connections):
    connection = ledger(fails="bad")
    with pytest.raises(LookupError):
        carry_out(savepoint(ask("a", "bad")), connection)
    assert connection.asked == [SAVEPOINT.verb, "a", "bad", ROLLBACK.verb]


@both
def test_savepoints_end_from_the_inside_out(carry_out: Runner, ledger: Connections):
    def outer() -> Op[None]:
        yield Statement("outer")
        try:
            yield from savepoint(ask("bad"))
        except LookupError:
            yield Statement("after")

    connection = ledger(fails="bad")
    carry_out(savepoint(outer()), connection)
    assert connection.asked == [
        SAVEPOINT.verb, "outer", SAVEPOINT.verb, "bad", ROLLBACK.verb, "after", RELEASE.verb
    ]  # fmt: skip


@both
@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_savepoint_that_is_interrupted_is_rolled_back_as_well(
    carry_out: Runner, ledger: Connections, error: BaseException
):
    """A time-out, or a Ctrl-C, that somebody catches further up must not leave half of it in their transaction."""
    connection = ledger("bad", error)
    with pytest.raises(type(error)):
        carry_out(savepoint(ask("a", "bad")), connection)
    assert connection.asked == [SAVEPOINT.verb, "a", "bad", ROLLBACK.verb]


@both
def test_a_process_that_is_gone_asks_for_no_rollback_of_a_savepoint(carry_out: Runner, ledger: Connections):
    connection = ledger("bad", Crash())
    with pytest.raises(Crash):
        carry_out(savepoint(ask("bad")), connection)
    assert connection.asked == [SAVEPOINT.verb, "bad"]


@both
def test_a_savepoint_whose_own_statement_fails_starts_nothing(carry_out: Runner, ledger: Connections):
    connection = ledger(fails=SAVEPOINT.verb)
    with pytest.raises(LookupError):
        carry_out(savepoint(ask("a")), connection)
    assert connection.asked == [SAVEPOINT.verb]


# -- finish ------------------------------------------------------------------------------------------------------------


def test_finish_leaves_what_is_no_awaitable_as_it_is():
    thing = object()
    assert finish(thing) is thing
    assert finish(None) is None


def test_finish_waits_for_coroutines_and_for_whatever_can_be_awaited():
    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "later"

    async def coroutine() -> str:
        return "now"

    things: list[Any] = [coroutine(), Later()]
    assert [finish(thing) for thing in things] == ["now", "later"]


def test_finish_raises_what_the_coroutine_raises():
    async def coroutine() -> None:
        raise ZeroDivisionError

    failing: Any = coroutine()
    with pytest.raises(ZeroDivisionError):
        finish(failing)


def test_finish_inside_a_loop_works_in_a_thread_of_its_own():
    async def coroutine() -> str:
        return "done"

    async def inside() -> Any:
        work: Any = coroutine()
        return await asyncio.to_thread(finish, work)

    assert asyncio.run(inside()) == "done"


def test_a_statement_reads_as_its_verb():
    verb, body, arguments, *for_those_who_save_trips = Statement("append", print, (1,))
    assert (verb, body, arguments) == ("append", print, (1,))
    assert not any(for_those_who_save_trips)
    assert (SAVEPOINT.body, RELEASE.body, ROLLBACK.body) == (None, None, None)
