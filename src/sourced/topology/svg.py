"""The graph as a picture: boxes in layers, from left to right, and curves between them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from sourced.topology.graph import Graph, Kind, Node
from sourced.topology.layout import Layout, laid_out

LETTER = 7.0  # how wide one is, at most, in the letters used
HEIGHT, GAP, PADDING, BETWEEN, MARGIN = 40, 18, 14, 70, 24
NOTE = 64  # how much room there is for a note, if there may be any
LANE, TURN = 12, 8  # between lines that go back, and how round their corners are

COLOURS: dict[Kind, tuple[str, str]] = {
    "command": ("#cfe2ff", "#3d7bd9"),
    "event": ("#ffdfb8", "#d98324"),
    "automation": ("#e6dcf7", "#7d5fc0"),
    "read model": ("#d3efd8", "#3f9a56"),
    "workflow": ("#f7d9e3", "#c0527d"),
}

STYLE = """
  text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #1b1b1f; }
  text.small { font-size: 10px; fill: #55555f; }
  text.note { text-anchor: end; font-weight: 600; }
  path.edge { fill: none; stroke: #8a8a96; stroke-width: 1.4; }
  path.back { stroke-dasharray: 5 4; }
  marker path { fill: #8a8a96; }
"""


def drawn(graph: Graph, notes: Mapping[str, str] | None = None) -> str:
    layout = laid_out([node.id for node in graph.nodes], graph.edges)
    nodes = {node.id: node for node in graph.nodes}
    places = Places(layout, nodes, notes)
    edges = [places.edge(edge, back=edge in layout.backwards) for edge in graph.edges]
    boxes = [places.box(node) for node in graph.nodes]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {places.width:g} {places.height:g}" '
            f'width="{places.width:g}" height="{places.height:g}" role="img" aria-label="Topology">',
            f"<style>{STYLE}</style>",
            '<defs><marker id="to" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>',
            f'<rect width="{places.width:g}" height="{places.height:g}" fill="#ffffff"/>',
            *edges,
            *boxes,
            "</svg>",
            "",
        ]
    )


class Places:
    """Where everything is, in pixels."""

    def __init__(self, layout: Layout, nodes: dict[str, Node], notes: Mapping[str, str] | None) -> None:
        self.layout = layout
        self.notes = notes or {}
        room = 0.0 if notes is None else NOTE
        self.left: dict[str, float] = {}
        self.wide: dict[str, float] = {}
        self.middle: dict[str, float] = {}
        tallest = max((len(layer) for layer in layout.layers), default=0)
        whole = tallest * (HEIGHT + GAP)
        left = float(MARGIN)
        for layer in layout.layers:
            width = max((_width(nodes[id]) + room for id in layer if id in nodes), default=0.0)
            top = MARGIN + (whole - len(layer) * (HEIGHT + GAP)) / 2
            for at, id in enumerate(layer):
                self.left[id], self.wide[id] = left, width
                self.middle[id] = top + at * (HEIGHT + GAP) + HEIGHT / 2
            left += width + BETWEEN
        self.width = left - BETWEEN + MARGIN if layout.layers else 2 * MARGIN
        self.bottom = MARGIN + max(0, whole - GAP)
        self.height = self.bottom + LANE * len(layout.backwards) + MARGIN

    def box(self, node: Node) -> str:
        fill, stroke = COLOURS[node.kind]
        left, wide, middle = self.left[node.id], self.wide[node.id], self.middle[node.id]
        round_ = {"automation": 20, "workflow": 12}.get(node.kind, 5)
        about = f"<title>{escape(node.about)}</title>" if node.about else ""
        return (
            f'<g>{about}<rect x="{left:g}" y="{middle - HEIGHT / 2:g}" width="{wide:g}" height="{HEIGHT}" '
            f'rx="{round_}" fill="{fill}" stroke="{stroke}"/>'
            f'<text x="{left + PADDING:g}" y="{middle - 2:g}">{escape(node.id)}</text>'
            f'<text class="small" x="{left + PADDING:g}" y="{middle + 12:g}">{escape(_under(node))}</text>'
            f"{self._note(node, left + wide - PADDING, middle)}</g>"
        )

    def _note(self, node: Node, right: float, middle: float) -> str:
        note = self.notes.get(node.id)
        return f'<text class="note" x="{right:g}" y="{middle - 2:g}">{escape(note)}</text>' if note else ""

    def edge(self, edge: tuple[str, str], *, back: bool) -> str:
        if back:
            return self._around(edge)
        path = self.layout.paths[edge]
        x, y = self.left[path[0]] + self.wide[path[0]], self.middle[path[0]]
        drawing = f"M{x:g} {y:g}"
        for place in path[1:]:
            left, middle = self.left[place], self.middle[place]
            bend = (left - x) / 2
            drawing += f"C{x + bend:g} {y:g} {left - bend:g} {middle:g} {left:g} {middle:g}"
            x, y = left + self.wide[place], middle
            drawing += f"H{x:g}" if place != path[-1] else ""
        return f'<path class="edge" d="{drawing}" marker-end="url(#to)"/>'

    def _around(self, edge: tuple[str, str]) -> str:
        """Against the flow: out on the right, along a lane of its own beneath everything, and in from the left."""
        source, target = edge
        x, y = self.left[source] + self.wide[source], self.middle[source]
        end, top = self.left[target], self.middle[target]
        lane = self.bottom + LANE * (1 + sorted(self.layout.backwards).index(edge))
        out, in_ = x + TURN * 2, end - TURN * 2
        drawing = (
            f"M{x:g} {y:g}H{out - TURN:g}q{TURN} 0 {TURN} {TURN}V{lane - TURN:g}q0 {TURN} -{TURN} {TURN}"
            f"H{in_ + TURN:g}q-{TURN} 0 -{TURN} -{TURN}V{top + TURN:g}q0 -{TURN} {TURN} -{TURN}H{end:g}"
        )
        return f'<path class="edge back" d="{drawing}" marker-end="url(#to)"/>'


def _under(node: Node) -> str:
    return node.kind if not node.group or node.group == node.id else f"{node.kind}, {node.group}"


def _width(node: Node) -> float:
    return max(len(node.id) * LETTER, len(_under(node)) * LETTER * 0.85) + 2 * PADDING
