"""The graph as a Mermaid flowchart."""

from __future__ import annotations

from sourced.topology.graph import Graph, Kind

SHAPES: dict[Kind, tuple[str, str]] = {
    "command": ("[", "]"),
    "event": ("[", "]"),
    "automation": ("{{", "}}"),
    "read model": ("[(", ")]"),
    "workflow": ("[[", "]]"),
}

CLASSES: dict[Kind, tuple[str, str]] = {
    "command": ("command", "fill:#cfe2ff,stroke:#3d7bd9,color:#0b2a57"),
    "event": ("event", "fill:#ffdfb8,stroke:#d98324,color:#4d2a00"),
    "automation": ("automation", "fill:#e6dcf7,stroke:#7d5fc0,color:#2d1a57"),
    "read model": ("readmodel", "fill:#d3efd8,stroke:#3f9a56,color:#0e3b1b"),
    "workflow": ("workflow", "fill:#f7d9e3,stroke:#c0527d,color:#571a35"),
}


def drawn(graph: Graph) -> str:
    names = {node.id: f"n{number}" for number, node in enumerate(graph.nodes, 1)}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        left, right = SHAPES[node.kind]
        lines.append(f'  {names[node.id]}{left}"{_text(node.id)}"{right}:::{CLASSES[node.kind][0]}')
    lines += [f"  {names[source]} --> {names[target]}" for source, target in graph.edges]
    there = {node.kind for node in graph.nodes}
    lines += [f"  classDef {name} {style}" for kind, (name, style) in CLASSES.items() if kind in there]
    return "\n".join(lines) + "\n"


def _text(id: str) -> str:
    return id.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
