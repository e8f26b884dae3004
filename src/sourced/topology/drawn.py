"""The graph of an app in the forms that people and programs read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sourced.topology import mermaid, svg, text
from sourced.topology.graph import Graph


class Topology(Graph, frozen=True):
    """What `app.topology()` gives you."""

    def as_text(self) -> str:
        """Group by group: what it decides and reacts to, and what follows; then what may have been forgotten."""
        return text.written(self)

    def as_json(self) -> str:
        """Nodes with what they consume and produce and, for messages, their JSON Schema; then the lints."""
        nodes = [
            {**msgspec.to_builtins(node), "consumes": self.consumes(node.id), "produces": self.produces(node.id)}
            for node in self.nodes
        ]
        whole = {"nodes": nodes, "lints": msgspec.to_builtins(self.lints)}
        return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()

    def as_mermaid(self) -> str:
        """A flowchart, as Markdown on GitHub and elsewhere shows it."""
        return mermaid.drawn(self)

    def as_svg(self, notes: Mapping[str, str] | None = None) -> str:
        """A picture that needs nothing else: no script, no font, no network. `notes` are written into nodes' boxes."""
        return svg.drawn(self, notes)
