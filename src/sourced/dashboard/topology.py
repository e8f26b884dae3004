"""The app as a graph, and every message it knows: who makes it, who answers it, its JSON Schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from zlib import crc32

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk, pace
from sourced.web.live import Fragments, live
from sourced.web.pages import as_json

DRAWN = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}  # a picture brings its own style
LATELY = timedelta(seconds=30)
NEWEST = 1_000  # messages that are looked at for rates


class Topology:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [
            Route("/topology", self.topology),
            Route("/topology/updates", self.updates),
            Route("/topology.svg", self.picture),
            Route("/schemas", self.schemas),
        ]

    async def topology(self, request: Request) -> Response:
        graph, state = self.desk.app.topology(), _name(await self._notes())
        return self.desk.page(request, "topology.html", graph=graph, state=state)

    async def updates(self, request: Request) -> Response:
        page = self.desk.about(request)

        async def look() -> Fragments:
            return {"live": self.desk.pages.render("_topology.html", page=page, state=_name(await self._notes()))}

        return live(self.desk.app, look, every=2.0)

    async def picture(self, request: Request) -> Response:
        picture = self.desk.app.topology().as_svg(await self._notes())
        return Response(picture, media_type="image/svg+xml", headers=DRAWN)

    async def _notes(self) -> Mapping[str, str]:
        """How many messages a second there are of each kind, and how many each group is through with."""
        seen = await self.desk.glance()
        newest = await self.desk.look(self.desk.app.store.read_all(limit=NEWEST, backwards=True))
        lately = [each for each in newest if each.created_at > seen.at - LATELY]
        since = lately[-1].created_at if len(lately) == NEWEST else seen.at - LATELY
        seconds = max(1.0, (seen.at - since).total_seconds())
        counts, notes = Counter(each.type for each in lately), dict[str, str]()
        for node in self.desk.app.topology().nodes:
            handled = self.desk.pulse.handling(node.group)[-1:] if node.kind not in ("command", "event") else []
            rate = counts[node.id] / seconds if not handled else handled[0]
            if rate:
                notes[node.id] = pace(rate)
        return notes

    async def schemas(self, request: Request) -> Response:
        graph = self.desk.app.topology()
        known = [
            {
                "node": node,
                "made_by": graph.consumes(node.id),
                "answered_by": graph.produces(node.id),
                "schema": as_json(node.schema),
            }
            for node in (*graph.of("command"), *graph.of("event"))
        ]
        return self.desk.page(request, "schemas.html", known=known)


def _name(notes: Mapping[str, str]) -> str:
    """Of the picture, which is another one when anything in it is."""
    return f"{crc32(msgspec.json.encode(notes)):08x}"
