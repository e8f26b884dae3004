"""Where the boxes of a graph go: in layers, from what comes first to what follows, with few crossings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Edge = tuple[str, str]

SWEEPS = 8  # rounds of putting every box near its neighbours; more change nothing any more


@dataclass
class Layout:
    """Boxes by layer, from top to bottom, and for each edge the places it goes through."""

    layers: list[list[str]]
    paths: dict[Edge, list[str]] = field(default_factory=dict)  # through places that are no boxes, in between
    backwards: set[Edge] = field(default_factory=set)


def laid_out(nodes: Sequence[str], edges: Iterable[Edge]) -> Layout:
    all_edges = list(edges)
    backwards = _against_the_flow(nodes, all_edges)
    forwards = [edge for edge in all_edges if edge not in backwards]
    rank = _ranks(nodes, forwards)
    layers: list[list[str]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in nodes:
        layers[rank[node]].append(node)
    layout = Layout(layers, backwards=backwards)
    for edge in forwards:
        layout.paths[edge] = _route(edge, rank, layers)
    for edge in backwards:
        layout.paths[edge] = list(edge)
    _order(layers, [layout.paths[edge] for edge in forwards])
    return layout


def _against_the_flow(nodes: Sequence[str], edges: Sequence[Edge]) -> set[Edge]:
    """Edges that close a circle, found by walking along all of them."""
    following: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        following[source].append(target)
    entered = {target for _, target in edges}
    state: dict[str, int] = {}  # 1: being walked, 2: done
    closing: set[Edge] = set()
    for start in (*(node for node in nodes if node not in entered), *nodes):
        if state.get(start):
            continue
        state[start] = 1
        walk = [(start, iter(following[start]))]
        while walk:
            node, ahead = walk[-1]
            onward = next(ahead, None)
            if onward is None:
                state[node] = 2
                walk.pop()
            elif state.get(onward) == 1:
                closing.add((node, onward))
            elif not state.get(onward):
                state[onward] = 1
                walk.append((onward, iter(following[onward])))
    return closing


def _ranks(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Each box one layer behind the last of those that lead to it."""
    sources: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in edges:
        sources[target].append(source)
    rank: dict[str, int] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting[-1]
        missing = [source for source in sources[node] if source not in rank]
        if node in rank or not missing:
            rank.setdefault(node, 1 + max((rank[source] for source in sources[node]), default=-1))
            waiting.pop()
        else:
            waiting += missing
    return rank


def _route(edge: Edge, rank: Mapping[str, int], layers: list[list[str]]) -> list[str]:
    """An edge that skips layers has a place kept for it in each."""
    source, target = edge
    between = [f"{source}\0{target}\0{layer}" for layer in range(rank[source] + 1, rank[target])]
    for layer, place in enumerate(between, rank[source] + 1):
        layers[layer].append(place)
    return [source, *between, target]


def _order(layers: list[list[str]], paths: Iterable[Sequence[str]]) -> None:
    """Every box near the middle of its neighbours in the layer before, then in the one behind, a few times."""
    before: dict[str, list[str]] = {}
    behind: dict[str, list[str]] = {}
    for path in paths:
        for one, other in pairwise(path):
            behind.setdefault(one, []).append(other)
            before.setdefault(other, []).append(one)
    for sweep in range(SWEEPS):
        neighbours, order = (before, layers) if sweep % 2 == 0 else (behind, layers[::-1])
        for fixed, layer in pairwise(order):
            place = {node: at for at, node in enumerate(fixed)}
            middle: dict[str, float] = {}
            for at, node in enumerate(layer):
                near = [place[each] for each in neighbours.get(node, ()) if each in place]
                middle[node] = sum(near) / len(near) if near else at
            layer.sort(key=middle.__getitem__)
