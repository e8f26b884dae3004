"""What happens is told to whoever listens, when it is true; what wraps it is carried along, and harms nothing."""

import asyncio
import contextlib
import contextvars
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sourced import Delivery, Message, Park, Retry, RetryAt, Send, Sourced, Stop, telemetry
from sourced.actions import Actions
from sourced.errors import Conflict, NeedsAwait, Rejection, Unavailable
from sourced.ops import Op
from sourced.stores.memory import MemoryStore
from sourced.telemetry import Doing, Happening
from sourced.testing import VirtualClock, steal_leases
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, ItemAdded, Stock
from tests.facts import PATIENCE
from tests.runtime.bells import Answer, Ring, Rung, bells, both_sides, drained
from tests.runtime.listener import Ignored, Listener, Noted, answering, failing, listening
from tests.runtime.test_batches import Bulk

H = TypeVar("H", bound=Happening)

KINDS = {kind.__name__: kind for kind in Happening.__subclasses__()}


def heard(app: Sourced) -> list[Any]:
    happenings: list[Any] = []
    app.telemetry.listen(happenings.append)
    return happenings


def only(kind: type[H], happenings: list[Any]) -> list[H]:
    return [each for each in happenings if type(each) is kind]


def shop(**options: Any) -> tuple[Sourced, list[Any]]:
    app = Sourced(**{"clock": VirtualClock(), **options})
    app.register(Cart, Stock)
    return app, heard(app)


async def told(app: Sourced, kind: type[Happening]) -> None:
    """Until that happens, in whatever thread."""
    loop, happened = asyncio.get_running_loop(), asyncio.Event()

    def listener(happening: Happening) -> None:
        if type(happening) is kind:
            loop.call_soon_threadsafe(happened.set)

    end = app.telemetry.listen(listener)
    await asyncio.wait_for(happened.wait(), 10)
    end()


# -- every fact there is ---------------------------------------------------------------------------------------------


def executed() -> list[Any]:
    app, happenings = shop()
    decision = app.execute(AddItem("tea"), to="c1")
    (fact,) = only(telemetry.Executed, happenings)
    assert fact.command == decision.command
    assert list(fact.events) == decision.events
    assert fact.command.seq == 1
    app.load(Cart, "c1").execute(AddItem("tea"))
    assert len(only(telemetry.Executed, happenings)) == 2
    return happenings


def dispatched() -> list[Any]:
    app, happenings = shop()
    message = app.dispatch(AddItem("tea"), to="c1")
    later = app.dispatch(AddItem("tea"), to="c1", after=10)
    now, then = only(telemetry.Dispatched, happenings)
    assert (now.message, now.at) == (message, None)
    assert (then.message, then.at) == (later, app._engine.clock.now() + timedelta(seconds=10))
    return happenings


def appended() -> list[Any]:
    app, happenings = shop()
    messages = app.append("c1", [ItemAdded("tea", 1), ItemAdded("milk", 1)])
    (fact,) = only(telemetry.Appended, happenings)
    assert (fact.stream, list(fact.messages)) == ("c1", messages)
    return happenings


def refused() -> list[Any]:
    app, happenings = shop()
    app.execute(Close(), to="c1")
    with pytest.raises(CartClosed):
        app.execute(AddItem("tea"), to="c1")
    with pytest.raises(Conflict):
        app.append("c1", ItemAdded("tea", 1), expected_seq=9)
    first, second = only(telemetry.Refused, happenings)
    assert isinstance(first.error, Rejection)
    assert (first.doing.name, [m.payload for m in first.doing.messages]) == ("execute", [AddItem("tea")])
    assert isinstance(second.error, Conflict)
    assert second.doing.name == "append"
    return happenings


def claimed() -> list[Any]:
    app, happenings = shop()
    app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    first, second, *_ = only(telemetry.Claimed, happenings)
    assert (first.claim.group.name, len(first.claim.leases)) == ("shop.carts", 1)
    assert (second.claim.group.name, second.owner) == ("shop.stock", first.owner)
    return happenings


def handled() -> list[Any]:
    app, _ = listening(failing("bad"), errors=Retry(times=1, after=5))
    happenings = heard(app)
    good, bad = app.append("s", [Noted("good"), Noted("bad")])
    app.drain()
    facts = only(telemetry.Handled, happenings)
    assert [(f.group, *f.messages, str(f.error), f.attempts) for f in facts] == [
        ("listener", good, "None", 1),
        ("listener", bad, "cannot take bad", 1),
    ]
    app.groups.reset("listener")
    app._engine.clock.advance(5)  # type: ignore[attr-defined]
    app.drain()
    assert [f.replaying for f in only(telemetry.Handled, happenings)] == [False, False, True, False]
    return happenings


def settled() -> list[Any]:
    app, _ = listening(failing("bad"), errors=Park())
    happenings = heard(app)
    app.append("s", [Noted("good"), Noted("bad")])
    app.append("t", [Noted("good"), Noted("good")])
    app.drain()
    fact, *others = only(telemetry.Settled, happenings)
    assert (fact.group, fact.messages, fact.streams) == ("listener", 3, 2)
    assert {(other.messages, other.streams) for other in others} <= {(0, 0)}
    return happenings


def command_rejected() -> list[Any]:
    app, happenings = shop()
    app.execute(Close(), to="c1")
    command = app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    (fact,) = only(telemetry.CommandRejected, happenings)
    assert (fact.group, fact.message.payload.command_id) == ("shop.carts", command.id)
    rejection = app.history("c1")[-1]
    assert (fact.message.id, fact.message.seq) == (rejection.id, rejection.seq)
    return happenings


def retried() -> list[Any]:
    at = VirtualClock().now() + timedelta(seconds=7)
    app, _ = listening(lambda d: failing("bad")(d) if d.message.stream == "s" else [RetryAt(at)], errors=Retry(after=5))
    happenings = heard(app)
    app.append("s", Noted("bad"))
    app.append("t", Noted("not yet"))
    app.drain()
    facts = sorted(only(telemetry.Retried, happenings), key=lambda fact: fact.message.stream)
    assert [(f.message.stream, str(f.error), f.attempts) for f in facts] == [
        ("s", "cannot take bad", 1),
        ("t", "None", 1),
    ]
    assert [f.at for f in facts] == [at - timedelta(seconds=2), at]
    return happenings


def parked() -> list[Any]:
    app, _ = listening(failing("bad"), errors=Park("no use"))
    happenings = heard(app)
    app.append("s", [Noted("good"), Noted("bad"), Noted("behind")])
    app.drain()
    (fact,) = only(telemetry.Parked, happenings)
    assert (fact.group, fact.message.seq, str(fact.error), fact.reason) == ("listener", 2, "cannot take bad", "no use")
    return happenings


def stopped() -> list[Any]:
    app, _ = listening(failing("bad"), errors=Stop("no use"))
    happenings = heard(app)
    app.append("s", [Noted("bad")])
    app.drain()
    (fact,) = only(telemetry.Stopped, happenings)
    assert (fact.group, fact.message.seq, str(fact.error), fact.reason) == ("listener", 1, "cannot take bad", "no use")
    return happenings


def lease_lost() -> list[Any]:
    clock, store = VirtualClock(), MemoryStore()

    def paused(delivery: Delivery) -> Actions:
        steal_leases(store, "listener", clock.now())
        return ()

    app, _ = listening(paused, store=store, clock=clock)
    happenings = heard(app)
    app.append("s", Noted("1"))
    app.drain()
    (fact,) = only(telemetry.LeaseLost, happenings)
    assert fact.group == "listener"
    assert only(telemetry.Settled, happenings) == []
    return happenings


def leases_renewed() -> list[Any]:
    async def main() -> None:
        async with app.running():
            app.append("s", Noted("slow"))
            await told(app, telemetry.LeasesRenewed)
            go_on.set()

    def slow(delivery: Delivery) -> Actions:
        assert go_on.wait(PATIENCE)
        return ()

    go_on = threading.Event()
    app = Sourced(lease=0.1)
    app.register(Listener(slow))
    happenings = heard(app)
    asyncio.run(main())
    fact, *_ = only(telemetry.LeasesRenewed, happenings)
    assert fact.claim.group.name == "listener"
    assert fact.owner == only(telemetry.Claimed, happenings)[0].owner.rpartition("/")[0]
    return happenings


def promoted() -> list[Any]:
    app, happenings = shop()
    for _ in range(2):
        app.dispatch(AddItem("tea"), to="c1", after=1)
    assert app.drain() == 0
    assert only(telemetry.Promoted, happenings) == []
    app._engine.clock.advance(1)  # type: ignore[attr-defined]
    app.drain(limit=1)
    assert [fact.messages for fact in only(telemetry.Promoted, happenings)] == [2]
    return happenings


def faltered() -> list[Any]:
    class Shaky(MemoryStore):
        """Cannot be reached for the first claim, nor for the first sign of life."""

        away = ["claim", "beat"]

        def claim(self, *args: Any, **options: Any) -> Op[Any]:
            return (yield from self.there("claim", super().claim(*args, **options)))

        def beat(self, *args: Any) -> Op[None]:
            return (yield from self.there("beat", super().beat(*args)))

        def there(self, name: str, op: Op[Any]) -> Op[Any]:
            if name in self.away:
                self.away.remove(name)
                raise Unavailable("shaky", f"no {name}")
            return (yield from op)

    async def main() -> None:
        async with app.running():
            message = app.dispatch(AddItem("tea"), to="c1")
            await app.aio.wait_for(message, timeout=PATIENCE)

    app, happenings = shop(store=Shaky(), clock=None)
    asyncio.run(main())
    facts = only(telemetry.Faltered, happenings)
    assert sorted((fact.group in ("shop.carts", "shop.stock"), fact.error.why) for fact in facts) == [  # type: ignore[attr-defined]
        (False, "no beat"),
        (True, "no claim"),
    ]
    return happenings


EMITTED: list[Callable[[], list[Any]]] = [
    executed, dispatched, appended, refused, claimed, handled, settled, command_rejected, retried, parked, stopped,
    lease_lost, leases_renewed, promoted, faltered,
]  # fmt: skip


@pytest.mark.parametrize("emitted", EMITTED, ids=lambda emitted: emitted.__name__)
def test_it_is_told(emitted: Callable[[], list[Any]]):
    """And nothing that is not in the table: only facts of the kinds there are."""
    assert {type(fact) for fact in emitted()} <= set(KINDS.values())


def test_every_fact_there_is_has_such_a_proof():
    assert {emitted.__name__.replace("_", "") for emitted in EMITTED} == {name.lower() for name in KINDS}


# -- when it is told -------------------------------------------------------------------------------------------------


def test_what_a_transaction_stores_is_told_once_it_is_committed():
    app, happenings = shop()
    with app.transaction() as client:
        client.execute(AddItem("tea"), to="c1")
        assert happenings == []
    assert [type(fact) for fact in happenings] == [telemetry.Executed]


def test_what_is_rolled_back_is_never_told():
    app, happenings = shop()
    with contextlib.suppress(ZeroDivisionError), app.transaction() as client:
        client.execute(AddItem("tea"), to="c1")
        _ = 1 / 0
    assert happenings == []


def test_a_round_is_told_after_its_commit():
    app, _ = listening()
    lags: list[int] = []

    def look(happening: Happening) -> None:
        if type(happening) is telemetry.Settled:
            lags.append(app.groups.get("listener").lag)

    app.telemetry.listen(look)
    app.append("s", [Noted("1"), Noted("2")])
    app.drain()
    assert lags == [0]


@both_sides
def test_both_sides_tell_the_same(how: str):
    app = bells()
    happenings = heard(app)
    if how == "blocking":
        app.execute(Ring(1), to="b")
    else:
        asyncio.run(app.aio.execute(Ring(1), to="b"))
    drained(app, how)
    kinds = [type(fact).__name__ for fact in happenings if type(fact) is not telemetry.Claimed]
    assert kinds[0] == "Executed"
    assert sorted(kinds[1:]) == ["Handled"] * 4 + ["Settled"] * 4


# -- listeners -------------------------------------------------------------------------------------------------------


def test_nobody_hears_of_another_app_or_after_the_end():
    (app, happenings), (other, others) = shop(), shop()
    late: list[Any] = []
    end = app.telemetry.listen(late.append)
    app.execute(AddItem("tea"), to="c1")
    end()
    app.execute(AddItem("tea"), to="c1")
    assert (len(happenings), len(late), others) == (2, 1, [])
    assert other.telemetry.heard


def test_nothing_is_called_while_nobody_listens(monkeypatch: pytest.MonkeyPatch):
    """One attribute is looked at, and that is all: no fact is made."""
    made: list[str] = []

    def noting(kind: Any) -> Callable[..., Any]:
        def make(*facts: Any) -> Any:
            made.append(kind.__name__)
            return kind(*facts)

        return make

    for name, kind in (*KINDS.items(), ("Doing", Doing)):
        monkeypatch.setattr(f"sourced.runtime.seams.{name}", noting(kind))
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock)
    end = app.telemetry.listen(print)
    end()
    assert not app.telemetry.heard
    app.execute(Close(), to="c1")
    app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    with contextlib.suppress(Rejection):
        app.execute(AddItem("tea"), to="c1")
    assert made == []
    app.telemetry.listen(lambda _: None)
    app.execute(AddItem("tea"), to="c2")
    assert made == ["Doing", "Executed"]


def test_a_listener_that_raises_harms_nobody_and_is_logged_once(caplog: pytest.LogCaptureFixture):
    def broken(happening: Happening) -> None:
        raise ValueError("broken")

    app = Sourced(clock=VirtualClock())
    app.register(Cart, Stock)
    app.telemetry.listen(broken)
    happenings = heard(app)
    app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    assert app.load(Cart, "c1").seq == 2
    assert sum(fact.messages for fact in only(telemetry.Settled, happenings)) == 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "broken" in caplog.text


# -- those who wrap it -----------------------------------------------------------------------------------------------


class Tags:
    """Names everything that is done, hands the name on, and notes who was inside of whom."""

    current: contextvars.ContextVar[str] = contextvars.ContextVar("tag", default="nobody")

    def __init__(self) -> None:
        self.doings: list[Doing] = []
        self.errors: list[str] = []

    @contextlib.contextmanager
    def __call__(self, doing: Doing) -> Iterator[Mapping[str, Any]]:
        self.doings.append(doing)
        (message, *_) = doing.messages
        tag = f"{message.metadata.get('tag', '')}>{doing.name} {message.type}"
        token = self.current.set(tag)
        try:
            yield {"tag": tag}
        except Exception as error:
            self.errors.append(f"{tag}: {error}")
            raise
        finally:
            assert self.current.get() == tag
            self.current.reset(token)


def tagged(app: Sourced) -> Tags:
    tags = Tags()
    app.telemetry.wrap(tags)
    return tags


def test_what_it_gives_is_carried_along_by_all_that_follows():
    app, _ = shop()
    tags = tagged(app)
    app.dispatch(AddItem("tea"), to="c1", metadata={"own": 1})
    app.drain()
    reacted = ">dispatch shop.add_item>handle shop.add_item>handle shop.item_added"
    assert [(m.type, m.metadata) for m in app.read_all()] == [
        ("shop.add_item", {"own": 1, "tag": ">dispatch shop.add_item"}),
        ("shop.item_added", {"own": 1, "tag": ">dispatch shop.add_item>handle shop.add_item"}),
        ("shop.reserve", {"own": 1, "producer": "shop.carts", "tag": reacted}),
        ("shop.reserved", {"own": 1, "producer": "shop.carts", "tag": f"{reacted}>handle shop.reserve"}),
    ]
    assert [doing.group for doing in tags.doings] == ["", "shop.carts", "shop.carts", "shop.stock"]


def test_what_a_reactor_makes_from_scratch_carries_it_too():
    sent = Message.new(Ignored(), stream="elsewhere")
    app, _ = listening(answering(Send((sent,)), to="go"))
    tagged(app)
    app.append("s", [Noted("go"), Noted("go")])
    app.drain()
    assert app.history("elsewhere")[0].metadata == {"tag": ">append test.noted>handle test.noted"}


def test_a_batch_that_is_handled_at_once_is_one_thing_that_is_done():
    """What it sends carries what was given; and a batch that fails is told as one."""

    def answer(deliveries: Sequence[Delivery]) -> Actions:
        (first, *_) = deliveries
        if first.message.payload.text == "bad":
            raise ValueError("bad")
        return [Send((first.message.follow(Ignored(), stream="t", now=first.now),))]

    app = Sourced(clock=VirtualClock(), errors=Park())
    app.register(Bulk(answer))
    happenings, tags = heard(app), tagged(app)
    app.append("s", [Noted("good"), Noted("2")])
    app.append("u", [Noted("bad"), Noted("2")])
    app.drain()
    assert app.history("t")[0].metadata == {"tag": ">append test.noted>handle test.noted"}
    batches = only(telemetry.Handled, happenings)[:2]
    assert sorted((len(fact.messages), str(fact.error)) for fact in batches) == [(2, "None"), (2, "bad")]
    assert tags.errors[0] == ">append test.noted>handle test.noted: bad"


def test_an_appended_batch_is_one_thing_that_is_done():
    app, _ = shop()
    tags = tagged(app)
    app.append("s", [Noted("1"), Noted("2")])
    assert [len(doing.messages) for doing in tags.doings] == [2]
    assert [m.metadata for m in app.history("s")] == [{"tag": ">append test.noted"}] * 2


def test_it_sees_what_fails():
    app, _ = listening(failing("bad"), errors=Park())
    tags = tagged(app)
    app.append("s", Noted("bad"))
    app.drain()
    with contextlib.suppress(Conflict):
        app.append("s", Noted("bad"), expected_seq=7)
    first, second = tags.errors
    assert first == ">append test.noted>handle test.noted: cannot take bad"
    assert second.startswith(">append test.noted: 's' is at seq 1")


@both_sides
def test_what_it_sets_is_seen_by_what_it_wraps_and_by_nobody_beside_it(how: str):
    """Async reactions of two streams take turns; each sees its own tag before and after it waited, and in its tasks."""
    seen: dict[str, set[str]] = {"a": set(), "b": set()}
    turns = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def handle(delivery: Delivery) -> Any:
        stream = delivery.message.stream
        seen[stream].add(Tags.current.get())
        if how == "awaiting":
            turns["b" if stream == "a" else "a"].set()
            await asyncio.wait_for(turns[stream].wait(), 10)
        seen[stream].add(await asyncio.create_task(look()))
        seen[stream].add(Tags.current.get())

    async def look() -> str:
        await asyncio.sleep(0)
        return Tags.current.get()

    app, _ = listening(handle)
    app.append("a", Noted(), metadata={"tag": "A"})
    app.append("b", Noted(), metadata={"tag": "B"})
    tagged(app)
    assert drained(app, how) == 2
    assert seen == {"a": {"A>handle test.noted"}, "b": {"B>handle test.noted"}}
    assert Tags.current.get() == "nobody"


def test_in_a_worker_s_threads_too():
    """Handlers run in threads, what they await on the loop: each sees its own tag in both places."""
    seen: list[str] = []

    async def handle(delivery: Delivery) -> Any:
        seen.append(Tags.current.get())
        await asyncio.sleep(0)
        seen.append(Tags.current.get())

    async def main() -> None:
        async with app.running():
            for stream in "ab":
                await app.aio.wait_for(app.append(stream, Noted(), metadata={"tag": stream})[0], timeout=PATIENCE)

    app = Sourced()
    app.register(Listener(handle))
    tagged(app)
    asyncio.run(main())
    assert seen == [f"{stream}>append test.noted>handle test.noted" for stream in "aabb"]


def test_one_that_fails_harms_nobody_and_is_logged_once(caplog: pytest.LogCaptureFixture):
    @contextlib.contextmanager
    def broken(doing: Doing) -> Iterator[Mapping[str, Any]]:
        yield {"broken": 1}
        raise ValueError("at the end")

    def worse(doing: Doing) -> Any:
        raise ValueError("at once")

    app, _ = shop()
    app.telemetry.wrap(broken)
    app.telemetry.wrap(worse)
    tagged(app)
    app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    assert [m.metadata["broken"] for m in app.read_all()] == [1] * 4
    assert all("tag" in m.metadata for m in app.read_all())
    assert sorted(str(record.exc_info[1]) for record in caplog.records if record.exc_info) == ["at once", "at the end"]


def test_an_async_handler_met_on_the_blocking_side_is_still_refused():
    app = bells()
    tagged(app)

    async def main() -> None:
        app.append("b", Rung(1))
        app.drain()

    with pytest.raises(NeedsAwait):
        asyncio.run(main())
    assert app.read_all(types=[Answer]) == []


# -- the table -------------------------------------------------------------------------------------------------------


def test_the_reference_tells_of_every_fact_there_is_with_what_is_in_it():
    page = (Path(__file__).parent.parent / "docs/reference/telemetry.md").read_text("utf-8")
    table = {
        name: tuple(re.findall(r"`(\w+)`", facts))
        for name, facts in re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", page, re.MULTILINE)
    }
    assert {name: table.get(name) for name in KINDS} == {name: kind.__struct_fields__ for name, kind in KINDS.items()}
