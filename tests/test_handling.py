"""Small reactors: functions of `@app.on`, and classes of handlers; what they are given and what they may answer."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from sourced import (
    AfterCommit,
    Command,
    DefinitionError,
    Event,
    Handlers,
    History,
    Message,
    Park,
    Retry,
    RetryAt,
    Send,
    Sourced,
    Sync,
    dispatch,
    on,
)
from sourced.store import Store
from sourced.testing import VirtualClock, given
from sourced.testing.clock import START
from tests.rows import put, table


class OrderEvent(Event, namespace="orders"): ...


class Placed(OrderEvent):
    product: str = "tea"


class Started(OrderEvent): ...


class Other(Event, type="test.other"): ...


class Pack(Command, type="test.pack"):
    product: str


@pytest.fixture
def app() -> Sourced:
    return Sourced(clock=VirtualClock())


class TestWhatAFunctionIsGiven:
    def test_the_payload_of_every_message_it_is_for(self, app: Sourced):
        seen: list[Any] = []

        @app.on(Placed, Started)
        def notes(event: Placed | Started):
            seen.append(event)

        app.append("o1", [Placed(), Other(), Started()])
        app.drain()
        assert seen == [Placed(), Started()]

    def test_the_envelope_if_it_asks_for_it(self, app: Sourced):
        seen: list[str] = []

        @app.on(Placed, Started)
        def notes(event: Message[OrderEvent]):
            seen.append(f"{event.stream} {event.type}")

        app.append("o1", [Placed(), Started()])
        app.drain()
        assert seen == ["o1 orders.placed", "o1 orders.started"]

    def test_an_annotation_may_be_left_out_where_the_messages_are_named(self, app: Sourced):
        seen: list[Any] = []

        @app.on(Placed)
        def notes(event):
            seen.append(event)

        app.append("o1", Placed())
        app.drain()
        assert seen == [Placed()]

    def test_the_history_is_that_of_the_stream_as_of_the_message(self, app: Sourced):
        """H5. Commands and other types too, no other stream, and nothing that came later."""
        seen: list[list[str]] = []

        @app.on(Placed)
        def notes(event: Placed, past: History):
            seen.append([m.type for m in past])
            assert (past[-1].payload, len(past[:1])) == (event, 1)

        app.append("o2", Started())
        app.append("o1", [Other(), Pack("tea"), Placed("1"), Placed("2"), Other()])
        app.drain()
        app.append("o1", Placed("3"))
        app.drain()
        first = ["test.other", "test.pack", "orders.placed"]
        assert seen == [first, [*first, "orders.placed"], [*first, "orders.placed", "test.other", "orders.placed"]]

    def test_a_log_the_time_and_whether_it_is_replaying(self, app: Sourced):
        seen: list[tuple[str, datetime, bool]] = []

        @app.on(Placed, group="notes")
        def anything(event, *, now: datetime, log: logging.Logger, replaying: bool, more: int = 7):
            seen.append((log.name, now, replaying))

        app.append("o1", Placed())
        app.drain()
        app.groups.reset("notes")
        app.drain()
        assert seen == [("sourced.notes", START, False), ("sourced.notes", START, True)]

    def test_names_are_enough_without_annotations(self, app: Sourced):
        seen: list[Any] = []

        @app.on(Placed)
        def notes(event, history, replaying, log, now):
            seen.append((len(history), replaying, log.name, now))

        app.append("o1", Placed())
        app.drain()
        assert seen == [(1, False, "sourced.notes", START)]

    def test_it_may_be_async(self, app: Sourced):
        seen: list[int] = []

        @app.on(Placed)
        async def notes(event: Placed, history: History):
            seen.append(len(history))

        app.append("o1", Placed())
        app.drain()
        assert seen == [1]

    def test_it_is_still_a_function(self, app: Sourced):
        @app.on(Placed)
        def price(event: Placed, history: History):
            """What it costs."""
            return [len(event.product) + len(history)]

        assert price(Placed("tea"), History([])) == [3]
        assert (price.__name__, price.__doc__, repr(price)) == ("price", "What it costs.", "<handler 'price'>")


class TestWhatFollows:
    @pytest.mark.parametrize(
        "answer",
        [
            lambda: Pack("tea"),
            lambda: [Pack("tea")],
            lambda: (Pack("tea"),),
            lambda: iter_of(Pack("tea")),
            lambda: dispatch(Pack("tea")),
            lambda: Message.new(Pack("tea"), stream="o1", now=START),
            lambda: Send((Message.new(Pack("tea"), stream="o1", now=START),)),
        ],
        ids=["message", "list", "tuple", "generator", "directions", "envelope", "action"],
    )
    def test_a_message_directions_an_envelope_an_action_or_several(self, app: Sourced, answer: Callable[[], Any]):
        @app.on(Placed)
        def packing(event: Placed):
            return answer()

        (placed,) = app.append("o1", Placed(), metadata={"user": 7})
        app.drain()
        _, pack = app.history("o1")
        assert (pack.payload, pack.causation_id) == (Pack("tea"), placed.id)
        assert (pack.correlation_id, pack.metadata["user"]) == (placed.correlation_id, 7)

    def test_what_it_yields_says_who_produced_it(self, app: Sourced):
        @app.on(Placed)
        async def packing(event: Placed):
            yield Pack(event.product)
            yield dispatch(Started(), to="o2")
            yield dispatch(Pack("later"), after=timedelta(hours=1))
            yield Sync(lambda tx: tx.table("packed").update({event.product: True}))

        app.append("o1", Placed())
        app.drain()
        assert [(m.payload, m.metadata) for m in app.history("o1", after=1)] == [(Pack("tea"), {"producer": "packing"})]
        assert [m.payload for m in app.history("o2")] == [Started()]
        assert [each.at for each in app.scheduled.list()] == [START + timedelta(hours=1)]
        assert dict(app.store.table("packed")) == {"tea": True}  # type: ignore[attr-defined]

    @pytest.mark.parametrize("answer", [7, "text", {"a": 1}, [None], [7], Placed, True])
    def test_anything_else_fails_the_message_by_name(self, app: Sourced, answer: Any):
        @app.on(Placed, errors=Park())
        def packing(event: Placed):
            return answer

        app.append("o1", Placed())
        app.drain()
        (parked,) = app.parked.list()
        assert parked.error.startswith("TypeError: packing answered ")

    def test_what_it_said_before_it_failed_is_not_said(self, app: Sourced):
        @app.on(Placed, errors=Park())
        def packing(event: Placed):
            yield Pack("tea")
            raise ValueError("no")

        app.append("o1", Placed())
        app.drain()
        assert len(app.history("o1")) == 1

    def test_it_may_ask_for_another_time(self, app: Sourced):
        seen: list[datetime] = []

        @app.on(Placed)
        def packing(event: Placed, now: datetime):
            seen.append(now)
            return RetryAt(START + timedelta(minutes=1)) if now == START else None

        app.append("o1", Placed())
        app.drain()
        app._engine.clock.advance(60)  # type: ignore[attr-defined]
        app.drain()
        assert seen == [START, START + timedelta(minutes=1)]


def iter_of(*messages: Any):
    yield from messages


class TestReplays:
    def test_a_function_that_does_not_ask_is_not_called_again(self, app: Sourced):
        """An e-mail is not sent twice because somebody replayed the group."""
        sent: list[Any] = []

        @app.on(Placed)
        def email(event: Placed):
            sent.append(event)

        app.append("o1", Placed("1"))
        app.drain()
        app.groups.reset(email)
        app.append("o1", Placed("2"))
        app.drain()
        assert sent == [Placed("1"), Placed("2")]

    def test_one_that_asks_changes_its_own_data_and_says_nothing_twice(self, app: Sourced):
        """F107, F108."""
        seen: list[bool] = []

        @app.on(Placed)
        def count(event: Placed, replaying: bool):
            seen.append(replaying)
            yield Pack("tea")
            yield AfterCommit(lambda: None)

        app.append("o1", [Placed(), Placed()])
        app.drain()
        app.groups.reset(count)
        app.append("o1", Placed())
        app.drain()
        assert seen == [False, False, True, True, False]
        assert len(app.read_all(types=[Pack])) == 3


class TestGroups:
    def test_the_group_is_named_like_the_function_and_found_by_it(self, app: Sourced):
        @app.on(Placed)
        def telemetry(event: Placed): ...

        @app.on(Placed, group="second", start_from="now")
        def more(event: Placed): ...

        assert [info.name for info in app.groups.list()] == ["telemetry", "second"]
        assert app.groups.get(more).name == "second"

    def test_an_error_policy_of_its_own(self, app: Sourced):
        @app.on(Placed, errors=Retry(times=0, then=Park("look")))
        def failing(event: Placed):
            raise ValueError("no")

        app.append("o1", Placed())
        app.drain()
        assert [row.reason for row in app.parked.list(failing)] == ["look"]

    def test_a_function_can_be_registered_with_another_app(self, app: Sourced):
        seen: list[Any] = []

        @app.on(Placed)
        def telemetry(event: Placed):
            seen.append(event)

        other = Sourced()
        other.register(telemetry)
        other.append("o1", Placed())
        other.drain()
        assert seen == [Placed()]

    def test_messages_it_names_can_be_read(self, app: Sourced):
        @app.on(Placed)
        def packing(event: Placed):
            yield Pack(event.product)

        assert app._engine.codec.find("test.pack") is Pack

    def test_given_when_then(self, app: Sourced):
        @app.on(Placed)
        def second_order(event: Placed, history: History):
            if sum(isinstance(m.payload, Placed) for m in history) == 2:
                yield dispatch(Pack("gift"), to="gifts")

        given(second_order, "o1").when(Placed()).then()
        given(second_order, "o1", Placed()).when(Placed()).then(dispatch(Pack("gift"), to="gifts"))


@dataclass
class Mailer:
    sent: list[str]


class Fulfilment(Handlers):
    """Packs what is ordered."""

    def __init__(self, mailer: Mailer) -> None:
        self.mailer = mailer

    @on
    def placed(self, event: Placed, history: History):
        self.mailer.sent.append(f"{event.product} {len(history)}")
        yield Pack(event.product)

    @on
    async def others(self, event: Message[Started | Other]):
        self.mailer.sent.append(event.type)


class TestClasses:
    def test_a_class_is_one_group_and_its_methods_go_by_their_annotations(self, app: Sourced):
        mailer = Mailer([])
        app.register(Fulfilment(mailer))
        app.append("o1", [Started(), Placed()])
        app.append("o2", Other())
        app.drain()
        assert sorted(mailer.sent) == ["orders.started", "tea 2", "test.other"]
        assert [info.name for info in app.groups.list()] == ["Fulfilment"]
        assert [m.payload for m in app.history("o1", after=2)] == [Pack("tea")]

    def test_a_subclass_adds_and_replaces(self, app: Sourced):
        class Quiet(Fulfilment, group="quiet"):
            errors = Park()

            @on
            def placed(self, event: Placed):  # type: ignore[override]
                self.mailer.sent.append("quiet")

            @on
            def packed(self, event: Pack):
                self.mailer.sent.append("packed")

        mailer = Mailer([])
        app.register(Quiet(mailer))
        app.append("o1", [Placed(), Pack("tea"), Other()])
        app.drain()
        assert mailer.sent == ["quiet", "packed", "test.other"]
        assert Pack not in Fulfilment(mailer).handles

    def test_given_when_then(self):
        given(Fulfilment(Mailer([])), "o1").when(Placed("mug")).then(Pack("mug"))

    def test_names_around_the_class_resolve(self):
        class Local(Event): ...

        class Quoted(Handlers):
            @on
            def local(self, event: "Local"): ...

        assert Quoted().handles == (Local,)


class TestWrongDeclarations:
    @pytest.mark.parametrize(
        ("declare", "why"),
        [
            (lambda app: app.on()(lambda event: None), "has no name of its own"),
            (lambda app: app.on(group="x")(lambda event: None), "expected the messages it is for"),
            (lambda app: app.on(Placed)(partial(print)), "has no name of its own"),
            (lambda app: app.on(OrderEvent, group="x")(lambda event: None), "family of messages"),
            (lambda app: app.on("placed", group="x")(lambda event: None), "expected message classes"),
            (lambda app: app.on(Placed, group="x")(lambda: None), "expected the message as its first parameter"),
            (lambda app: app.on(Placed, group="x")(7), "expected a function"),
            (lambda app: app.on(Placed, group="x")(Mailer), "expected a function"),
            (lambda app: app.on(Placed, group="x")(lambda event, mailer: None), "nothing to give.*'mailer'"),
            (lambda app: app.on(Placed, group="x", errors=Park)(lambda event: None), "x.errors|found the class"),
            (lambda app: app.on(Placed, group="x", start_from="later")(lambda event: None), "start_from"),
        ],
        ids=range(11),
    )
    def test_are_refused_at_once(self, app: Sourced, declare: Callable[[Sourced], Any], why: str):
        with pytest.raises(DefinitionError, match=why):
            declare(app)

    def test_an_annotation_that_does_not_fit_the_messages(self, app: Sourced):
        def started(event: Started): ...

        with pytest.raises(DefinitionError, match=r"started: it is for Placed, which 'event' is not annotated for"):
            app.on(Placed)(started)

    def test_an_annotation_that_cannot_be_resolved(self, app: Sourced):
        def started(event: "Nowhere"): ...  # type: ignore[name-defined]  # noqa: F821

        with pytest.raises(DefinitionError, match="'Nowhere' cannot be resolved"):
            app.on(Placed)(started)

    def test_two_functions_of_one_name(self, app: Sourced):
        def started(event: Started): ...

        app.on(Started)(started)
        with pytest.raises(DefinitionError, match=r"share the group 'started': .*test_handling.*started"):
            app.on(Started)(started)

    def test_in_classes(self):
        with pytest.raises(DefinitionError, match=r"second: Placed is handled by .*first already"):

            class Twice(Handlers):
                @on
                def first(self, event: Placed): ...

                @on
                def second(self, event: Placed | Started): ...

        with pytest.raises(DefinitionError, match="annotate 'event'"):

            class Bare(Handlers):
                @on
                def first(self, event): ...

        with pytest.raises(DefinitionError, match="handles no messages"):
            Sourced().register(Handlers)


def test_on_every_store(store: Store):
    """H1, H5, H6, A11. What a function is given, and what becomes of its answer, with the rows in one transaction."""
    app = Sourced(store, clock=VirtualClock())
    seen: list[tuple[str, int, bool]] = []

    @app.on(Placed, Started)
    async def packing(event: Message[Placed | Started], history: History, replaying: bool):
        seen.append((event.type, len(history), replaying))
        yield Pack("tea")
        yield dispatch(Pack("gift"), to="gifts")
        yield Sync(lambda tx: put(tx, "packed", event.seq, replaying))
        if len(history) == 3 and not replaying:
            yield RetryAt(START + timedelta(minutes=1))

    app.append("o1", [Placed(), Other(), Started()])
    app.drain()
    assert dict(table(store, "packed")) == {1: False}
    assert len(app.history("gifts")) == 1
    app._engine.clock.advance(60)  # type: ignore[attr-defined]
    app.groups.reset(packing)
    app.drain()
    assert seen == [
        ("orders.placed", 1, False),
        ("orders.started", 3, False),
        ("orders.placed", 1, True),
        ("orders.started", 3, False),
    ]
    assert dict(table(store, "packed")) == {1: True}
