"""Habits brought along from elsewhere: each is refused where it is written, and told what is meant here."""

import asyncio
import dataclasses
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from sourced import (
    Actor,
    Batch,
    Command,
    DefinitionError,
    Event,
    Park,
    Projector,
    Rejection,
    Sourced,
    View,
    Workflow,
    decide,
    evolve,
    sync,
)
from sourced.errors import NeedsAwait

if TYPE_CHECKING:
    from datetime import date as Elsewhere  # noqa: N812


class Add(Command):
    n: int = 1


class Added(Event):
    n: int = 1


class Thing:
    """Nothing that JSON knows of."""


@dataclass
class Total:
    id: str
    n: int = 0


class Sum(Actor[Total]):
    @decide
    def add(self, total: Total, command: Add):
        yield Added(command.n)

    @evolve
    def added(self, total: Total, event: Added):
        total.n += event.n


def refused(make: Any) -> str:
    with pytest.raises(DefinitionError) as refusal:
        make()
    return str(refusal.value)


def declared(base: type, annotations: dict[str, Any], **body: Any) -> type:
    """A class statement, with a name that the refusal can be looked for."""
    return type(base)("Odd", (base,), {"__annotations__": annotations, "__qualname__": "Odd", **body})


@pytest.mark.parametrize("base", [Command, Event, View])
def test_a_message_is_no_dataclass(base: type):
    assert "Odd is a typed class as it stands; leave @dataclass away" in refused(
        lambda: dataclasses.dataclass(declared(base, {"n": int}))
    )
    assert "Odd.names: dataclasses.field(…) means nothing here; write the default itself, such as `= []`" in refused(
        lambda: declared(base, {"names": list[str]}, names=field(default_factory=list))
    )
    assert "Odd: its fields make its __init__; leave that out" in refused(
        lambda: declared(base, {"n": int}, __init__=lambda self: None)
    )


def test_the_default_that_is_meant_is_each_message_its_own():
    class Listed(Event):
        names: list[str] = []
        tags: list[str] = msgspec.field(default_factory=lambda: ["new"])

    one, other = Listed(), Listed()
    one.names.append("ann")
    assert (other.names, other.tags) == ([], ["new"])


@pytest.mark.parametrize("kept", [Thing, list[Thing], Thing | None, dict[str, Total | Thing], complex])
def test_a_field_that_json_cannot_keep_is_refused_when_it_is_registered(kept: Any):
    app, odd = Sourced(), declared(Event, {"kept": kept})
    why = refused(lambda: app.register(odd))
    assert ".Odd.kept" in why
    assert "cannot be kept as JSON" in why
    if kept is Thing:
        assert why.endswith("make it a dataclass or a struct of plain values, or keep what names it")


@pytest.mark.parametrize("kept", [Any, object, Decimal, Total, dict[int, Total], "Total | None", msgspec.Raw])
def test_what_json_can_keep_is_not(kept: Any):
    Sourced().register(declared(Event, {"kept": kept}, __module__=__name__))


def test_a_row_that_json_cannot_keep_is_refused_when_its_projector_is_registered():
    class Row(View):
        thing: Thing | None = None

    class Rows(Projector[Row]):
        @evolve
        def added(self, row: Row, event: Added): ...

    assert "Row.thing: tests.test_habits.Thing cannot be kept as JSON" in refused(lambda: Sourced().register(Rows))


def test_a_field_of_what_only_the_type_checker_imports():
    class Dated(Event):
        on: "Elsewhere"

    why = refused(lambda: Sourced().register(Dated))
    assert "Dated: the annotation of a field cannot be resolved: name 'Elsewhere' is not defined" in why
    assert "not under `if TYPE_CHECKING:`" in why


def test_handlers_are_registered_by_annotation_and_not_by_argument():
    mark: Any = decide
    why = "@decide takes no arguments, found Add; write @decide alone: the method is registered by the annotation"
    assert why in refused(lambda: mark(Add))
    app = Sourced()
    why = "app.on: expected message classes, found "
    on: Any = app.on
    assert why + "test_handlers_are_registered_by_annotation" in refused(lambda: on(lambda event: None))
    assert why + "'added'; write @app.on(OrderPlaced), with those it is for" in refused(lambda: on("added"))


def test_an_actor_whose_state_was_forgotten():
    def forgotten():
        class Odd(Actor):  # type: ignore[type-arg]
            @decide
            def add(self, total: Total, command: Add):
                yield Added(command.n)

    assert "Odd.add: its state is a Total, and the class has none; write class Odd(Actor[Total])" in refused(forgotten)

    class Stateless(Actor):  # type: ignore[type-arg]
        @decide
        def add(self, state: None, command: Add):
            yield Added(command.n)

        @evolve
        def added(self, state, event: Added): ...

    assert Stateless.blank("s").decide(Add()).events


def test_an_actor_that_only_evolves_is_told_so():
    class Odd(Actor[Total]):
        @evolve
        def added(self, total: Total, event: Added): ...

    why = "Odd only evolves, so there is nothing to hand to it; give it a @decide or a @react method, or make it a Proj"
    assert why in refused(lambda: Sourced().register(Odd))


def test_a_workflow_that_is_not_async():
    def plain():
        class Odd(Workflow):
            def run(self) -> int:  # type: ignore[override]
                return 1

    assert "Odd.run: expected `async def run(self, …)`, found a plain one" in refused(plain)


def test_a_policy_that_is_none():
    odd: Any = 3
    assert "expected Retry(…) or a plain function of (failure), found 3" in refused(lambda: Sourced(errors=odd))


def test_a_rejection_with_an_empty_docstring_has_its_name():
    class Odd(Rejection):
        """ """

    assert str(Odd("tea")) == "Odd: tea"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql+psycopg://bob:geheim@host/shop", "'postgresql+psycopg://bob:…@host/shop': its driver is known"),
        ("sqlite+aiosqlite:///shop.db", "'sqlite+aiosqlite:///shop.db': its driver is known here; write sqlite://…"),
        (
            "sqlite:///shop.db?timeout=3",
            "the URL of a file takes no options; give them to the store: Sourced(SqliteStore(",
        ),
        ("mysql://bob:ge:heim@host/shop", "'mysql://bob:…@host/shop': expected memory://, sqlite:///shop.db"),
    ],
)
def test_an_address_from_elsewhere_tells_no_password(url: str, why: str):
    assert why in refused(lambda: Sourced(url))


def test_sql_for_the_store_in_memory():
    class Rows(Projector[Total]):
        @evolve
        def added(self, row: Total, event: Added): ...

        @sync
        def save(self, row: Total, batch: Batch, tx: Any):
            tx.execute("insert into totals values (1)")

    app = Sourced(errors=Park())
    app.register(Rows)
    app.append("s", Added())
    app.drain()
    [parked] = app.parked.list()
    assert "there is no SQL here, found 'insert into totals values (1)'; use tx.table(name)" in parked.error


def test_waiting_in_an_event_loop_would_hold_up_what_is_waited_for():
    app = Sourced()
    app.register(Sum)

    async def main():
        with pytest.raises(NeedsAwait, match=r"which waiting would hold up, .*; call `await app\.aio\.…`"):
            app.wait_for(app.dispatch(Add(), to="s"))
        assert "an event loop is running here" in refused(app.run)

    asyncio.run(main())


class Meddling(Sum, group="Sum"):
    """Stores something in the middle of deciding, or of evolving."""

    def __init__(self, while_deciding: Any = None, while_evolving: Any = None):
        self.while_deciding, self.while_evolving = while_deciding, while_evolving

    @decide
    def add(self, total: Total, command: Add):
        if self.while_deciding:
            self.while_deciding()
        yield Added(command.n)

    @evolve
    def added(self, total: Total, event: Added):
        if self.while_evolving:
            self.while_evolving()
        total.n += event.n


def test_deciding_stores_nothing_but_its_events():
    app = Sourced()
    app.register(
        Meddling(while_deciding=lambda: app.dispatch(Add(), to="other")),
    )
    why = (
        "Meddling is deciding, and nothing else may be stored meanwhile: it may be decided again; leave that to a @rea"
    )
    assert why in refused(lambda: app.execute(Add(), to="s"))
    assert app.read_all() == []


def test_evolving_stores_nothing():
    quiet = Sourced()
    quiet.register(Sum)
    quiet.execute(Add(), to="s")
    app = Sourced(quiet.store)
    app.register(Meddling(while_evolving=lambda: app.append("other", Added())))
    why = "Meddling is evolving, and nothing else may be stored meanwhile: whoever reads the history would do it again"
    assert why in refused(lambda: app.load(Meddling, "s"))
    assert app.history("other") == []


def test_deciding_may_look_at_others():
    seen: list[int] = []
    app = Sourced()
    app.register(Meddling(while_deciding=lambda: seen.append(app.load(Meddling, "other").seq)))
    app.append("other", Added())
    app.execute(Add(), to="s")
    assert seen == [1]
    assert app.append("s", Added())  # and afterwards all is as ever
