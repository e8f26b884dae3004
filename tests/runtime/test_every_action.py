"""Every action there is, from reactors that are handed one message and from those that take a batch, on every store."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, get_args

import pytest

from sourced import (
    Ack,
    AfterCommit,
    Append,
    Delivery,
    Message,
    Park,
    Reactor,
    RetryAt,
    Schedule,
    Send,
    Sourced,
    Stop,
    Sync,
    Unschedule,
)
from sourced.actions import Action, Actions
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.clock import START
from tests.rows import put, table
from tests.runtime.listener import Ignored, Noted

LATER = START + timedelta(hours=1)
Answer = Callable[[Sequence[Delivery]], Actions]


def one_by_one(kind: str, answer: Answer) -> Reactor:
    class Each(Reactor, group=kind):
        handles = (Noted,)

        def handle(self, delivery: Delivery) -> Actions:
            handed.setdefault(kind, []).append([delivery.message.seq])
            return answer([delivery])

    return Each()


def at_once(kind: str, answer: Answer) -> Reactor:
    class Bulk(Reactor, group=kind):
        handles = (Noted,)

        def handle_batch(self, deliveries: Sequence[Delivery]) -> Actions:
            handed.setdefault(kind, []).append([each.message.seq for each in deliveries])
            return answer(deliveries)

    return Bulk()


def awaited(kind: str, answer: Answer) -> Reactor:
    class Awaited(Reactor, group=kind):
        handles = (Noted,)

        async def handle(self, delivery: Delivery) -> Any:
            handed.setdefault(kind, []).append([delivery.message.seq])
            return answer([delivery])

    return Awaited()


handed: dict[str, list[list[int]]] = {}


def bare(stream: str) -> tuple[Message[Any]]:
    """A message that does not say what caused it."""
    return (Message.new(Ignored(), stream=stream, now=START),)


def answers(told: list[int]) -> dict[type[Action], Callable[[Message[Any]], Action]]:
    """Each kind of action, for a message."""
    return {
        Append: lambda came: Append(bare(f"appended-{came.seq}"), 0),
        Send: lambda came: Send(bare("sent")),
        Schedule: lambda came: Schedule(bare(f"later-{came.seq}"), LATER),
        Unschedule: lambda came: Unschedule(("waits",)),
        Sync: lambda came: Sync(lambda tx: put(tx, "rows", came.seq, came.payload.text)),
        AfterCommit: lambda came: AfterCommit(lambda: told.append(came.seq)),
        Ack: Ack,
        RetryAt: lambda came: RetryAt(LATER),
        Park: lambda came: Park("look at it"),
        Stop: lambda came: Stop("no more"),
    }


@pytest.mark.parametrize("make", [one_by_one, at_once, awaited])
def test_every_action_does_what_it_says(store: Store, make: Callable[[str, Answer], Reactor]):
    """What follows a message is stored with its acknowledgement, and caused by it; a verdict leaves it where it was."""
    handed.clear()
    app, told = Sourced(store, clock=VirtualClock()), list[int]()
    does = answers(told)
    assert {*does} == {*get_args(Action)}
    for kind, doing in does.items():
        app.register(make(kind.__name__, lambda came, doing=doing: [doing(each.message) for each in came]))  # type: ignore[misc]
    app.register(make("nothing", lambda came: None), make("empty", lambda came: []))
    for id in ("waits", "goes on waiting"):
        app.dispatch(Message.new(Ignored(), stream="t", id=id, now=START), at=LATER)
    first, second = app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    assert app.drain() == 0

    bulk = make is at_once  # there the last message counts as the cause of what does not name its own
    caused = [app.history(f"appended-{seq}")[0].causation_id for seq in (1, 2)]
    assert caused == [(second if bulk else first).id, second.id]
    assert [each.causation_id for each in app.history("sent")] == caused
    scheduled = {each.record.stream: (each.at, each.record.causation_id) for each in app.scheduled.list()}
    assert scheduled == {
        "later-1": (LATER, caused[0]), "later-2": (LATER, caused[1]), "t": (LATER, "goes on waiting"),
    }  # fmt: skip
    assert dict(table(store, "rows")) == {1: "1", 2: "2"}
    assert told == [1, 2]

    whole = [[1, 2]] if bulk else [[1], [2]]
    assert handed == {kind: whole[:1] if kind in ("RetryAt", "Park", "Stop") else whole for kind in handed}
    assert len(handed) == len(does) + 2
    waiting = {info.name: info.stragglers[0] for info in app.groups.list() if info.stragglers}
    assert (waiting["RetryAt"].from_seq, waiting["RetryAt"].retry_at) == (1, LATER)
    assert (waiting["Park"].from_seq, waiting["Park"].parked, waiting["Park"].reason) == (1, True, "look at it")
    assert {info.name: info.status for info in app.groups.list() if info.status != "active"} == {"Stop": "stopped"}
    assert {*waiting} <= {"RetryAt", "Park", "Stop"}
