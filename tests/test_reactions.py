"""What an actor answers when a message is handed to it: appends, sends, schedules, and its closing work."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sourced import (
    Actor,
    Append,
    Batch,
    Command,
    Delivery,
    Event,
    Message,
    Schedule,
    Send,
    Sourced,
    Sync,
    after_commit,
    decide,
    dispatch,
    evolve,
    react,
    sync,
)
from sourced.stores.memory import MemoryStore
from sourced.testing import VirtualClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Add(Command, type="cart.add"):
    product: str


class Added(Event, type="cart.added"):
    product: str


class Counted(Event, type="cart.counted"):
    items: int


class Reserve(Command, type="stock.reserve"):
    product: str


class Remind(Command, type="cart.remind"): ...


class Cart(Actor[list[str]], group="carts"):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def add(self, items: list[str], command: Add):
        items = yield Added(command.product)
        yield Counted(len(items))

    @evolve
    def added(self, items: list[str], event: Added):
        items.append(event.product)

    @react
    def reserve(self, items: list[str], event: Added):
        yield dispatch(Reserve(event.product), to="stock")
        yield dispatch(Remind(), after=30, metadata={"why": "forgotten"})

    @sync
    def save(self, items: list[str], batch: Batch, tx: Any):
        tx.table("saved")[batch.stream] = (list(items), batch.commands, batch.events)

    @after_commit
    def mail(self, items: list[str], batch: Batch): ...


def delivered(actor, payload, *, replaying=False):
    message = Message.new(payload, stream="c1", metadata={"user": "ann"}, now=NOON)
    return Delivery(message, replaying, NOON + timedelta(hours=1), actor.memo("c1"))


def handled(actor, delivery) -> Any:
    return actor.handle(delivery)


def test_a_reaction_answers_what_to_send_and_what_to_schedule():
    """B32, B33. Each is caused by the event and says which group made it; metadata of its own comes on top."""
    delivery = delivered(Cart(), Added("tea"))
    send, schedule = handled(Cart(), delivery)
    assert (type(send), type(schedule)) == (Send, Schedule)
    ((reserve,), (remind,)) = (send.messages, schedule.messages)
    assert (reserve.payload, reserve.stream) == (Reserve("tea"), "stock")
    assert (remind.payload, remind.stream, schedule.at) == (Remind(), "c1", delivery.now + timedelta(seconds=30))
    assert reserve.metadata == {"user": "ann", "producer": "carts"}
    assert remind.metadata == {"user": "ann", "producer": "carts", "why": "forgotten"}
    assert {m.causation_id for m in (reserve, remind)} == {delivery.message.id}


def test_a_story_carries_its_metadata_and_its_causes_through_every_stream():
    """Who asked is known to the last message: each one names what caused it, and what a reaction makes, its group."""

    class Stock(Actor[None], group="stock"):
        @decide
        def reserve(self, state: None, command: Reserve):
            yield Counted(1)

    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock)
    first = app.dispatch(Add("tea"), to="c1", metadata={"user": "ann"})
    app.drain(raise_errors=True)
    story = {m.type: m for m in app.trace(first) if m.stream == "stock" or m.type == "cart.added"}
    added, reserve, counted = (story[name] for name in ("cart.added", "stock.reserve", "cart.counted"))
    assert [m.causation_id for m in (added, reserve, counted)] == [first.id, added.id, reserve.id]
    assert {m.correlation_id for m in app.read_all()} == {first.id}
    assert added.metadata == {"user": "ann"}
    assert reserve.metadata == counted.metadata == {"user": "ann", "producer": "carts"}
    (remind,) = app.scheduled.list()
    assert (remind.record.correlation_id, remind.record.causation_id) == (first.id, added.id)


def test_a_decision_answers_one_append_and_the_sync_comes_when_the_batch_is_through():
    """B31. Nothing has run before it is carried out; it gets the commands, exactly the appended events, the state."""
    cart, delivery = Cart(), delivered(Cart(), Add("tea"))
    (append,) = handled(cart, delivery)
    assert type(append) is Append
    assert [m.payload for m in append.messages] == [Added("tea"), Counted(1)]
    (saving,) = [action for action in cart.closing(delivery.memo) if isinstance(action, Sync)]
    with MemoryStore().transaction() as connection:
        saved = connection.tx.table("saved")
        assert dict(saved) == {}
        saving.work(connection.tx)
        assert dict(saved) == {"c1": (["tea"], [delivery.message], list(append.messages))}


def test_a_replay_neither_decides_nor_reacts():
    for payload in (Add("tea"), Added("tea")):
        assert not handled(Cart(), delivered(Cart(), payload, replaying=True))


def yields(*things):
    yield from things


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Remind(), r"returned Remind\(\); a reaction yields its commands"),
        (yields(Counted(1)), r"yielded Counted\(items=1\); a reaction yields commands or dispatch"),
        (yields(dispatch(Counted(2))), r"yielded Counted\(items=2\); a reaction yields commands or dispatch"),
        (yields("remind"), r"yielded 'remind'; a reaction yields commands or dispatch"),
        (yields(Remind), r"yielded <class .*Remind'>; a reaction yields commands or dispatch"),
    ],
)
def test_a_reaction_that_answers_anything_but_commands_is_named(answer, why):
    class Odd(Actor[None]):
        @react
        def added(self, state: None, event: Added):
            return answer

    with pytest.raises(TypeError, match=r"Odd\.added " + why):
        Odd().handle(delivered(Odd(), Added("tea")))


def test_a_reaction_may_wait():
    """As an async generator that yields its commands, or as a coroutine that has none."""

    class Patient(Actor[None]):
        @react
        async def added(self, state: None, event: Added):
            await asyncio.sleep(0)
            yield Reserve(event.product)

        @react
        async def counted(self, state: None, event: Counted) -> None:
            await asyncio.sleep(0)

    async def answer(payload):
        return await handled(Patient(), delivered(Patient(), payload))

    (send,) = asyncio.run(answer(Added("tea")))
    assert [m.payload for m in send.messages] == [Reserve("tea")]
    assert asyncio.run(answer(Counted(1))) == []
