"""The app as a graph, and every message it knows: who makes it, who answers it, its JSON Schema."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk

DRAWN = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}  # a picture brings its own style


class Topology:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [
            Route("/topology", self.topology),
            Route("/topology.svg", self.picture),
            Route("/schemas", self.schemas),
        ]

    async def topology(self, request: Request) -> Response:
        return self.desk.page(request, "topology.html", graph=self.desk.app.topology())

    async def picture(self, request: Request) -> Response:
        return Response(self.desk.app.topology().as_svg(), media_type="image/svg+xml", headers=DRAWN)

    async def schemas(self, request: Request) -> Response:
        graph = self.desk.app.topology()
        known = [
            {
                "node": node,
                "made_by": graph.consumes(node.id),
                "answered_by": graph.produces(node.id),
                "schema": msgspec.json.format(msgspec.json.encode(node.schema, enc_hook=str), indent=2).decode(),
            }
            for node in (*graph.of("command"), *graph.of("event"))
        ]
        return self.desk.page(request, "schemas.html", known=known)
