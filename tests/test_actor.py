"""An actor in memory: it decides commands, evolves by events, and a decision that fails leaves nothing behind."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest

from sourced import (
    Actor, Append, Batch, Command, Delivery, Event, Invalid, Message, Meta, Rejection, Schedule, Send, Sync,
    after_commit, decide, dispatch, evolve, react, sync,
)  # fmt: skip
from sourced.errors import DefinitionError, DifferentStream, NotKnown, SmallerSequence

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Add(Command, type="cart.add"):
    product: str
    quantity: Annotated[int, Meta(ge=1)] = 1
    then: str = ""


class Added(Event, type="cart.added"):
    product: str
    quantity: Annotated[int, Meta(ge=1)] = 1
    fails: bool = False


class Counted(Event, type="cart.counted"):
    items: int


class Noted(Event, type="cart.noted"): ...


class Look(Command, type="cart.look"): ...


class Reserve(Command, type="stock.reserve"):
    product: str


class Remind(Command, type="cart.remind"): ...


class Full(Rejection):
    """The cart is full."""


@dataclass
class CartState:
    id: str
    items: list[str] = field(default_factory=list)


class Cart(Actor[CartState], group="carts"):
    @decide
    def add(self, cart: CartState, command: Add):
        cart = yield Added(command.product, command.quantity, fails=command.then == "fail to evolve")
        if command.then == "count":
            yield Counted(len(cart.items))
        if command.then == "fail":
            raise RuntimeError("no more")
        if command.then == "reject":
            raise Full(cart.id)

    @decide
    def look(self, cart: CartState, command: Look): ...

    @evolve
    def added(self, cart: CartState, event: Added):
        cart.items.append(event.product)
        if event.fails:
            raise RuntimeError("half done")

    @react
    def reserve(self, cart: CartState, event: Added):
        yield dispatch(Reserve(event.product), to="stock")
        yield dispatch(Remind(), after=30, metadata={"why": "forgotten"})

    @sync
    def save(self, cart: CartState, batch: Batch, tx: Any):
        tx.append(("saved", list(cart.items), batch.commands, batch.events))

    @after_commit
    def mail(self, cart: CartState, batch: Batch):
        pass


def of(stream, *payloads, after=0):
    """Messages as they are read from a stream."""
    root = Message.new(Noted(), stream=stream)
    return [root.follow(payload, seq=after + n) for n, payload in enumerate(payloads, 1)]


# -- evolving ----------------------------------------------------------------------------------------------------


def test_events_are_folded_into_the_state_and_move_the_seq():
    """B25."""
    cart = Cart.blank("c1")
    assert (cart.seq, cart.state) == (0, CartState("c1"))
    assert cart.evolve(*of("c1", Added("tea"), Added("pot"))) is cart.state
    assert (cart.seq, cart.state.items) == (2, ["tea", "pot"])


def test_a_message_of_another_stream_or_one_seen_before_is_refused():
    """B26. Where it stops, the state stays as of the last message that fitted."""
    cart = Cart.blank("c1")
    with pytest.raises(DifferentStream) as different:
        cart.evolve(*of("c1", Added("tea")), *of("c2", Added("pot")))
    assert (different.value.expected, different.value.found) == ("c1", "c2")
    for seq in (1, 0):
        with pytest.raises(SmallerSequence) as smaller:
            cart.evolve(*of("c1", Added("cup"), after=seq - 1))
        assert (smaller.value.at, smaller.value.found) == (1, seq)
    assert (cart.seq, cart.state.items) == (1, ["tea"])


def test_a_message_nobody_evolves_by_only_moves_the_seq():
    """B27. So does a command, as histories hold them too; and a seq may be left out."""
    cart = Cart.blank("c1")
    cart.evolve(*of("c1", Noted(), Add("tea")), *of("c1", Noted(), after=5))
    assert (cart.seq, cart.state) == (6, CartState("c1"))


def test_evolving_may_return_the_next_state_instead():
    class Counter(Actor[int]):
        def initial(self, stream: str) -> int:
            return 0

        @decide
        def add(self, count: int, command: Add):
            seen.append((yield Added("tea", 2)))
            seen.append((yield Added("pot", 3)))

        @evolve
        def added(self, count: int, event: Message[Added]) -> int:
            return count + event.payload.quantity * event.seq

    seen: list[int] = []
    counter = Counter.blank("c1")
    counter.add("tea")
    assert (counter.state, seen) == (2 * 1 + 3 * 2, [2, 8])


def test_before_evolve_runs_before_each_message_that_is_evolved_by():
    """B41. And for no other."""

    class Watched(Cart):
        def before_evolve(self, state: CartState, message: Message[Any]) -> None:
            state.items.append(f"{message.seq}:")

    cart = Watched.blank("c1")
    cart.evolve(*of("c1", Added("tea"), Noted(), Added("pot")))
    assert cart.state.items == ["1:", "tea", "3:", "pot"]
    cart.add("cup")
    assert cart.state.items[-2:] == ["4:", "cup"]


# -- the first state -----------------------------------------------------------------------------------------------


def test_the_first_state_knows_its_stream():
    assert Cart.blank("c1").state == CartState("c1")
    assert Cart.blank("c1").state is not Cart.blank("c1").state


class Kept(Actor[CartState]):
    @evolve
    def added(self, state: Any, event: Added): ...


def test_an_actor_without_a_state_has_none():
    class Stateless(Actor[None]): ...

    class Silent(Actor): ...  # type: ignore[type-arg]

    class Heir(Kept): ...

    assert (Stateless.blank("c1").state, Silent.blank("c1").state) == (None, None)
    assert Heir.blank("c1").state == CartState("c1")


@pytest.mark.parametrize("state", [dict[str, int], list[str], set, int, str, bytes, object, CartState | None])
def test_a_state_that_cannot_be_made_from_a_stream_has_to_say_how_it_starts(state: Any):
    """A list would take the stream's name letter by letter."""
    actor: Any = type("Odd", (Kept,), {"made_of": None})
    actor.made_of = state
    with pytest.raises(DefinitionError, match=r"Odd: .*override `initial\(self, stream\)`"):
        actor.blank("c1")


# -- deciding ----------------------------------------------------------------------------------------------------


def test_events_get_the_next_seqs_and_are_in_the_state():
    """B28. Decided in memory, a command is stored nowhere and takes no seq."""
    cart = Cart.blank("c1")
    command, events = cart.decide(Add("tea", then="count"), now=NOON)
    assert [(e.seq, e.payload) for e in events] == [(1, Added("tea")), (2, Counted(1))]
    assert {(e.stream, e.causation_id, e.correlation_id, e.created_at) for e in events} == {
        ("c1", command.id, command.id, NOON)
    }
    assert (cart.seq, cart.state.items) == (2, ["tea"])
    assert [e.seq for e in cart.decide(Add("pot")).events] == [3]


def test_a_decider_sees_what_it_has_just_yielded():
    """B29. `yield` answers with the state as it is by then."""
    cart = Cart.blank("c1")
    cart.evolve(*of("c1", Added("tea")))
    assert cart.decide(Add("pot", then="count")).events[-1].payload == Counted(2)


def test_a_command_may_come_in_its_envelope():
    command = Message.new(Add("tea"), stream="c1", metadata={"user": "ann"})
    decision = Cart.blank("c1").decide(command)
    assert decision.command is command
    assert (decision.events[0].metadata, decision.events[0].causation_id) == ({"user": "ann"}, command.id)
    with pytest.raises(DifferentStream):
        Cart.blank("c2").decide(command)


@pytest.mark.parametrize("then", ["fail", "reject", "fail to evolve", "count\0"])
def test_a_failed_decision_leaves_nothing_behind(then):
    """B46. No event, no state, no seq: not of what was yielded, nor of what was half evolved."""
    cart = Cart.blank("c1")
    cart.decide(Add("tea"))
    with pytest.raises((RuntimeError, Full, Invalid)):
        cart.decide(Add("pot", 0 if then == "count\0" else 1, then=then))
    assert (cart.seq, cart.state) == (1, CartState("c1", ["tea"]))
    assert [(e.seq, e.payload) for e in cart.decide(Add("cup")).events] == [(2, Added("cup"))]
    assert cart.state.items == ["tea", "cup"]


def test_an_event_that_could_not_be_stored_is_refused_in_memory_too():
    """So a test on a blank actor does not pass where the real one would fail."""

    class Careless(Actor[list[str]]):
        def initial(self, stream: str) -> list[str]:
            return []

        @decide
        def add(self, items: list[str], command: Add):
            yield Added("tea", -1)

        @evolve
        def added(self, items: list[str], event: Added):
            items.append(event.product)

    careless = Careless.blank("c1")
    with pytest.raises(Invalid, match="Added is not valid: quantity: Expected int >= 1"):
        careless.decide(Add("tea"))
    assert (careless.seq, careless.state) == (0, [])


def test_an_answer_of_no_events_is_a_good_answer():
    """B50. From a decider that yields nothing, and from one without a body."""
    assert Cart.blank("c1").decide(Look()).events == []


def test_a_command_nobody_decides_is_refused():
    with pytest.raises(NotKnown, match="Cart decides no Remind; it has no @decide method for it"):
        Cart.blank("c1").decide(Remind())


def yields(*things):
    yield from things


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ([Added("tea")], r"returned \[Added\(.*; a decider yields its events"),
        (Added("tea"), r"returned Added\(.*; a decider yields its events"),
        (yields(Look()), r"yielded Look\(\); a decider yields events"),
        (yields(None), r"yielded None; a decider yields events"),
        (yields(Added), r"yielded <class .*Added'>; a decider yields events"),
    ],
)
def test_a_decider_that_answers_anything_but_events_is_named(answer, why):
    class Odd(Actor[None]):
        @decide
        def look(self, state: None, command: Look):
            return answer

    with pytest.raises(TypeError, match=r"Odd\.look " + why):
        Odd.blank("c1").decide(Look())


def test_what_a_decider_returns_after_its_yields_is_not_lost_silently():
    class Odd(Actor[None]):
        @decide
        def look(self, state: None, command: Look):  # type: ignore[arg-type, unused-ignore]
            yield Noted()
            return Noted()

    with pytest.raises(TypeError, match=r"Odd\.look returned Noted\(\); a decider yields its events and returns nothing"):
        Odd.blank("c1").decide(Look())


# -- commands as methods -------------------------------------------------------------------------------------------


def test_a_command_is_a_method():
    """B48. The pair of command and events; the state and the seq move, nothing is stored."""
    cart = Cart.blank("c1")
    command, events = cart.add(product="tea", quantity="2")
    assert (command.payload, [e.payload for e in events]) == (Add("tea", 2), [Added("tea", 2)])
    assert (cart.seq, cart.state.items) == (1, ["tea"])
    assert cart.add("pot", 3).command.payload == Add("pot", 3)


def test_an_invalid_command_method_changes_nothing():
    """B48. On purpose there is no invalid command to look at: `Invalid` tells every wrong field."""
    cart = Cart.blank("c1")
    with pytest.raises(Invalid) as refused:
        cart.add(quantity=0)
    assert refused.value.fields == {"product": "Required", "quantity": "Expected int >= 1"}
    assert (cart.seq, cart.state) == (0, CartState("c1"))


def test_a_misspelt_field_is_an_error_and_never_dropped():
    """Input of strangers is trimmed; a call in a program is meant as it is written."""
    cart = Cart.blank("c1")
    for arguments, fields in [(("tea",), {"quantiy": 2}), (("tea", 1, "", 4), {}), (("tea",), {"product": "pot"})]:
        with pytest.raises(TypeError, match="^add: (got an unexpected|too many|multiple values)"):
            cart.add(*arguments, **fields)
    assert cart.seq == 0


def test_no_field_name_is_in_the_way_of_a_command_method():
    class Odd(Command, rename="camel"):
        self: str
        cls: str
        stream_id: str

    class Odds(Actor[None]):
        @decide
        def odd(self, state: None, command: Odd): ...

    odd = Odds.blank("c1").odd(self="a", cls="b", stream_id="c")
    assert odd.command.payload == Odd("a", "b", "c")


def test_a_name_that_is_no_command_is_no_attribute():
    cart = Cart.blank("c1")
    assert not hasattr(cart, "added")
    with pytest.raises(AttributeError, match="Cart has no attribute and decides no command named 'remind'"):
        cart.remind()


class Apply(Command): ...


class Hold(Command): ...


class Restart(Command): ...


class Follow(Command): ...


class Feed(Command): ...


class Machine(Actor[None]):
    @decide
    def any_of_them(self, state: None, command: Apply | Hold | Restart | Follow | Feed):
        yield Noted()


@pytest.mark.xfail(strict=True, reason="the workings of Fold and Aggregate have the names that commands want")
@pytest.mark.parametrize("command", ["apply", "hold", "restart", "follow", "feed"])
def test_a_command_is_a_method_whatever_it_is_called(command):
    """`machine.restart()` must not forget its state without a word."""
    machine = Machine.blank("m1")
    getattr(machine, command)()
    assert machine.seq == 1


# -- what a reactor answers ------------------------------------------------------------------------------------------


def delivered(actor, payload, *, replaying=False):
    memo = actor.memo("c1")
    message = Message.new(payload, stream="c1", metadata={"user": "ann"}, now=NOON)
    return Delivery(message, replaying, NOON + timedelta(hours=1), memo)


def test_a_reaction_answers_what_to_send_and_what_to_schedule():
    """B32, B33. Each is caused by the event and says which group made it; the directions' own metadata comes on top."""
    delivery = delivered(Cart(), Added("tea"))
    send, schedule = Cart().handle(delivery)
    assert isinstance(send, Send)
    assert isinstance(schedule, Schedule)
    ((reserve,), (remind,)) = (send.messages, schedule.messages)
    assert (reserve.payload, reserve.stream) == (Reserve("tea"), "stock")
    assert (remind.payload, remind.stream, schedule.at) == (Remind(), "c1", delivery.now + timedelta(seconds=30))
    assert reserve.metadata == {"user": "ann", "producer": "carts"}
    assert remind.metadata == {"user": "ann", "producer": "carts", "why": "forgotten"}
    assert {m.causation_id for m in (reserve, remind)} == {delivery.message.id}


def test_a_decision_answers_one_append_and_the_sync_comes_when_the_batch_is_through():
    """B31. Nothing has run until it is carried out; then it gets the commands, exactly the appended events, the state."""
    cart, delivery = Cart(), delivered(Cart(), Add("tea", then="count"))
    (append,) = cart.handle(delivery)
    assert isinstance(append, Append)
    assert [m.payload for m in append.messages] == [Added("tea"), Counted(1)]
    saving = [action for action in cart.closing(delivery.memo) if isinstance(action, Sync)]
    tx: list[Any] = []
    assert tx == []
    for action in saving:
        action.work(tx)
    assert tx == [("saved", ["tea"], [delivery.message], list(append.messages))]


def test_a_replay_neither_decides_nor_reacts():
    for payload in (Add("tea"), Added("tea")):
        assert not Cart().handle(delivered(Cart(), payload, replaying=True))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Remind(), r"returned Remind\(\); a reaction yields its commands"),
        (yields(Noted()), r"yielded Noted\(\); a reaction yields commands or dispatch"),
        (yields(dispatch(Noted())), r"yielded Noted\(\); a reaction yields commands or dispatch"),
        (yields("remind"), r"yielded 'remind'; a reaction yields commands or dispatch"),
    ],
)
def test_a_reaction_that_answers_anything_but_commands_is_named(answer, why):
    class Odd(Actor[None]):
        @react
        def added(self, state: None, event: Added):
            return answer

    with pytest.raises(TypeError, match=r"Odd\.added " + why):
        Odd().handle(delivered(Odd(), Added("tea")))


def test_a_reaction_may_be_async():
    """As a coroutine that returns commands, or as an async generator that yields them."""

    class Patient(Actor[None]):
        @react
        async def added(self, state: None, event: Added):
            await asyncio.sleep(0)
            yield Reserve(event.product)

        @react
        async def noted(self, state: None, event: Noted):
            return [Remind()]

    async def answers(payload):
        (send,) = await Patient().handle(delivered(Patient(), payload))
        return [m.payload for m in send.messages]

    assert asyncio.run(answers(Added("tea"))) == [Reserve("tea")]
    assert asyncio.run(answers(Noted())) == [Remind()]
