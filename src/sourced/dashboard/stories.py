"""Causation: how a whole story came about, as a tree and along time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk
from sourced.dashboard.handled import Took
from sourced.envelope import Message
from sourced.errors import NotKnown
from sourced.web.guard import is_htmx
from sourced.web.story import Node, tree


class Bar(NamedTuple):
    """A message on the line of time, all of it in parts of the whole: it comes, waits, and is handled."""

    message: Message[Any]
    depth: int
    start: float
    wait: float
    work: float
    waited: float | None  # seconds until somebody had it in hand; nobody knows of one that nothing follows from
    took: Sequence[Took]  # how long its handlers took, as far as that was seen


class Stories:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [Route("/messages/{id:path}", self.story)]

    async def story(self, request: Request) -> Response:
        chosen = request.path_params["id"]
        self.desk.handled.watch()
        story = await self.desk.app.aio.trace(chosen)
        message = next((each for each in story if each.id == chosen), None)
        if message is None:
            raise NotKnown(f"no message {chosen!r} is stored")
        name = "_story.html" if is_htmx(request) else "story.html"
        return self.desk.page(
            request, name, chosen=chosen, message=message, bars=bars(tree(story), self.desk.handled.of)
        )


def bars(roots: Sequence[Node], took: Callable[[str], Sequence[Took]]) -> list[Bar]:
    """What follows from a message was made when it was taken in hand: what came before that was waiting."""
    walked = _walk(roots)
    if not walked:
        return []
    times = [node.message.created_at for node, _ in walked]
    begin, whole = min(times), max(0.001, (max(times) - min(times)).total_seconds())
    found: list[Bar] = []
    for node, depth in walked:
        message, came = node.message, node.message.created_at
        taken = min((each.message.created_at for each in node.caused), default=None)
        waited = None if taken is None else max(0.0, (taken - came).total_seconds())
        known = took(message.id)
        work = max((each.seconds for each in known), default=0.0)
        start = 100 * (came - begin).total_seconds() / whole
        found.append(Bar(message, depth, start, 100 * (waited or 0) / whole, 100 * work / whole, waited, known))
    return found


def _walk(roots: Sequence[Node]) -> list[tuple[Node, int]]:
    """Without recursion: stories may be long."""
    found, waiting = list[tuple[Node, int]](), [(node, 0) for node in reversed(roots)]
    while waiting:
        node, at = waiting.pop()
        found.append((node, at))
        waiting += [(each, at + 1) for each in reversed(node.caused)]
    return found
