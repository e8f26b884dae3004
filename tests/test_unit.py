"""A unit: a command and everything it sets off among some reactors, in one transaction or not at all."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from sourced import (
    Actor,
    AfterCommit,
    Batch,
    Command,
    Conflict,
    DefinitionError,
    Delivery,
    Duplicate,
    Event,
    EventSourced,
    History,
    Message,
    Park,
    Projector,
    Reactor,
    Rejection,
    RetryAt,
    Send,
    Sourced,
    Sync,
    Workflow,
    after_commit,
    decide,
    dispatch,
    evolve,
    react,
    sync,
)
from sourced.errors import Endless, NotKnown, UnknownGroup
from sourced.ops import run
from sourced.store import Store
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing import VirtualClock, crash_everywhere
from sourced.testing.clock import START
from tests.facts import somebody_else
from tests.rows import get, put, table
from tests.runtime.listener import together


class Order(Command, type="unit.order"):
    product: str
    quantity: int = 1


class Ordered(Event, type="unit.ordered"):
    product: str
    quantity: int


class Reserve(Command, type="unit.reserve"):
    quantity: int
    order: str


class Reserved(Event, type="unit.reserved"):
    quantity: int
    order: str


class Confirm(Command, type="unit.confirm"): ...


class Confirmed(Event, type="unit.confirmed"): ...


class Remind(Command, type="unit.remind"): ...


class Ship(Command, type="unit.ship"): ...


class SoldOut(Rejection):
    """There are not enough of them."""


@dataclass
class OrderState:
    id: str
    products: list[str] = field(default_factory=list)
    confirmed: bool = False


class Orders(Actor[OrderState], group="orders"):
    @decide
    def order(self, order: OrderState, command: Order):
        yield Ordered(command.product, command.quantity)

    @evolve
    def ordered(self, order: OrderState, event: Ordered):
        order.products.append(event.product)

    @react
    def reserve(self, order: OrderState, event: Ordered):
        yield dispatch(Reserve(event.quantity, order.id), to=f"stock-{event.product}")
        yield dispatch(Remind(), after=timedelta(days=1))

    @decide
    def confirm(self, order: OrderState, command: Confirm):
        yield Confirmed()

    @evolve
    def confirmed(self, order: OrderState, event: Confirmed):
        order.confirmed = True

    @decide
    def remind(self, order: OrderState, command: Remind): ...


class Stock(Actor[int], group="stock"):
    def initial(self, stream: str) -> int:
        return 3

    @decide
    def reserve(self, left: int, command: Reserve):
        if command.quantity > left:
            raise SoldOut(left)
        yield Reserved(command.quantity, command.order)

    @evolve
    def reserved(self, left: int, event: Reserved):
        return left - event.quantity

    @react
    def confirm(self, left: int, event: Reserved):
        yield dispatch(Confirm(), to=event.order)


class Counts(Projector[dict[str, int]], group="counts"):
    """How many were reserved of each product."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"n": 0}

    def load(self, key: str, tx: Any) -> Any:
        return get(tx, "counts", key)

    @evolve
    def reserved(self, row: dict[str, int], event: Reserved):
        row["n"] += event.quantity

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> Any:
        return put(tx, "counts", batch.stream, dict(row))


@pytest.fixture
def app(store: Store) -> Sourced:
    app = Sourced(store, clock=VirtualClock(), errors=Park())
    app.register(Orders, Stock, Counts)
    return app


def trail(app: Sourced) -> list[tuple[str, int, str]]:
    return [(m.stream, m.seq, m.type.removeprefix("unit.")) for m in app.read_all()]


class TestAllOrNothing:
    def test_a_command_and_everything_it_sets_off_is_stored(self, app: Sourced):
        """K181. In order, causes before effects; it is one story, with the metadata that it began with."""
        cascade = app.unit(Orders, Stock).execute(Order("tea"), to="o1", metadata={"user": 7})
        assert trail(app) == [
            ("o1", 1, "order"),
            ("o1", 2, "ordered"),
            ("stock-tea", 1, "reserve"),
            ("stock-tea", 2, "reserved"),
            ("o1", 3, "confirm"),
            ("o1", 4, "confirmed"),
        ]
        assert list(cascade.messages) == app.read_all()
        assert cascade.command == cascade.messages[0]
        assert [m.payload for m in cascade.events] == [Ordered("tea", 1), Reserved(1, "o1"), Confirmed()]
        assert [m.type for m in cascade.of(Stock)] == ["unit.reserved", "unit.confirm"]
        assert [m.type for m in cascade.of("orders")] == ["unit.ordered", "unit.reserve", "unit.confirmed"]
        assert cascade.of(Counts) == ()
        assert {m.correlation_id for m in cascade.messages} == {cascade.command.id}
        assert {m.metadata["user"] for m in cascade.messages} == {7}
        causes = {m.id: m.causation_id for m in cascade.messages}
        assert [causes[m.id] for m in cascade.messages[1:]] == [m.id for m in cascade.messages[:-1]]

    def test_nothing_is_left_for_the_workers(self, app: Sourced):
        """K182."""
        app.unit(Orders, Stock, Counts).execute(Order("tea"), to="o1")
        before = trail(app)
        app.drain(raise_errors=True)
        assert trail(app) == before
        assert app.drain() == 0

    @pytest.mark.parametrize("side", ["blocking", "awaited"])
    def test_an_error_anywhere_leaves_nothing(self, app: Sourced, side: str):
        """K183. A rejection of whoever answers reaches the one who asked."""

        def execute() -> None:
            if side == "blocking":
                app.unit(Orders, Stock).execute(Order("tea", 4), to="o1")
            else:
                asyncio.run(app.aio.unit(Orders, Stock).execute(Order("tea", 4), to="o1"))

        with pytest.raises(SoldOut, match="3"):
            execute()
        assert (app.read_all(), app.scheduled.list()) == ([], [])
        assert app.execute(Order("tea"), to="o1").events[0].seq == 2

    def test_sync_blocks_belong_to_it(self, app: Sourced):
        """K183, U8. They see what is stored, and when one fails nothing is."""

        class Strict(Counts, group="strict"):
            @sync
            def check(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
                assert batch.events[0].position > 0
                if row["n"] > 1:
                    raise ValueError(row["n"])

        app.register(Strict)
        unit = app.unit(Orders, Stock, Strict)
        unit.execute(Order("tea"), to="o1")
        before = trail(app)
        with pytest.raises(ValueError, match="2"):
            unit.execute(Order("tea"), to="o2")
        assert trail(app) == before
        assert dict(table(app.store, "counts")) == {"stock-tea": {"n": 1}}

    def test_reactors_that_run_in_circles(self, app: Sourced):
        """K184."""

        class Circle(Reactor, group="circle"):
            handles = (Ordered,)

            def handle(self, delivery: Delivery):
                return [Send((delivery.message.follow(Order("tea"), now=delivery.now),))]

        app.register(Circle)
        with pytest.raises(Endless, match="exceeded 5 messages") as endless:
            app.unit(Orders, Circle, most=5).execute(Order("tea"), to="o1")
        assert endless.value.most == 5
        assert app.read_all() == []

    def test_what_is_for_later_is_scheduled_and_not_done(self, app: Sourced):
        """K185."""
        cascade = app.unit(Orders, Stock).execute(Order("tea"), to="o1")
        assert [m.payload for m in cascade.scheduled] == [Remind()]
        assert [(each.record.id, each.at) for each in app.scheduled.list()] == [
            (cascade.scheduled[0].id, START + timedelta(days=1))
        ]
        app._engine.clock.advance(86_400)  # type: ignore[attr-defined]
        app.drain()
        assert trail(app)[-1] == ("o1", 5, "remind")

    def test_what_none_of_them_handles_waits_for_the_workers(self, app: Sourced):
        """K186."""
        app.unit(Orders).execute(Order("tea"), to="o1")
        assert trail(app) == [("o1", 1, "order"), ("o1", 2, "ordered"), ("stock-tea", 1, "reserve")]
        app.drain()
        assert trail(app)[3:] == [("stock-tea", 2, "reserved"), ("o1", 3, "confirm"), ("o1", 4, "confirmed")]

    def test_commands_need_not_be_kept(self, app: Sourced):
        """K187. Those that nobody here handles are, or they would be lost."""
        cascade = app.unit(Orders, Stock, keep_commands=False).execute(Order("tea"), to="o1")
        assert trail(app) == [("o1", 1, "ordered"), ("stock-tea", 1, "reserved"), ("o1", 2, "confirmed")]
        assert [m.type for m in cascade.messages] == ["unit.ordered", "unit.reserved", "unit.confirmed"]
        app.unit(Orders, keep_commands=False).execute(Order("mug"), to="o2")
        assert trail(app)[3:] == [("o2", 1, "ordered"), ("stock-mug", 1, "reserve")]

    def test_a_unit_is_used_as_often_as_one_likes(self, app: Sourced):
        """K188."""
        unit = app.unit(Orders, Stock)
        first, second = unit.execute(Order("tea"), to="o1"), unit.execute(Order("tea"), to="o2")
        assert {m.stream for m in first.messages} & {m.stream for m in second.messages} == {"stock-tea"}
        assert not {m.id for m in first.messages} & {m.id for m in second.messages}
        assert app.load(Stock, "stock-tea").state == 1

    def test_an_older_command_that_waits_is_still_handled(self, app: Sourced):
        """K189. Of the command's stream, and of one that the cascade reaches."""
        app.dispatch(Order("mug"), to="o1")
        app.dispatch(Reserve(1, "o9"), to="stock-tea")
        app.unit(Orders, Stock, Counts).execute(Order("tea"), to="o1")
        assert app.load(Orders, "o1").state == OrderState("o1", ["tea"], True)
        app.drain()
        assert app.load(Orders, "o1").state.products == ["tea", "mug"]
        assert app.load(Stock, "stock-tea").state == 1
        assert dict(table(app.store, "counts")) == {"stock-tea": {"n": 2}, "stock-mug": {"n": 1}}


class TestWhoMayTakePart:
    def test_a_read_model_is_up_to_date_at_once(self, app: Sourced):
        unit = app.unit(Orders, Stock, Counts)
        for stream in ("o1", "o2"):
            unit.execute(Order("tea"), to=stream)
        assert dict(table(app.store, "counts")) == {"stock-tea": {"n": 2}}
        app.drain()
        assert dict(table(app.store, "counts")) == {"stock-tea": {"n": 2}}

    def test_one_that_lags_behind_is_left_to_the_workers_in_order(self, app: Sourced):
        """What came first is projected first, whoever does it."""
        seen: list[int] = []

        class Orderly(EventSourced[list[int]], group="orderly"):
            def initial(self, stream: str) -> list[int]:
                return []

            @evolve
            def reserved(self, seqs: list[int], event: Message[Reserved]):
                seqs.append(event.seq)

            @sync
            def save(self, seqs: list[int], batch: Batch, tx: Any) -> None:
                seen.extend(m.seq for m in batch.events)

        app.register(Orderly)
        unit = app.unit(Orders, Stock, Orderly)
        app.execute(Reserve(1, "o0"), to="stock-tea")
        unit.execute(Order("tea"), to="o1")
        assert seen == []
        app.drain()
        unit.execute(Order("tea"), to="o2")
        assert seen == sorted(seen)
        assert len(seen) == 3

    def test_a_stopped_read_model_stays_stopped(self, app: Sourced):
        app.groups.stop(Counts)
        app.unit(Orders, Stock, Counts).execute(Order("tea"), to="o1")
        assert dict(table(app.store, "counts")) == {}
        app.groups.start(Counts)
        app.drain()
        assert dict(table(app.store, "counts")) == {"stock-tea": {"n": 1}}

    def test_functions_histories_and_actions(self, app: Sourced):
        ran: list[Any] = []

        @app.on(Ordered)
        async def shipping(event: Message[Ordered], history: History):
            ran.append([m.type for m in history])
            yield Ship()
            yield Sync(lambda tx: put(tx, "shipped", event.stream, True))
            yield AfterCommit(lambda: ran.append("committed"))

        cascade = app.unit(Orders, shipping).execute(Order("tea"), to="o1")
        assert ran == [["unit.order", "unit.ordered"], "committed"]
        assert [m.payload for m in cascade.of(shipping)] == [Ship()]
        assert dict(table(app.store, "shipped")) == {"o1": True}

    def test_a_projector_that_reacts(self, app: Sourced):
        class Rewards(Counts, group="rewards"):
            @react
            def ship(self, row: dict[str, int], event: Reserved):
                if row["n"] > 1:
                    yield dispatch(Ship(), to=event.order)

        app.register(Rewards)
        unit = app.unit(Orders, Stock, Rewards)
        assert [m.type for m in unit.execute(Order("tea"), to="o1").of(Rewards)] == []
        assert [m.type for m in unit.execute(Order("tea"), to="o2").of(Rewards)] == ["unit.ship"]

    def test_reactions_see_the_state_as_of_their_event(self, app: Sourced):
        seen: list[tuple[int, int]] = []

        class Several(Actor[int], group="several"):
            def initial(self, stream: str) -> int:
                return 0

            @decide
            def ship(self, n: int, command: Ship):
                for quantity in (1, 2, 3):
                    yield Ordered("x", quantity)

            @evolve
            def ordered(self, n: int, event: Ordered):
                return n + event.quantity

            @react
            def look(self, n: int, event: Ordered):
                seen.append((event.quantity, n))
                yield from ()

        app.register(Several)
        unit = app.unit(Several)
        unit.execute(Ship(), to="s1")
        unit.execute(Ship(), to="s1")
        assert seen == [(1, 1), (2, 3), (3, 6), (1, 7), (2, 9), (3, 12)]

    def test_hooks_run_once_it_is_durable(self, app: Sourced):
        told: list[list[int]] = []

        class Telling(Stock, group="telling"):
            @decide
            def ship(self, left: int, command: Ship):
                yield Confirmed()

            @after_commit
            def tell(self, left: int, batch: Batch) -> None:
                told.append([m.position for m in (*batch.commands, *batch.events)])

        other = Sourced(app.store, clock=VirtualClock())
        other.register(Telling)
        other.unit(Telling).execute(Ship(), to="s1")
        assert told == [[1, 2]]

    def test_an_event_may_begin_it_too(self, app: Sourced):
        cascade = app.unit(Orders, Stock).execute(Ordered("tea", 1), to="o1")
        assert [m.type for m in cascade.messages][:2] == ["unit.ordered", "unit.reserve"]
        assert app.load(Orders, "o1").state.confirmed

    def test_who_says_not_now_is_asked_again_by_the_workers(self, app: Sourced):
        later = START + timedelta(minutes=1)

        @app.on(Ordered)
        def shipping(event: Ordered):
            return Ship() if app._engine.clock.now() >= later else RetryAt(later)

        app.unit(Orders, shipping).execute(Order("tea"), to="o1")
        app.drain()
        assert "ship" not in {type for _, _, type in trail(app)}
        app._engine.clock.advance(60)  # type: ignore[attr-defined]
        app.drain()
        assert trail(app)[-1][2] == "ship"

    def test_what_is_no_part_of_it_is_refused(self, app: Sourced):
        with pytest.raises(NotKnown, match=r"none of stock handles unit\.order"):
            app.unit(Stock).execute(Order("tea"), to="o1")
        with pytest.raises(DefinitionError, match="expected the reactors"):
            app.unit()
        with pytest.raises(DefinitionError, match="expected 1 or more"):
            app.unit(Stock, most=0)
        with pytest.raises(UnknownGroup):
            app.unit("nobody")

        class Slow(Workflow):
            async def run(self) -> None: ...

        app.register(Slow)
        with pytest.raises(DefinitionError, match="Slow is a workflow"):
            app.unit(Orders, Slow)
        stored = app.execute(Order("tea"), to="o1").command
        with pytest.raises(Duplicate):
            app.unit(Orders).execute(Message.new(Order("mug"), stream="o1", id=stored.id))


class TestTogetherWithOthers:
    def test_somebody_else_was_first(self, app: Sourced):
        """All of it is decided anew on what is there now: also in a stream that the cascade only reached."""
        interloper = Sourced(app.store, clock=VirtualClock())
        interloper.register(Orders, Stock, Counts)
        meanwhile = [1, 1]

        class Interrupted(Orders, group="interrupted"):
            @react
            def reserve(self, order: OrderState, event: Ordered):
                if meanwhile:
                    interloper.execute(Reserve(meanwhile.pop(), "o9"), to="stock-tea")
                yield dispatch(Reserve(event.quantity, order.id), to="stock-tea")

        shop = Sourced(app.store, clock=VirtualClock())
        shop.register(Interrupted, Stock)
        stock = shop.unit(Interrupted, Stock)
        shop.load(Stock, "stock-tea")
        stock.execute(Order("tea"), to="o1")
        assert shop.load(Stock, "stock-tea").state == 1
        meanwhile.append(1)
        with pytest.raises(SoldOut):
            stock.execute(Order("tea"), to="o2")
        assert shop.history("o2") == []

    def test_a_conflict_within_the_cascade_is_noticed_when_it_is_stored(self, app: Sourced):
        decided: list[int] = []

        class Slow(Stock, group="slow"):
            @decide
            def reserve(self, left: int, command: Reserve):
                decided.append(left)
                if len(decided) == 1:
                    somebody_else(lambda: app.append("stock-tea", Reserved(2, "o9")))
                yield Reserved(command.quantity, command.order)

        shop = Sourced(app.store, clock=VirtualClock())
        shop.register(Orders, Slow)
        shop.unit(Orders, Slow).execute(Order("tea"), to="o1")
        assert decided == [3, 1]
        assert shop.load(Slow, "stock-tea").state == 0
        assert len(shop.history("o1")) == 4

    def test_what_matters_to_nobody_may_come_between(self, app: Sourced):
        """Queued commands stand in nobody's way; the messages have the seqs they were stored with."""

        class Slow(Stock, group="slow"):
            @decide
            def reserve(self, left: int, command: Reserve):
                somebody_else(lambda: app.append("stock-tea", Ship()))
                yield Reserved(command.quantity, command.order)

        shop = Sourced(app.store, clock=VirtualClock())
        shop.register(Orders, Slow)
        cascade = shop.unit(Orders, Slow).execute(Order("tea"), to="o1")
        assert [(m.seq, m.type) for m in shop.history("stock-tea")] == [
            (1, "unit.ship"), (2, "unit.reserve"), (3, "unit.reserved"),
        ]  # fmt: skip
        assert [m.seq for m in cascade.of(Slow)] == [3, 3]
        cascade = shop.unit(Orders, Slow).execute(Order("tea"), to="o1")
        assert list(cascade.messages) == shop.read_all(after=cascade.command.position - 1)
        assert shop.load(Slow, "stock-tea").state == 1

    def test_a_pinned_seq(self, app: Sourced):
        unit = app.unit(Orders, Stock)
        unit.execute(Order("tea"), to="o1", expected_seq=0)
        with pytest.raises(Conflict) as conflict:
            unit.execute(Order("tea"), to="o1", expected_seq=2)
        assert (conflict.value.expected, conflict.value.actual) == (2, 4)
        unit.execute(Order("tea"), to="o1", expected_seq=4)

    def test_inside_a_transaction(self, app: Sourced):
        """It belongs to it: with what was stored there before, and gone when it fails."""
        with app.transaction() as client:
            client.execute(Reserve(2, "o9"), to="stock-tea")
            client.unit(Orders, Stock).execute(Order("tea"), to="o1")
            with pytest.raises(SoldOut):
                client.unit(Orders, Stock).execute(Order("tea"), to="o2")
            client.execute(Order("mug"), to="o3")
        assert {m.stream for m in app.read_all()} == {"stock-tea", "o1", "o3"}
        before = trail(app)

        def failing() -> None:
            with app.transaction() as client:
                client.unit(Orders, Stock).execute(Order("mug"), to="o4")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            failing()
        assert trail(app) == before
        assert app.load(Stock, "stock-mug").state == 3

    def test_in_a_transaction_of_the_callers_own(self, app: Sourced):
        """It is committed, or rolled back, with the caller's rows."""
        if isinstance(app.store, SqliteStore):
            raw: Any = sqlite3.connect(app.store.path)
        elif isinstance(app.store, PostgresStore):
            raw = psycopg.connect(app.store.url)
        else:  # it is in no database, so nobody else has a transaction there
            with pytest.raises(DefinitionError):
                app.using(object()).unit(Orders).execute(Order("tea"), to="o1")
            return
        with contextlib.closing(raw):
            put(raw, "mine", 1, 1)
            app.using(raw).unit(Orders, Stock).execute(Order("tea"), to="o1")
            raw.rollback()
            assert (app.read_all(), dict(table(app.store, "mine"))) == ([], {})
            put(raw, "mine", 1, 2)
            cascade = app.using(raw).unit(Orders, Stock).execute(Order("tea"), to="o1")
            raw.commit()
        assert list(cascade.messages) == app.read_all()
        assert dict(table(app.store, "mine")) == {1: 2}

    def test_states_are_remembered_and_true(self, app: Sourced):
        """What a unit leaves in the cache is what the log says."""
        unit = app.unit(Orders, Stock)
        for n in range(3):
            unit.execute(Order("tea" if n else "mug"), to="o1")
            app.execute(Confirm(), to="o1")
        fresh = Sourced(app.store, clock=VirtualClock())
        fresh.register(Orders, Stock)
        places: list[tuple[type[Actor[Any]], str]] = [(Orders, "o1"), (Stock, "stock-tea"), (Stock, "stock-mug")]
        for actor, stream in places:
            memo: Any = app._engine.memos.take(app._engine.router.actor(actor), stream)
            assert memo.head.state == fresh.load(actor, stream, upto=memo.head.seq).state
            assert memo.head.seq > 0

    def test_snapshots_are_written_down(self, app: Sourced):
        class Kept(Orders, group="kept"):
            snapshot_every = 2

        shop = Sourced(app.store, clock=VirtualClock())
        shop.register(Kept)
        shop.unit(Kept).execute(Order("tea"), to="o1")
        with app.store.transaction() as connection:
            found = run(app.store.snapshots("kept", ["o1"]), connection)
        assert found["o1"].seq == 2


def test_the_awaited_side(store: Store):
    """K181, K182 awaited; async handlers are."""
    app = Sourced(store, clock=VirtualClock())
    app.register(Orders, Stock, Counts)

    @app.on(Confirmed)
    async def shipping(event: Confirmed):
        await asyncio.sleep(0)
        yield Ship()

    async def main() -> None:
        unit = app.aio.unit(Orders, Stock, Counts, shipping)
        several = await asyncio.gather(*(unit.execute(Order("tea"), to=f"o{n}") for n in range(3)))
        assert [len(cascade.messages) for cascade in several] == [7, 7, 7]
        async with app.aio.transaction() as client:
            await client.unit(Orders, Stock).execute(Order("mug"), to="o3")
        await app.aio.drain()

    asyncio.run(main())
    assert app.load(Stock, "stock-tea").state == 0
    assert dict(table(store, "counts")) == {"stock-tea": {"n": 3}, "stock-mug": {"n": 1}}


class Move(Command, type="unit.move"):
    amount: int
    to: str


class Moved(Event, type="unit.moved"):
    amount: int
    to: str


class Receive(Command, type="unit.receive"):
    amount: int


class Received(Event, type="unit.received"):
    amount: int


class Purse(Actor[int], group="purses"):
    def initial(self, stream: str) -> int:
        return 100

    @decide
    def move(self, left: int, command: Move):
        if command.amount > left:
            raise SoldOut(left)
        yield Moved(command.amount, command.to)

    @evolve
    def moved(self, left: int, event: Moved):
        return left - event.amount

    @react
    def hand_over(self, left: int, event: Moved):
        yield dispatch(Receive(event.amount), to=event.to)

    @decide
    def receive(self, left: int, command: Receive):
        yield Received(command.amount)

    @evolve
    def received(self, left: int, event: Received):
        return left + event.amount


def test_many_at_once_in_every_direction(store: Store):
    """Nothing is lost, nothing is made, nobody waits for somebody who waits for him, and no purse is overdrawn."""
    app = Sourced(store)
    app.register(Purse)
    unit, purses, turns = app.unit(Purse), [f"purse-{n}" for n in range(3)], 12

    def moving(turn: int) -> Callable[[], None]:
        def work() -> None:
            for n in range(turns):
                here, there = purses[(turn + n) % 3], purses[(turn + 2 * n + 1) % 3]
                done = here == there
                while not done:
                    with contextlib.suppress(Conflict):
                        unit.execute(Move(1 + n, there), to=here)
                        done = True

        return work

    together(*(moving(turn) for turn in range(4)))
    left = {purse: app.load(Purse, purse).state for purse in purses}
    assert sum(left.values()) == 300
    moved, received = app.read_all(types=[Moved]), app.read_all(types=[Received])
    assert len(moved) == len(received) > 20
    assert {m.causation_id for m in received} == {m.id for m in app.read_all(types=[Receive])}
    for purse in purses:
        assert [m.seq for m in app.history(purse)] == list(range(1, len(app.history(purse)) + 1))
    assert app.drain() == 0


def test_a_crash_at_any_statement_leaves_all_of_it_or_nothing():
    """K183 for processes that die. What is left to do afterwards is done by whoever comes next, once."""

    def scenario(store: Any) -> None:
        app = Sourced(store, clock=VirtualClock())
        app.register(Orders, Stock, Counts)
        app.unit(Orders, Stock, Counts).execute(Order("tea"), to="o1")

    def check(store: Store) -> None:
        app = Sourced(store, clock=VirtualClock())
        app.register(Orders, Stock, Counts)
        stored = [m.type for m in app.read_all()]
        assert len(stored) in (0, 6)
        assert dict(table(store, "counts")) == ({"stock-tea": {"n": 1}} if stored else {})
        assert len(app.scheduled.list()) == (1 if stored else 0)
        app.drain(raise_errors=True)
        assert [m.type for m in app.read_all()] == stored

    assert crash_everywhere(MemoryStore, scenario, check) > 10
