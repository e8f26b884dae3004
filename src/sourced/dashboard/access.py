"""Who may look, and who may act: closed to everybody else."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

Right: TypeAlias = Literal["none", "read", "act"]
Access: TypeAlias = Callable[[Request], "Right | Awaitable[Right]"]

CLOSED = (
    "The dashboard is open to this machine alone. To let others in, say who may: "
    "dashboard(app, access=lambda request: 'read')."
)


def loopback(request: Request) -> Right:
    """Whoever sits at this machine may act. A proxy on this machine sits there, too: say `access=…` behind one.

    The name they call it by counts as well: a page from outside may have a name that leads here.
    """
    forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    here = request.client is not None and _is_here(request.client.host) and _is_here(request.url.hostname or "")
    return "act" if here and not forwarded else "none"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Doorkeeper:
    """Asks for every request, and keeps the answer with it."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        right: Any = self._access(Request(scope))
        if isawaitable(right):
            right = await right
        acting = scope["method"] not in ("GET", "HEAD")
        if right == "act" or (right == "read" and not acting):
            own = {**scope, "state": {**scope.get("state", {}), "right": right}}  # the session around us stays as it is
            await self._app(own, receive, send)
        else:
            refusal = PlainTextResponse(CLOSED if right == "none" else "You may look, and not act.", 403)
            await refusal(scope, receive, send)
