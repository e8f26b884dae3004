"""Spans follow causation: one trace from the first command to its last effect, whoever handles what, wherever."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import json
from opentelemetry.trace import get_current_span, get_tracer_provider

from sourced import Delivery, Message, Park, Retry, Sourced
from sourced.errors import Conflict
from sourced.integrations.opentelemetry import trace
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, ItemAdded, Stock
from tests.facts import PATIENCE
from tests.integrations.traced import Seen, Tracing
from tests.runtime.bells import both_sides, drained
from tests.runtime.listener import Noted, failing, listening
from tests.runtime.test_batches import Bulk

ROOT = Path(__file__).parents[2]


def shop(**options: Any) -> tuple[Sourced, Tracing]:
    app, tracing = Sourced(**{"clock": VirtualClock(), **options}), Tracing()
    app.register(Cart, Stock)
    trace(app, tracing.provider)
    return app, tracing


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def test_one_trace_runs_through_two_processes(url: str):
    """Dispatched here, handled there: command → event → reaction → command in another stream → event."""
    app, tracing = shop(store=url)
    with app:
        app.migrate()
        message = app.dispatch(AddItem("tea"), to="c1")
        command = [sys.executable, "-m", "tests.integrations.traced", url]
        printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        log = app.read_all()
    (dispatched,), there = tracing.spans, json.decode(printed, type=list[Seen])
    added, reacted, reserved = there
    assert [(span.name, span.kind) for span in (dispatched, *there)] == [
        ("dispatch shop.add_item", "PRODUCER"),
        ("handle shop.add_item", "CONSUMER"),
        ("handle shop.item_added", "CONSUMER"),
        ("handle shop.reserve", "CONSUMER"),
    ]
    assert len({span.trace_id for span in (dispatched, *there)}) == 1
    assert [span.parent for span in (dispatched, *there)] == [
        None, dispatched.span_id, added.span_id, reacted.span_id,
    ]  # fmt: skip
    assert [span.links for span in there] == [(span.parent,) for span in there]
    carriers = {m.type: int(m.metadata["traceparent"].split("-")[2], 16) for m in log}
    assert carriers == {
        "shop.add_item": dispatched.span_id,
        "shop.item_added": added.span_id,
        "shop.reserve": reacted.span_id,
        "shop.reserved": reserved.span_id,
    }
    assert dispatched.attributes == {
        "messaging.system": "sourced",
        "messaging.operation.name": "dispatch",
        "messaging.operation.type": "send",
        "messaging.destination.name": "c1",
        "messaging.message.id": message.id,
        "messaging.message.conversation_id": message.id,
        "sourced.message.type": "shop.add_item",
        "sourced.message.causation_id": message.id,
    }
    assert reserved.attributes == {
        "messaging.system": "sourced",
        "messaging.operation.name": "handle",
        "messaging.operation.type": "process",
        "messaging.destination.name": "stock-tea",
        "messaging.message.id": log[2].id,
        "messaging.message.conversation_id": message.id,
        "messaging.consumer.group.name": "shop.stock",
        "sourced.message.type": "shop.reserve",
        "sourced.message.causation_id": log[1].id,
        "sourced.message.seq": 1,
        "sourced.attempt": 1,
        "sourced.replaying": False,
    }


@both_sides
def test_what_is_stored_belongs_to_the_span_it_is_stored_in(how: str):
    """A web request, say: its trace goes on in the background, and in what `execute` decides."""
    app, tracing = shop()
    tracer = tracing.provider.get_tracer("web")

    async def executed() -> None:
        with tracer.start_as_current_span("POST /cart"):
            await app.aio.execute(AddItem("tea"), to="c1")
            assert get_current_span().get_span_context().is_valid

    if how == "awaiting":
        asyncio.run(executed())
    else:
        with tracer.start_as_current_span("POST /cart"):
            app.execute(AddItem("tea"), to="c1")
    drained(app, how)
    execute, request, reacted, reserved = tracing.spans
    assert [span.name for span in tracing.spans] == [
        "execute shop.add_item", "POST /cart", "handle shop.item_added", "handle shop.reserve",
    ]  # fmt: skip
    assert [span.parent for span in (request, execute, reacted, reserved)] == [
        None, request.span_id, execute.span_id, reacted.span_id,
    ]  # fmt: skip


def test_a_trace_that_comes_from_elsewhere_goes_on():
    """With a message of another system: its `traceparent` is taken over, unless something is under way here."""
    app, tracing = shop()
    foreign = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1"}
    app.dispatch(AddItem("tea"), to="c1", metadata=foreign)
    with tracing.provider.get_tracer("web").start_as_current_span("here"):
        app.dispatch(AddItem("tea"), to="c2", metadata=foreign)
    first, second, here = tracing.spans
    assert (first.trace_id, first.parent) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert (second.trace_id, second.parent, second.links) == (here.trace_id, here.span_id, (0xB7AD6B7169203331,))
    assert app.history("c1")[0].metadata["tracestate"] == "a=1"


def test_a_batch_is_one_span():
    app, tracing = shop()
    app.append("c1", [ItemAdded("tea", 1), Noted()])
    (span,) = tracing.spans
    assert span.name == "append messages"
    assert span.attributes["messaging.batch.message_count"] == 2
    assert len({m.metadata["traceparent"] for m in app.history("c1")}) == 1


def test_a_batch_that_is_handled_at_once_points_at_whatever_it_comes_from():
    app, tracing = Sourced(clock=VirtualClock()), Tracing()
    app.register(Bulk())
    trace(app, tracing.provider)
    app.append("s", Noted("1"))
    app.append("s", Noted("2"))
    app.append("t", [Noted("1"), Noted("2")])
    app.drain()
    one, other, both, several, together = tracing.spans
    if several.attributes["messaging.destination.name"] == "t":
        several, together = together, several
    assert (several.name, several.attributes["messaging.batch.message_count"]) == ("handle test.noted", 2)
    assert (several.parent, several.links) == (None, (one.span_id, other.span_id))
    assert (together.parent, together.links) == (both.span_id, (both.span_id,))


def test_failures_are_on_their_spans_attempt_by_attempt():
    app, _ = listening(failing("bad"), errors=Retry(times=1, after=5, then=Park()))
    tracing = Tracing()
    trace(app, tracing.provider)
    app.append("s", Noted("bad"))
    app.drain()
    app._engine.clock.advance(5)  # type: ignore[attr-defined]
    app.drain()
    with pytest.raises(Conflict):
        app.append("s", Noted("bad"), expected_seq=7)
    fine, *attempts, refused = tracing.spans
    assert (fine.status, fine.events) == ("UNSET", ())
    assert [(span.parent, span.attributes["sourced.attempt"], span.status, span.events) for span in attempts] == [
        (fine.span_id, attempt, "ERROR", (("exception", "cannot take bad"),)) for attempt in (1, 2)
    ]
    assert {span.attributes["error.type"] for span in attempts} == {"builtins.ValueError"}
    assert (refused.status, refused.attributes["error.type"]) == ("ERROR", "sourced.errors.Conflict")


def test_a_rejection_is_an_answer():
    """Not a failure: nobody is paged because a cart is closed."""
    app, tracing = shop()
    app.execute(Close(), to="c1")
    with pytest.raises(CartClosed):
        app.execute(AddItem("tea"), to="c1")
    _, span = tracing.spans
    assert (span.status, span.events, span.attributes["sourced.rejection"]) == ("UNSET", (), "CartClosed")


def test_a_replay_is_a_trace_of_its_own_and_points_at_the_first():
    app, _ = listening()
    tracing = Tracing()
    trace(app, tracing.provider)
    app.append("s", Noted())
    app.drain()
    app.groups.reset("listener")
    app.drain()
    appended, handled, replayed = tracing.spans
    assert (handled.trace_id, handled.parent) == (appended.trace_id, appended.span_id)
    assert replayed.trace_id != appended.trace_id
    assert (replayed.parent, replayed.links) == (None, (appended.span_id,))
    assert replayed.attributes["sourced.replaying"] is True


def test_a_handler_s_own_spans_are_children_of_its_span():
    """In a worker, where plain code runs in a thread and what it awaits on the loop."""
    tracing = Tracing()

    async def handle(delivery: Delivery) -> Any:
        with tracing.provider.get_tracer("mine").start_as_current_span(f"plain {delivery.message.stream}"):
            await asyncio.sleep(0)
        await asyncio.gather(calling(delivery.message))

    async def calling(message: Message[Any]) -> None:
        await asyncio.sleep(0)
        with tracing.provider.get_tracer("mine").start_as_current_span(f"task {message.stream}"):
            await asyncio.sleep(0)

    async def main() -> None:
        async with app.running():
            for message in [app.append(stream, Noted())[0] for stream in "abc"]:
                await app.aio.wait_for(message, timeout=PATIENCE)

    app, _ = listening(handle, clock=None)
    trace(app, tracing.provider)
    asyncio.run(main())
    handled = {s.attributes["messaging.destination.name"]: s for s in tracing.spans if s.name.startswith("handle")}
    for stream in "abc":
        own = [span for span in tracing.spans if span.name in (f"plain {stream}", f"task {stream}")]
        assert [span.parent for span in own] == [handled[stream].span_id] * 2


def test_without_the_sdk_nothing_is_carried_and_after_its_end_nothing_happens():
    """The global provider of a program that configured none makes no spans."""
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock)
    end = trace(app)
    assert type(get_tracer_provider()).__module__ == "opentelemetry.trace"
    app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    assert [m.metadata.get("traceparent") for m in app.read_all()] == [None] * 4
    end()
    assert not app.telemetry.heard
