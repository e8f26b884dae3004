"""The first page: one sentence of verdict, and how everything is doing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk, Page
from sourced.doctor import Finding
from sourced.web.live import Fragments, live


class Overview:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [
            Route("/", self.overview),
            Route("/updates", self.updates),
            Route("/workers", self.workers),
            Route("/workers/updates", self.workers_updates),
        ]

    async def overview(self, request: Request) -> Response:
        return self.desk.page(request, "overview.html", **await self._seen())

    async def updates(self, request: Request) -> Response:
        return self._live(request, "_overview.html")

    async def workers(self, request: Request) -> Response:
        return self.desk.page(request, "workers.html", **await self._seen())

    async def workers_updates(self, request: Request) -> Response:
        return self._live(request, "_workers.html")

    def _live(self, request: Request, name: str) -> Response:
        page = self.desk.about(request)
        return live(self.desk.app, lambda: self._look(page, name), every=2.0)

    async def _look(self, page: Page, name: str) -> Fragments:
        return {"live": self.desk.pages.render(name, page=page, **await self._seen())}

    async def _seen(self) -> dict[str, Any]:
        seen = await self.desk.glance()
        return {
            "seen": seen,
            "pulse": self.desk.pulse,
            "verdict": verdict(seen.findings),
            "names": {each.name for each in seen.groups},
        }


def verdict(findings: Sequence[Finding]) -> tuple[str, str]:
    """How serious it is, and the sentence."""
    troubles = [each for each in findings if each.weight == "trouble"]
    waiting = [each for each in findings if each.weight == "waiting"]
    if troubles:
        more = f", and {len(troubles) - 1} more" if len(troubles) > 1 else ""
        return "trouble", f"{troubles[0].about}: {troubles[0].why}{more}."
    if waiting:
        return "waiting", f"All is well; {len(waiting)} thing{'s wait' if len(waiting) > 1 else ' waits'} for a moment."
    return "fine", "All is well: nothing waits."
