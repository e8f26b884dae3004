"""Causation: how a whole story came about, as a tree and along time."""

from __future__ import annotations

from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk
from sourced.envelope import Message
from sourced.web.guard import is_htmx
from sourced.web.story import Node, tree


class Bar(NamedTuple):
    """A message on the line of time: when it came, in parts of the whole, and how long after its cause."""

    message: Message[Any]
    depth: int
    start: float
    width: float
    after: float  # seconds since what caused it


class Stories:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [Route("/messages/{id}", self.story)]

    async def story(self, request: Request) -> Response:
        chosen = request.path_params["id"]
        story = await self.desk.app.aio.trace(chosen)
        roots = tree(story)
        message = next((each for each in story if each.id == chosen), None)
        name = "_story.html" if is_htmx(request) else "story.html"
        return self.desk.page(
            request, name, chosen=chosen, message=message, roots=roots, bars=bars(roots),
            status=200 if message else 404,
        )  # fmt: skip


def bars(roots: list[Node]) -> list[Bar]:
    """Each message from the moment of its cause to its own: what is long there has waited, or was worked on."""
    times = [node.message.created_at for node, _ in _walk(roots, 0)]
    if not times:
        return []
    begin, whole = min(times), max(0.001, (max(times) - min(times)).total_seconds())
    found: list[Bar] = []
    causes = {each.message.id: node.message for node, _ in _walk(roots, 0) for each in node.caused}
    for node, depth in _walk(roots, 0):
        message, cause = node.message, causes.get(node.message.id, node.message)
        start, after = (
            (cause.created_at - begin).total_seconds(),
            (message.created_at - cause.created_at).total_seconds(),
        )
        found.append(Bar(message, depth, 100 * start / whole, max(0.4, 100 * after / whole), after))
    return found


def _walk(nodes: list[Node], depth: int) -> list[tuple[Node, int]]:
    """Without recursion: stories may be long."""
    found, waiting = [], [(node, depth) for node in reversed(nodes)]
    while waiting:
        node, at = waiting.pop()
        found.append((node, at))
        waiting += [(each, at + 1) for each in reversed(node.caused)]
    return found
