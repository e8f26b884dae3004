"""The graph as text: group by group, one line for each thing that makes others happen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sourced.topology.graph import Graph, Node


def written(graph: Graph) -> str:
    return "\n".join(_lines(graph)).rstrip() + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    for group in graph.groups():
        yield group
        lines = [line for node in graph.within(group) for line in _of(graph, node)]
        width = max((len(left) for left, _ in lines), default=0)
        for left, right in lines:
            yield f"  {left:<{width}}{right}"
        yield ""
    alone = [node for node in graph.nodes if not node.group]
    if alone:
        yield "nobody's own"
        yield from (f"  {node.kind} {node.id}" for node in alone)
        yield ""
    if graph.lints:
        yield "forgotten?"
        yield from (f"  {lint.about}: {lint.says}" for lint in graph.lints)


def _of(graph: Graph, node: Node) -> Iterator[tuple[str, str]]:
    if node.kind == "command":
        yield f"decides {node.id}", _arrow(graph.produces(node.id))
    elif node.kind == "read model":
        yield f"projects {_listed(graph.consumes(node.id))}", ""
    elif node.kind in ("automation", "workflow"):
        from_what = _listed(graph.consumes(node.id)) or "nothing"
        verb = "reacts to" if node.kind == "automation" else "waits for"
        name = f" in {node.name}" if node.name != node.group else ""
        yield f"{verb} {from_what}{name}", _arrow(graph.produces(node.id))


def _arrow(ids: Sequence[str]) -> str:
    return f"  → {_listed(ids)}" if ids else ""


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids)
