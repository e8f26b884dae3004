"""From the reactors of an app to its graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from sourced.actor import Actor
from sourced.evolving import Evolving
from sourced.handling import HandlerFunction, HandlerReactor
from sourced.messages import Command, Event, Payload, Rejected
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.topology.drawn import Topology
from sourced.topology.graph import Kind, Lint, Node
from sourced.topology.source import awaited_by, made_by
from sourced.workflow.definition import steps_of
from sourced.workflow.events import Journal
from sourced.workflow.workflow import Workflow


def topology_of(reactors: Iterable[Reactor], known: Collection[type[Payload]]) -> Topology:
    """The graph of what is registered; messages that are only known stand in it by themselves."""
    reading = Reading({message.__sourced__.name for message in known})
    for reactor in reactors:
        reading.read(reactor)
    for message in known:
        if not _ours(message):
            reading.message(message)
    return Topology(tuple(reading.nodes.values()), tuple(reading.edges), tuple(reading.lints()))


class Reading:
    """The graph, as far as it has been read."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken  # the names of messages, which nobody else may have
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.decided: set[str] = set()
        self.evolved: set[str] = set()

    def read(self, reactor: Reactor) -> None:
        if isinstance(reactor, Evolving):
            self.evolving(reactor)
        elif isinstance(reactor, HandlerReactor):
            self.handlers(reactor)
        elif isinstance(reactor, Workflow):
            self.workflow(reactor)
        else:
            handle = reactor.handle_batch if reactor.in_batches else reactor.handle
            self.automation(reactor, "", reactor.handles, handle, Payload)

    def evolving(self, reactor: Evolving) -> None:
        for command, handler in reactor.tables.decide.items():
            made = [each for each in made_by(getattr(reactor, handler.name), reactor) if issubclass(each, Event)]
            source = self.message(command, reactor.group)
            self.decided.add(source)
            for event in made:
                self.edges[source, self.message(event, reactor.group)] = None
        model = self.read_model(reactor) if isinstance(reactor, Projector) else None
        for message in reactor.tables.evolve:
            evolved = self.message(message, reactor.group if isinstance(reactor, Actor) else "")
            self.evolved.add(evolved)
            if model is not None:
                self.edges[evolved, model] = None
        reactions: dict[str, list[type[Payload]]] = {}
        for message, handler in reactor.reactions.items():
            reactions.setdefault(handler.name, []).append(message)
        for name, messages in reactions.items():
            self.automation(reactor, name, messages, getattr(reactor, name), Command, after=model)

    def handlers(self, reactor: HandlerReactor) -> None:
        done: set[str] = set()
        for handling in reactor.table.values():
            if handling.where not in done:
                done.add(handling.where)
                name = "" if isinstance(reactor, HandlerFunction) else handling.where.rpartition(".")[2]
                self.automation(reactor, name, handling.messages, handling.function, Payload)

    def workflow(self, workflow: Workflow) -> None:
        name = type(workflow).__qualname__.rpartition("<locals>.")[2]
        node = self.add(
            Node(self.free(workflow.group, "workflow"), "workflow", name, workflow.group, _about(type(workflow)))
        )
        for message in awaited_by(workflow.run, workflow):
            self.edges[self.message(message), node] = None
        for method in (workflow.run, *(step.method for step in steps_of(type(workflow)).values())):
            for message in made_by(method, workflow):
                if not _ours(message):
                    self.edges[node, self.message(message)] = None

    def read_model(self, projector: Projector[Any]) -> str:
        name = type(projector).__qualname__.rpartition("<locals>.")[2]
        id = self.free(projector.group, "read model")
        return self.add(Node(id, "read model", name, projector.group, _about(type(projector))))

    def automation(
        self,
        reactor: Reactor,
        name: str,
        consumed: Iterable[type[Payload]],
        function: Callable[..., Any],
        kind: type[Payload],
        *,
        after: str | None = None,
    ) -> None:
        """One who answers messages, or a read model as they have left it."""
        id = self.free(f"{reactor.group}/{name}" if name else reactor.group, "automation")
        node = self.add(Node(id, "automation", name or reactor.group, reactor.group, _about(function)))
        for message in consumed:
            source = self.message(message)
            self.edges[source if after is None else after, node] = None
        for message in made_by(function, reactor):
            if issubclass(message, kind):
                self.edges[node, self.message(message)] = None

    def message(self, message: type[Payload], group: str = "") -> str:
        """Whoever names it first as his own is its owner."""
        id = message.__sourced__.name
        there = self.nodes.get(id)
        if there is None:
            kind: Kind = "command" if issubclass(message, Command) else "event"
            self.add(
                Node(id, kind, message.__qualname__.rpartition(".")[2], group, _about(message), schema_of(message))
            )
        elif group and not there.group:
            self.nodes[id] = msgspec.structs.replace(there, group=group)
        return id

    def add(self, node: Node) -> str:
        self.nodes[node.id] = node
        return node.id

    def free(self, id: str, kind: Kind) -> str:
        """Messages are known by their stored names; one who answers them and has such a name says what he is."""
        while id in self.nodes or id in self.taken:
            id = f"{id} ({kind})"
        return id

    def lints(self) -> Iterable[Lint]:
        for node in self.nodes.values():
            sources = [source for source, target in self.edges if target == node.id]
            answered = any(source == node.id for source, _ in self.edges)
            if node.kind == "command" and node.id not in self.decided and not answered:
                senders = " and ".join(sources)
                sent = f"{senders} {'send' if len(sources) > 1 else 'sends'} it" if sources else "it is known"
                yield Lint(node.id, f"{sent}, and nobody decides it")
            elif node.kind == "event" and not answered and node.id not in self.evolved:
                yield Lint(node.id, "nobody evolves, projects or reacts to it")


def schema_of(message: type[Payload]) -> dict[str, Any]:
    """Its JSON Schema; nothing where a field is of a type that JSON Schema has no word for."""
    try:
        (reference,), parts = msgspec.json.schema_components([message], ref_template="#/$defs/{name}")
    except TypeError:
        return {}
    own = parts.pop(reference["$ref"].rpartition("/")[2])
    return {**own, "$defs": parts} if parts else own


def _ours(message: type[Payload]) -> bool:
    """What Sourced itself writes down; it is in the graph if somebody answers it."""
    return issubclass(message, Journal | Rejected) or message.__sourced__.name.startswith("sourced.")


def _about(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__).partition("\n")[0] if thing.__doc__ else ""
