"""Addresses that lead nowhere: what was asked for is said, and where to go on from there."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from sourced.dashboard.desk import Desk
from sourced.web.guard import is_htmx


class Way(NamedTuple):
    """Somewhere to go on, below the root."""

    path: str
    label: str


class Missing:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def address(self, request: Request, error: Exception) -> Response:
        """No page has it, or none that can be looked at."""
        status = error.status_code if isinstance(error, HTTPException) else 404
        path, scope = request.scope["path"], request.scope
        scope["root_path"] = scope.get("app_root_path", scope.get("root_path", ""))  # ours, wherever it was raised
        said = f"{path} takes forms, and cannot be looked at" if status == 405 else f"nothing is at {path}"
        return self._page(request, said, status, error.headers if isinstance(error, HTTPException) else None)

    async def thing(self, request: Request, error: Exception) -> Response:
        """The page is there, and what it would be about is not."""
        return self._page(request, str(error), 404, None)

    def _page(self, request: Request, said: str, status: int, headers: object) -> Response:
        said = f"{said[:1].upper()}{said[1:]}."
        if is_htmx(request):  # into the modal
            return self.desk.page(request, "_sorry.html", status=422, complaint=said)
        answer = self.desk.page(request, "missing.html", status=status, said=said, ways=ways(_asked(request)))
        answer.headers.update(headers if isinstance(headers, dict) else {})
        return answer


def _asked(request: Request) -> str:
    """The address below the root."""
    return (
        str(request.scope["path"]).removeprefix(request.scope.get("root_path", "")).strip("/").removesuffix("/updates")
    )


def ways(asked: str) -> list[Way]:
    """What somebody with such an address may have looked for."""
    room, _, name = asked.partition("/")
    found = []
    if room in ("streams", "would") and name:
        found.append(Way(f"/streams?name={quote(name, safe='')}", f"Streams whose names begin with “{name}”"))
    if name or room:
        part = name or room
        found.append(Way(f"/streams?name={quote(part, safe='')}&anywhere=1", f"Streams with “{part}” in their names"))
    if room == "messages":
        found.append(Way("/messages", "The newest messages"))
    if room == "runs":
        found.append(Way("/workflows", "All runs of workflows"))
    return [*found, Way("/", "How everything is doing")]
