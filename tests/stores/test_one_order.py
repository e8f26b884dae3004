"""PostgreSQL: whoever takes places, groups and rows takes them in one order; and what the database took back is done
again, at nobody's expense."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from sourced import (
    Actor,
    Batch,
    Command,
    Message,
    Park,
    Projector,
    Sourced,
    decide,
    dispatch,
    evolve,
    react,
    sync,
)
from sourced.actions import Send, Stop, Unschedule
from sourced.audit import OPERATIONS
from sourced.errors import Deadlocked
from sourced.ops import Op
from sourced.policy import Retry
from sourced.reactor import Delivery, Reactor
from sourced.store import Move, ViewRow
from sourced.stores.postgres import PostgresStore
from sourced.testing import VirtualClock
from sourced.testing.conformance.bench import at, entry
from tests.facts import PATIENCE, eventually
from tests.listings import Added, Tally
from tests.runtime.listener import streams
from tests.stores.meanwhile import OpenTransaction, Paced, thread, waiting_for_locks

ROWS = ("hold views", "add views")


class Noted(Command, type="order.noted"):
    product: str


class Sell(Command, type="order.sell"):
    product: str


class Till(Actor[None], group="till"):
    @decide
    def sell(self, state: None, command: Sell) -> Any:
        yield Added(command.product)


class Early(Projector[Tally], group="early"):
    """A row for each product; what is free cannot be taken."""

    def key(self, message: Message[Any]) -> str:
        return message.payload.product

    @evolve
    def added(self, row: Tally, event: Added) -> None:
        if not event.price:
            raise ValueError("free")
        row.count += 1


class Late(Projector[Tally], group="late"):
    """Another one of the same products."""

    def key(self, message: Message[Any]) -> str:
        return message.payload.product

    @evolve
    def noted(self, row: Tally, message: Added | Noted) -> None:
        row.count += 1


class Selling(Early, group="early"):
    """One whose reactions make rows of somebody else's."""

    @react
    def note(self, row: Tally, event: Message[Added]) -> Any:
        yield dispatch(Noted(event.payload.product), to=f"noted-{event.stream}")


@pytest.fixture
def counted(postgres: PostgresStore) -> Callable[[], int]:
    """How many deadlocks the database has counted once all its sessions are over."""
    with psycopg.connect(postgres.url) as connection:
        connection.execute(f"alter database {connection.info.dbname} set deadlock_timeout = '20ms'")

    def deadlocks() -> int:
        postgres.close()
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            eventually(lambda: _alone(connection))
            found = connection.execute(
                "select deadlocks from pg_stat_database where datname = current_database()"
            ).fetchone()
        return found[0] if found else 0

    return deadlocks


def _alone(connection: Any) -> bool:
    others = "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    return not connection.execute(f"{others} and backend_type = 'client backend'").fetchall()


def an_app(store: Any, *things: Any, inline: tuple[Any, ...] = (), **options: Any) -> Sourced:
    app = Sourced(store, **options)
    app.register(*things)
    if inline:
        app.register(*inline, inline=True)
    return app


def meanwhile(paced: Paced, slow: Callable[[], Any], quick: Callable[[], Any]) -> None:
    """The slow one comes to a stand, the quick one goes as far as it can, then both go on."""
    with thread() as start:
        first = start(slow)
        eventually(lambda: paced.stands.is_set() or first.done())
        second = start(quick)
        eventually(lambda: second.done() or waiting_for_locks(paced.url))
        paced.go_on.set()
        first.result(PATIENCE)
        second.result(PATIENCE)


def counts(app: Sourced, kind: Any) -> dict[str, int]:
    return {key: row.count for key, row in app.views(kind).all().items()}


def test_a_round_that_stops_its_inline_group_and_an_append_to_the_same_rows(
    postgres: PostgresStore, counted: Callable[[], int]
):
    """The round takes the group before rows, as the append does."""
    before = an_app(postgres, Early)
    before.append("c0", Added("tea"))
    before.drain()
    before.append("c1", [Added("tea"), Added("tea", 0)])
    with closing(PostgresStore(postgres.url)) as another:
        paced = Paced(another, *ROWS)
        stopping = an_app(paced, inline=(Early,), errors=lambda failure: Stop("no more"))
        appending = an_app(postgres, inline=(Early,))
        meanwhile(paced, stopping.drain, lambda: appending.append("c2", Added("tea")))
    assert counts(appending, Early) == {"tea": 2}, "stopped first: what came then is stored without it"
    assert appending.groups.get(Early).status == "stopped"
    appending.groups.start(Early)
    assert [each.stream for each in appending.groups.get(Early).stragglers] == ["c1"]
    assert counted() == 0


def test_a_round_whose_reactions_make_rows_of_others_and_a_unit(postgres: PostgresStore, counted: Callable[[], int]):
    """The round holds its own rows and no others: what it sends goes by the schedule."""
    with closing(PostgresStore(postgres.url)) as another:
        paced = Paced(another, *ROWS)
        rounds = an_app(paced, Till, Selling, inline=(Late,))
        units = an_app(postgres, Till, Selling, inline=(Late,))
        units.append("made", Added("tea"))
        units.drain()
        assert (counts(units, Selling), counts(units, Late)) == ({"tea": 1}, {"tea": 2})
        units.append("c1", Added("tea"))
        meanwhile(paced, rounds.drain, lambda: units.unit(Till, Selling).execute(Sell("tea"), to="c2"))
    units.drain()
    assert (counts(units, Selling), counts(units, Late)) == ({"tea": 3}, {"tea": 6})
    assert counted() == 0


def test_two_units_that_write_rows_of_the_same_projectors(postgres: PostgresStore, counted: Callable[[], int]):
    """Whatever the order in which their reactors were named."""
    with closing(PostgresStore(postgres.url)) as another:
        paced = Paced(another, *ROWS)
        one, other = an_app(paced, Till, Early, Late), an_app(postgres, Till, Early, Late)
        other.unit(Till, Early, Late).execute(Sell("tea"), to="c0")
        meanwhile(
            paced,
            lambda: one.unit(Till, Late, Early).execute(Sell("tea"), to="c1"),
            lambda: other.unit(Till, Early, Late).execute(Sell("tea"), to="c2"),
        )
    assert counts(other, Early) == counts(other, Late) == {"tea": 3}
    assert counted() == 0


def test_a_unit_and_a_reset_of_a_group_whose_rows_it_writes(postgres: PostgresStore):
    """The reset comes before the unit or after it: in between it would take back for good what the unit has written."""
    with closing(PostgresStore(postgres.url)) as another:
        paced = Paced(another, *ROWS)
        units, operator = an_app(paced, Till, Early), an_app(postgres, Till, Early)
        operator.unit(Till, Early).execute(Sell("tea"), to="c0")
        meanwhile(
            paced,
            lambda: units.unit(Till, Early).execute(Sell("tea"), to="c1"),
            lambda: operator.groups.reset(Early),
        )
    operator.drain()
    assert counts(operator, Early) == {"tea": 2}


def test_one_who_learns_of_a_new_row_and_one_who_knows_it(postgres: PostgresStore, counted: Callable[[], int]):
    """Nothing is held by one who has to look again."""
    store = postgres
    store.transact(store.register("g", "beginning"))
    store.transact(store.save_views("g", [ViewRow("a", "{}"), ViewRow("b", "{}")]))
    known = {key: row.revision for key, row in store.transact(store.views("g", ["a", "b"])).items()}
    first, second = OpenTransaction(store), OpenTransaction(store)
    assert first.do(store.hold_views("g", {"a": 0, "b": known["b"]})) == ["a"]
    with_both = second.start(store.hold_views("g", known))
    eventually(lambda: with_both.done() or waiting_for_locks(store.url))
    again = first.start(store.hold_views("g", known))
    eventually(lambda: again.done() or waiting_for_locks(store.url))
    assert with_both.result(PATIENCE) == []
    second.commit()
    assert again.result(PATIENCE) == []
    first.commit()
    assert counted() == 0


def test_one_who_makes_a_row_while_somebody_writes_to_another_one_of_his(postgres: PostgresStore):
    """He looks again, and what he finds at the place that he keeps for the new one is nothing."""
    with closing(PostgresStore(postgres.url)) as another:
        paced = Paced(another, "views")
        slow, quick = an_app(paced, inline=(Late,)), an_app(postgres, inline=(Late,))
        quick.append("c0", Added("tea"))
        both = [Added("tea"), Added("pot")]
        meanwhile(paced, lambda: slow.append("c1", both), lambda: quick.append("c2", Added("tea")))
    assert counts(quick, Late) == {"tea": 3, "pot": 1}


class Calling(Reactor, group="calling"):
    """Stores something, and takes back what it had put on the schedule."""

    handles = (Noted,)

    def __init__(self, scheduled: str) -> None:
        self.scheduled = scheduled

    def handle(self, delivery: Delivery) -> Any:
        message = delivery.message
        answer = message.follow(Added(message.payload.product), stream="here", now=delivery.now)
        return [Send((answer,)), Unschedule((self.scheduled,))]


def test_a_round_that_takes_back_what_comes_due_at_this_moment(postgres: PostgresStore, counted: Callable[[], int]):
    """The schedule comes before the log, for both."""
    clock = VirtualClock()
    with closing(PostgresStore(postgres.url)) as another:
        paced = Paced(another, "due")
        promoting, working = an_app(paced, clock=clock), an_app(postgres, clock=clock)
        due = working.dispatch(Added("tea"), to="here", after=10)
        working.register(Calling(due.id))
        working.append("c1", Noted("tea"))
        clock.advance(10)
        meanwhile(paced, promoting.scheduled.promote, working.drain)
    assert working.history("here")[0].id == due.id
    assert (len(working.history("here")), working.scheduled.list()) == (2, [])
    assert counted() == 0


@pytest.mark.parametrize("what", ["retry", "skip"])
def test_somebody_who_lets_a_stream_go_on_and_somebody_who_resets_its_group(
    postgres: PostgresStore, counted: Callable[[], int], what: str
):
    """Places in the log come before streams that wait."""
    with closing(PostgresStore(postgres.url)) as another:
        paced = Paced(another, "hold parked streams")
        one, other = an_app(paced, Early, errors=Park()), an_app(postgres, Early, errors=Park())
        other.append("c1", Added("tea", 0))
        other.drain()
        letting_go = {
            "retry": lambda: one.parked.retry(Early, "c1"),
            "skip": lambda: one.parked.skip(Early, "c1", reason="it is free"),
        }
        meanwhile(paced, letting_go[what], lambda: other.groups.reset(Early))
    assert other.parked.list() == []
    assert counted() == 0


OPERATORS: dict[str, Callable[[PostgresStore], Op[Any]]] = {
    "reset": lambda store: store.reset("g"),
    "seize": lambda store: store.seize("g"),
    "stop": lambda store: store.stop("g", "enough"),
    "start": lambda store: store.start("g", at(0)),
    "settle": lambda store: store.settle("g", [Move(shard, 10, 10) for shard in range(store.shards)], release=True),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("first", ["operator", "worker"])
def test_a_lease_that_is_prolonged_while_an_operator_changes_its_group(
    postgres: PostgresStore, counted: Callable[[], int], operator: str, first: str
):
    """J172. What was taken stays taken, whoever was first; what was not stays whose it is. Nobody waits in a circle."""
    store = postgres
    store.transact(store.register("g", "beginning"))
    store.commit([entry(stream) for stream in streams(3)])
    claim = store.transact(store.claim("g", "worker", now=at(0), until=at(30), limit=100))
    assert len(claim.leases) == 3

    def at_once(op: Op[Any]) -> Op[None]:
        """Nothing of it goes out with the commit alone."""
        yield from op
        yield from store.groups()

    works = [at_once(OPERATORS[operator](store)), at_once(store.renew(claim, at(1_000)))]
    one, other = works if first == "operator" else reversed(works)
    before, after = OpenTransaction(store), OpenTransaction(store)
    before.do(one)
    waits = after.start(other)
    eventually(lambda: waits.done() or waiting_for_locks(store.url))
    before.commit()
    waits.result(PATIENCE)
    after.commit()
    owners = {each.shard: each.owner for each in store.transact(store.progress("g")) if each.owner}
    taken = operator in ("reset", "seize", "settle")
    assert owners == ({} if taken else {lease.shard: "worker" for lease in claim.leases})
    store.transact(store.start("g", at(0)))
    found = store.transact(store.claim("g", "another", now=at(500), until=at(530), limit=100))
    assert len(found.leases) == (3 if operator in ("reset", "seize") else 0)
    assert counted() == 0


# -- what the database took back


TABLE = "create table amounts (name text primary key, amount integer)"


class Amounts(Projector[dict[str, int]]):
    """Sees every message; what it writes, and where, is for those made from it to say."""

    saved = 0

    def initial(self, key: str) -> dict[str, int]:
        return {}

    @evolve
    def added(self, row: dict[str, int], event: Added) -> None: ...


class Crossing(Amounts, group="crossing"):
    """Writes to two rows of a table of its own, and lets others in between, the first time."""

    def __init__(self) -> None:
        self.first, self.go_on, self.over = threading.Event(), threading.Event(), threading.Event()

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        self.saved += 1
        assert self.saved == 1 or self.over.wait(PATIENCE)
        tx.execute("update amounts set amount = amount + 1 where name = 'a'")
        self.first.set()
        assert self.go_on.wait(PATIENCE)
        try:
            tx.execute("update amounts set amount = amount + 1 where name = 'b'")
        except psycopg.Error as error:
            raise RuntimeError("it could not be saved") from error


def crossing(url: str, crossing: Crossing) -> None:
    """The other way round; whoever waits here never finds out that he waits for himself."""
    with psycopg.connect(url) as connection:
        connection.execute("set deadlock_timeout = '1h'")
        connection.execute("update amounts set amount = amount + 1 where name = 'b'")
        assert crossing.first.wait(PATIENCE)
        with thread() as start:
            waits = start(connection.execute, "update amounts set amount = amount + 1 where name = 'a'")
            eventually(lambda: waiting_for_locks(url))
            crossing.go_on.set()
            waits.result(PATIENCE)
    crossing.over.set()


@pytest.mark.parametrize("what", ["drain", "append", "unit"])
def test_what_the_database_took_back_is_done_again_and_nobody_is_to_blame(
    postgres: PostgresStore, counted: Callable[[], int], what: str
):
    with psycopg.connect(postgres.url) as connection:
        connection.execute(TABLE)
        connection.execute("insert into amounts values ('a', 0), ('b', 0)")
    projector = Crossing()
    app = an_app(postgres, Till, *([] if what == "append" else [projector]), errors=Park())
    if what == "append":
        app.register(projector, inline=True)
    elif what == "drain":
        app.append("c1", Added("tea"))
    doing = {
        "drain": app.drain,
        "append": lambda: app.append("c1", Added("tea")),
        "unit": lambda: app.unit(Till, projector).execute(Sell("tea"), to="c1"),
    }
    with thread() as start:
        other = start(crossing, postgres.url, projector)
        start(doing[what]).result(PATIENCE)
        other.result(PATIENCE)
    assert projector.saved == 2
    assert app.groups.get(projector).stragglers == ()
    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("select name, amount from amounts order by name").fetchall() == [("a", 2), ("b", 2)]
    assert counted() == 1


class Unlucky(Amounts, group="unlucky"):
    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        self.saved += 1
        if batch.stream == "c1":
            tx.execute("do $$ begin raise exception 'never' using errcode = '40001'; end $$")


def test_what_is_taken_back_again_and_again_is_somebodys_fault(postgres: PostgresStore):
    """So that one message cannot keep all others waiting for ever."""
    app = an_app(postgres, Unlucky, errors=Retry(times=0, then=Park()))
    app.append("c0", Added("tea"))
    app.append("c1", Added("tea"))
    app.drain()
    (parked,) = app.groups.get(Unlucky).stragglers
    assert (parked.stream, parked.parked, "Deadlocked" in parked.error) == ("c1", True, True)


class Emptied(Unlucky, group="emptied"):
    def on_reset(self, tx: Any) -> Any:
        self.saved += 1
        once = "do $$ begin raise exception 'once' using errcode = '40P01'; end $$"
        return tx.execute(once if self.saved % 2 else "select 1")  # which is awaited, if it can be


def test_what_an_operator_asked_for_is_done_again_as_well(postgres: PostgresStore):
    projector = Emptied()
    app = an_app(postgres, projector)
    app.groups.reset(projector, "again")
    assert projector.saved == 2
    assert app.groups.get(projector).group.epoch == 1
    asyncio.run(app.aio.groups.reset(projector, "and again"))
    assert projector.saved == 4
    assert app.groups.get(projector).group.epoch == 2


class Exchanged(Amounts, group="exchanged"):
    def __init__(self) -> None:
        self.swaps = 0

    def beside(self) -> Any:
        return Exchanged()

    def swap(self, beside: Any, tx: Any) -> None:
        self.swaps += 1
        if self.swaps % 2:
            tx.execute("do $$ begin raise exception 'every other time' using errcode = '40P01'; end $$")


def test_rows_that_were_built_anew_are_exchanged_all_the_same(postgres: PostgresStore):
    projector = Exchanged()
    app = an_app(postgres, projector)
    app.append("c1", Added("tea"))
    app.drain()
    assert app.rebuild(projector).messages == 1
    assert projector.swaps == 2
    app.restore(projector)
    assert projector.swaps == 4
    assert [each.type for each in app.history(OPERATIONS)] == ["sourced.group_rebuilt", "sourced.group_restored"]


@pytest.mark.parametrize("whose", ["ours", "the caller's"])
@pytest.mark.parametrize("named", [False, True])
def test_two_who_store_in_the_same_streams_the_other_way_round(
    postgres: PostgresStore, counted: Callable[[], int], whose: str, named: bool
):
    """One of them is told, and none of his is stored; when he does it again all of it is there, once. Who says before
    where he will store never gets that far."""
    app, (c1, c2) = an_app(postgres), streams(2)
    both = threading.Barrier(2)

    @contextmanager
    def transaction() -> Iterator[Any]:
        wanted = [c1, c2] if named else []
        if whose == "ours":
            with app.transaction(streams=wanted) as client:
                yield client
        else:
            with psycopg.connect(postgres.url) as connection:
                yield app.using(connection, streams=wanted)

    def storing(one: str, other: str, *, meeting: bool = True) -> bool:
        try:
            with transaction() as client:
                client.append(one, Added(f"from {one}"))
                if meeting and not named:
                    both.wait(PATIENCE)
                client.append(other, Added(f"from {one}"))
        except Deadlocked:
            return False
        return True

    with thread() as start:
        first, second = start(storing, c1, c2), start(storing, c2, c1)
        through = {c1: first.result(PATIENCE), c2: second.result(PATIENCE)}
    assert sum(through.values()) == (2 if named else 1)
    assert len(app.history(c1)) == len(app.history(c2)) == sum(through.values())
    for one, other in ((c1, c2), (c2, c1)):
        if not through[one]:
            assert storing(one, other, meeting=False)
    assert {m.payload.product for m in app.history(c1)} == {m.payload.product for m in app.history(c2)}
    assert (len(app.history(c1)), len(app.history(c2))) == (2, 2)
    assert counted() == (0 if named else 1)


def test_in_a_transaction_of_the_callers_it_is_his_to_do_again(postgres: PostgresStore):
    """What went before it in his transaction was taken back as well, or others still wait for it."""
    app = an_app(postgres, Till, inline=(Unlucky,))
    projector: Any = app._engine.router.group("unlucky")
    with pytest.raises(Deadlocked), app.transaction() as client:
        client.append("c1", Added("tea"))
    assert projector.saved == 1
