"""The graph of an app: read from its declarations and its handlers' code, drawn, and written into pages."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import msgspec
import pytest

from sourced import (
    Actor,
    Command,
    Commands,
    DefinitionError,
    Delivery,
    Event,
    Events,
    EventSourced,
    Handlers,
    Message,
    Projector,
    Reactor,
    Rejected,
    Send,
    Sourced,
    Workflow,
    decide,
    dispatch,
    evolve,
    on,
    parse,
    react,
    step,
    sync,
)
from sourced.testing import shop
from sourced.topology.layout import laid_out
from sourced.topology.markdown import kind_of, written_into
from sourced.topology.source import made_by
from tests import party


class Start(Command):
    """Somebody begins."""

    at: date


class Step(Command): ...


class Halt(Command): ...


class Started(Event):
    names: list[str] = []


class Stepped(Event): ...


class Halted(Event): ...


class Elsewhere(Event): ...


def graph(*things: Any) -> Any:
    app = Sourced()
    app.register(*things)
    return app.topology()


def edges(topology: Any) -> set[str]:
    return {f"{source} > {target}" for source, target in topology.edges}


class TestWhatIsInIt:
    def test_commands_events_automations_and_read_models(self):
        """N226, T1, T4. Each once; a message belongs to whoever names it first."""
        topology = graph(shop.Cart, shop.Stock, shop.Sales)
        assert edges(topology) == {
            "shop.add_item > shop.item_added",
            "shop.close > shop.closed",
            "shop.item_added > shop.carts/reserve",
            "shop.carts/reserve > shop.reserve",
            "shop.reserve > shop.reserved",
            "shop.item_added > shop.sales",
        }
        ids = [node.id for node in topology.nodes]
        assert len(ids) == len(set(ids))
        assert [(n.id, n.kind, n.name, n.group) for n in topology.nodes if n.id in ("shop.reserve", "shop.sales")] == [
            ("shop.reserve", "command", "Reserve", "shop.stock"),
            ("shop.sales", "read model", "Sales", "shop.sales"),
        ]
        assert topology.node("shop.carts/reserve").kind == "automation"
        assert topology.lints == ()

    def test_a_wildcard_is_one_node_for_all_it_covers(self):
        class Watchful(Actor[None], group="watchful"):
            @evolve
            def started(self, state: None, event: Started | Stepped | Halted): ...

            @react
            def halted(self, state: None, event: Halted):
                yield Halt()

            @react
            def others(self, state: None, event: Event):
                yield Step()

        topology = graph(Watchful)
        assert topology.consumes("watchful/others") == ["started", "stepped"]
        assert topology.consumes("watchful/halted") == ["halted"]
        assert topology.produces("watchful/others") == ["step"]

    def test_a_projectors_reactions_start_from_the_read_model(self):
        class Rows(Projector[None], group="rows"):
            @evolve
            def started(self, row: None, event: Started): ...

            @react
            def next(self, row: None, event: Started):
                yield Step()

        topology = graph(Rows)
        assert edges(topology) == {"started > rows", "rows > rows/next", "rows/next > step"}

    def test_functions_classes_of_handlers_and_low_level_reactors(self):
        app = Sourced()

        @app.on(Started, Stepped)
        def telling(event: Started | Stepped):
            """Tells everybody."""
            yield dispatch(Halt(), to="x")
            yield Halted()

        class Several(Handlers, group="several"):
            @on
            def one(self, event: Halted):
                return [Step()]

            @on
            def two(self, event: Message[Stepped]): ...

        class Low(Reactor, group="low"):
            handles = (Halted,)

            def handle(self, delivery: Delivery):
                return [Send((delivery.message.follow(Step()),))]

        class Bulk(Reactor, group="bulk"):
            handles = (Halted,)

            def handle_batch(self, deliveries):
                return [Send((deliveries[0].message.follow(Stepped()),))]

        app.register(Several, Low, Bulk)
        topology = app.topology()
        assert edges(topology) == {
            "started > telling", "stepped > telling", "telling > halt", "telling > halted",
            "halted > several/one", "several/one > step", "stepped > several/two",
            "halted > low", "low > step", "halted > bulk", "bulk > stepped",
        }  # fmt: skip
        assert topology.node("telling").about == "Tells everybody."

    def test_workflows_with_what_they_wait_for_and_make(self):
        class Travel(Workflow, group="travel"):
            """Books a trip."""

            async def run(self) -> None:
                await self.book()
                await self.wait_for(Halted, timeout=5)
                await self.listening()

            async def listening(self) -> None:
                await self.wait_for(Stepped)

            @step
            async def book(self) -> None:
                trips.execute(Step(), to="trip")

        trips = Sourced()
        topology = graph(Travel)
        assert topology.node("travel").kind == "workflow"
        assert edges(topology) == {"halted > travel", "stepped > travel", "travel > step"}

    def test_what_sourced_writes_is_in_it_if_somebody_answers_it(self):
        assert "sourced.rejected" not in {node.id for node in graph(shop.Cart).nodes}

        class Regrets(Projector[None], group="regrets"):
            @evolve
            def rejected(self, row: None, event: Rejected): ...

        topology = graph(shop.Stock, Regrets)
        assert topology.consumes("regrets") == ["sourced.rejected"]
        assert topology.lints == ()

    def test_messages_and_groups_may_have_one_name(self):
        class Same(Projector[None], group="started"):
            @evolve
            def started(self, row: None, event: Started): ...

        topology = graph(Same)
        assert [node.id for node in topology.nodes] == ["started (read model)", "started"]
        assert edges(topology) == {"started > started (read model)"}

    def test_every_message_has_its_schema(self):
        topology = graph(Started, Start, shop.Cart)
        assert topology.node("shop.add_item").schema == {
            "title": "AddItem", "type": "object", "required": ["product"],
            "properties": {"product": {"type": "string"}, "quantity": {"type": "integer", "default": 1}},
        }  # fmt: skip
        assert topology.node("start").schema["properties"]["at"] == {"type": "string", "format": "date"}
        assert topology.node("start").about == "Somebody begins."

    def test_a_field_that_json_schema_has_no_word_for_costs_only_the_schema(self):
        class Odd(Event):
            thing: Iterable[int] = ()

        assert graph(Odd).node("odd").schema == {}

    def test_schemas_of_nested_types_are_whole(self):
        class Line(msgspec.Struct):
            product: str

        class Bill(Event):
            lines: list[Line]

        schema = graph(Bill).node("bill").schema
        assert schema["properties"]["lines"]["items"] == {"$ref": "#/$defs/Line"}
        assert schema["$defs"]["Line"]["properties"] == {"product": {"type": "string"}}


def stepping() -> Iterator[Step]:
    yield helping()


def helping() -> Step:
    return Step()


def looping(n: int) -> Any:
    if n:
        looping(n - 1)
    return Halt()


class Kinds:
    Inner = Halt

    def annotated(self) -> Commands:
        yield Step()

    def union(self) -> Iterator[Step | Halt]:
        yield from ()

    def plain(self):
        yield Step()

    def directed(self):
        yield dispatch(
            Step(),
            to="x",
        )

    def branches(self, n: int):
        if n:
            yield Step()
        else:
            yield (Halt if n > 1 else Step)()

    def helped(self):
        yield from self.own()
        yield from stepping()

    def own(self):
        yield Halt()

    def qualified(self):
        yield party.Remind("a")
        yield self.Inner()
        yield Kinds.Inner()

    def assigned(self, n: int):
        kind = Step if n else Halt
        yield kind()

    def imported(self):
        from tests.party import Remind as Later

        yield Later("a")

    def compared(self, event: Any):
        if event == Halted() or isinstance(event, Stepped):
            yield Step()

    def parsed(self, data: dict[str, Any]):
        yield parse(Step, data)

    def circular(self):
        yield looping(3)
        yield from self.circular()

    def nothing(self): ...


class TestWhatCodeMakes:
    @pytest.mark.parametrize(
        ("name", "made"),
        {
            "annotated": [Step],
            "union": [Step, Halt],
            "plain": [Step],
            "directed": [Step],
            "branches": [Step, Halt],
            "helped": [Halt, Step],
            "qualified": [party.Remind, Halt],
            "assigned": [Step, Halt],
            "imported": [party.Remind],
            "compared": [Step],
            "parsed": [Step],
            "circular": [Halt],
            "nothing": [],
        }.items(),
    )
    def test_it_is_read_and_never_run(self, name: str, made: list[type]):
        """T2, N226. Chained, over several lines, in all branches, in helpers beside it, by any name it has."""
        assert made_by(getattr(Kinds(), name), Kinds()) == made

    def test_names_of_enclosing_functions(self):
        class Local(Event): ...

        def making():
            yield Local()

        assert made_by(making) == [Local]

    def test_without_source_the_names_in_it_have_to_do(self):
        """As for a function that was typed at a prompt."""
        names: dict[str, Any] = {"Step": Step, "Halt": Halt}
        exec("def making():\n    yield Step()", names)
        assert made_by(names["making"]) == [Step]

    def test_a_decider_makes_events_and_a_reaction_commands(self):
        class Mixed(Actor[None], group="mixed"):
            @decide
            def start(self, state: None, command: Start) -> Events[None]:
                if self.later(Step()):
                    yield Started()

            @evolve
            def started(self, state: None, event: Started): ...

            @react
            def look(self, state: None, event: Started):
                if [Started()]:
                    yield Halt()

            def later(self, command: Step) -> bool:
                return bool(command)

        assert edges(graph(Mixed)) == {"start > started", "started > mixed/look", "mixed/look > halt"}


class TestWhatMayHaveBeenForgotten:
    def test_commands_nobody_decides_and_events_nobody_handles(self):
        class Careless(Actor[None], group="careless"):
            @decide
            def start(self, state: None, command: Start):
                yield Started()
                yield Stepped()

            @evolve
            def started(self, state: None, event: Started): ...

            @react
            def next(self, state: None, event: Started):
                yield Step()

            @react
            def again(self, state: None, event: Halted):
                yield Step()

        topology = graph(Careless, Halt)
        assert [(lint.about, lint.says) for lint in topology.lints] == [
            ("stepped", "nobody evolves, projects or reacts to it"),
            ("step", "careless/next and careless/again send it, and nobody decides it"),
            ("halt", "it is known, and nobody decides it"),
        ]

    def test_a_command_that_a_function_handles_is_handled(self):
        app = Sourced()

        @app.on(Step)
        def stepping(command: Step): ...

        assert app.topology().lints == ()


class TestDrawings:
    def test_text(self):
        topology = graph(shop.Cart, shop.Stock, shop.Sales, Halt)
        assert topology.as_text() == (
            "shop.carts\n"
            "  decides shop.add_item                 → shop.item_added\n"
            "  decides shop.close                    → shop.closed\n"
            "  reacts to shop.item_added in reserve  → shop.reserve\n"
            "\n"
            "shop.stock\n"
            "  decides shop.reserve  → shop.reserved\n"
            "\n"
            "shop.sales\n"
            "  projects shop.item_added\n"
            "\n"
            "nobody's own\n"
            "  command halt\n"
            "\n"
            "forgotten?\n"
            "  halt: it is known, and nobody decides it\n"
        )

    def test_json(self):
        nodes = json.loads(graph(shop.Cart).as_json())["nodes"]
        reserve = next(node for node in nodes if node["id"] == "shop.carts/reserve")
        assert (reserve["consumes"], reserve["produces"]) == (["shop.item_added"], ["shop.reserve"])

    def test_mermaid(self):
        drawn = graph(shop.Cart, shop.Stock, shop.Sales).as_mermaid().splitlines()
        assert drawn[:2] == ["flowchart LR", '  n1["shop.add_item"]:::command']
        assert "  n1 --> n2" in drawn
        assert '  n8[("shop.sales")]:::readmodel' in drawn

    def test_svg_is_well_formed_and_shows_every_box_and_edge_once(self):
        topology = graph(shop.Cart, shop.Stock, shop.Sales, Start)
        picture = ElementTree.fromstring(topology.as_svg())
        shapes = [element.tag.rpartition("}")[2] for element in picture.iter()]
        assert shapes.count("g") == len(topology.nodes)
        assert len([e for e in picture.iter() if e.get("class", "").startswith("edge")]) == len(topology.edges)
        assert "Somebody begins." in topology.as_svg()
        assert "http" not in topology.as_svg().replace("http://www.w3.org/2000/svg", "")

    def test_boxes_do_not_overlap(self):
        picture = ElementTree.fromstring(graph(shop.Cart, shop.Stock, shop.Sales, party.Party).as_svg())
        boxes = [
            [float(e.get(each) or 0) for each in ("x", "y", "width", "height")]
            for group in picture.iter("{http://www.w3.org/2000/svg}g")
            for e in group
            if e.tag.endswith("rect")
        ]
        for n, (x, y, w, h) in enumerate(boxes):
            for x2, y2, w2, h2 in boxes[n + 1 :]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y

    def test_nothing_registered_is_an_empty_picture(self):
        topology = Sourced().topology()
        assert (topology.nodes, topology.as_text()) == ((), "\n")
        ElementTree.fromstring(topology.as_svg())


class TestLayout:
    def test_every_box_comes_after_what_leads_to_it_but_where_it_goes_round(self):
        layout = laid_out(list("abcd"), [("a", "b"), ("b", "c"), ("a", "c"), ("c", "a"), ("c", "d")])
        assert [[each for each in layer if len(each) == 1] for layer in layout.layers] == [["a"], ["b"], ["c"], ["d"]]
        assert layout.backwards == {("c", "a")}
        assert len(layout.paths["a", "c"]) == 3

    def test_crossings_are_taken_out(self):
        layout = laid_out(list("abxy"), [("a", "y"), ("b", "x")])
        assert layout.layers in ([["a", "b"], ["y", "x"]], [["b", "a"], ["x", "y"]])

    def test_one_that_leads_to_itself(self):
        assert laid_out(["a"], [("a", "a")]).backwards == {("a", "a")}


PAGE = """# Shop

<!-- sourced:topology -->
old
<!-- /sourced:topology -->

Words of our own.

<!-- sourced:messages -->
<!-- /sourced:messages -->
"""


class TestPages:
    def test_what_is_between_the_markers_is_written_anew_and_nothing_else(self):
        topology = graph(shop.Cart, shop.Stock, Start)
        page = written_into(PAGE, topology)
        assert "old" not in page
        assert re.findall(r"^\S.*$", page, re.MULTILINE)[0] == "# Shop"
        assert "Words of our own." in page
        assert (
            "| `shop.add_item` | `product: string`, `quantity: integer = 1` | `shop.carts` | `shop.item_added` |"
            in page
        )
        assert "| `start`<br>Somebody begins. | `at: date` | | |" in page
        assert "> `start`: it is known, and nobody decides it" in page
        assert written_into(page, topology) == page

    def test_schemas(self):
        page = written_into("<!-- sourced:schemas --><!-- /sourced:schemas -->", graph(shop.Cart))
        schemas = json.loads(page.partition("```json")[2].partition("```")[0])
        assert schemas["shop.add_item"]["required"] == ["product"]

    @pytest.mark.parametrize(
        "page",
        [
            "nothing",
            "<!-- sourced:topology -->",
            "<!-- sourced:topologie --><!-- /sourced:topologie -->",
            "<!-- sourced:topology --><!-- /sourced:topology --><!-- sourced:topology -->",
            "<!-- /sourced:topology --><!-- sourced:topology -->",
        ],
    )
    def test_markers_that_are_wrong_are_refused(self, page: str):
        with pytest.raises(DefinitionError, match=r"README.md: expected .*markers|README.md: expected <!-- sourced"):
            written_into(page, graph(shop.Cart), "README.md")

    @pytest.mark.parametrize(
        ("annotation", "words"),
        [
            (int, "integer"),
            (str | None, "string | null"),
            (list[str], "list of string"),
            (list[Any], "list of any"),
            (dict[str, int], "object"),
            (date, "date"),
            (int | str, "integer | string"),
        ],
        ids=str,
    )
    def test_types_in_a_word_or_two(self, annotation: Any, words: str):
        assert kind_of(msgspec.json.schema(annotation)) == words


def test_event_sourced_projectors_and_syncs_are_read_too():
    class History(EventSourced[None], group="history"):
        @evolve
        def started(self, state: None, event: Started): ...

        @sync
        def save(self, state: None, batch, tx):
            print(Elsewhere())  # noqa: T201

    assert edges(graph(History)) == {"started > history"}
