"""The tracebacks that are kept begin where the code is that failed."""

import asyncio
import re
from typing import Any

import pytest

from sourced import Batch, Event, Message, Park, Projector, Sourced, evolve, sync
from sourced.store import Store
from sourced.traces import trace_of
from tests.facts import until
from tests.workers.crew import at_work, on_a_loop


class Noted(Event, type="traces.noted"):
    text: str


class Notes(Projector[dict[str, str]], group="notes"):
    def initial(self, key: str) -> dict[str, str]:
        return {}

    @evolve
    def noted(self, row: dict[str, str], event: Noted) -> None: ...

    @sync
    def save(self, row: dict[str, str], batch: Batch, tx: Any) -> None:
        raise OSError("the disk is full")


def refuse(event: Message[Noted]) -> None:
    try:
        raise KeyError("nobody")
    except KeyError as error:
        problem = ValueError("cannot take it")
        problem.add_note("it never could")
        raise problem from error


async def refuse_later(event: Message[Noted]) -> None:
    await asyncio.sleep(0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(refuse_one(event))


async def refuse_one(event: Message[Noted]) -> None:
    raise ValueError("cannot take it")


def frames(trace: str) -> list[str]:
    return re.findall(r'File "(.*)", line', trace)


def beginnings(trace: str) -> list[str]:
    """The first frame of each part, and what follows it."""
    return re.findall(r'Traceback \(most recent call last\):\n[ |]*File "(.*)", line', trace)


@pytest.mark.parametrize("handler", [refuse, refuse_later, Notes])
def test_what_is_kept_of_a_parked_message_begins_with_the_users_own_code(handler: Any, store: Store):
    app = Sourced(store, errors=Park())
    app.register(handler) if isinstance(handler, type) else app.on(Noted)(handler)
    app.append("s", Noted("x"))
    app.drain()
    (parked,) = app.parked.list()
    assert set(beginnings(parked.traceback)) == {__file__}
    assert not any("/sourced/runtime/" in name for name in frames(parked.traceback))


def test_so_it_does_in_a_worker():
    app = Sourced(errors=Park())
    app.on(Noted)(refuse)
    app.append("s", Noted("x"))

    async def main() -> None:
        async with at_work(app):
            await until(lambda: app.parked.list())

    on_a_loop(main())
    assert set(beginnings(app.parked.list()[0].traceback)) == {__file__}


def test_causes_notes_and_groups_are_all_there():
    trace = trace_of(caught(lambda: refuse(Message.new(Noted("x"), stream="s"))))
    assert "KeyError: 'nobody'" in trace
    assert "The above exception was the direct cause" in trace
    assert trace.endswith("ValueError: cannot take it\nit never could\n")
    several = caught(lambda: asyncio.run(refuse_later(Message.new(Noted("x"), stream="s"))))
    trace = trace_of(several)
    assert "unhandled errors in a TaskGroup (1 sub-exception)" in trace
    assert "ValueError: cannot take it" in trace
    assert "in refuse_one" in trace


def test_what_happened_while_something_else_was_handled_is_there_too():
    def fails() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904

    trace = trace_of(caught(fails))
    assert re.search("KeyError: 'first'(.|\n)*During handling(.|\n)*ValueError: second", trace)


def test_where_no_code_of_the_user_is_in_it_nothing_is_left_out():
    trace = trace_of(caught_in_ours())
    assert frames(trace)
    assert all("/sourced/" in name for name in frames(trace))


def caught(work: Any) -> BaseException:
    try:
        work()
    except BaseException as error:
        return error
    raise AssertionError("expected it to fail")


def caught_in_ours() -> BaseException:
    """As a round finds it: from a frame of ours on."""
    error = caught(lambda: Sourced().execute(Noted("x"), to="s"))  # type: ignore[arg-type]
    trace: Any = error.__traceback__
    while __file__ == trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    return error.with_traceback(trace)
