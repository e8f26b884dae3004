"""Who may come in, and forms that only our own pages can send."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join((
    "default-src 'self'", "img-src 'self' data:", "object-src 'none'", "base-uri 'none'", "form-action 'self'",
    "frame-ancestors 'none'",
))  # fmt: skip


class Forged(Exception):
    """A form came without the token that our pages put into every form."""


def guards(secret: str, *, cookie: str) -> Sequence[Middleware]:
    """A signed session with a token for forms, and headers that keep foreign scripts and frames out."""
    return (
        Middleware(Headers),
        Middleware(SessionMiddleware, secret_key=secret, session_cookie=cookie, same_site="lax"),
        Middleware(Token),
    )


class Token:
    """Every session has one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "/static/" not in scope["path"]:
            scope["session"].setdefault("token", secrets.token_urlsafe(24))
        await self._app(scope, receive, send)


class Headers:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", POLICY)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("referrer-policy", "same-origin")
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, guarded)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that one of our own pages sent; raises `Forged` for any other."""
    form = await request.form()
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    # The form's own comes first: it came with the last live update, when the page's may be of a session that is over.
    given = fields.pop("_token", "") or request.headers.get("x-form-token", "")
    if not hmac.compare_digest(given.encode(), request.session.get("token", "").encode()):
        raise Forged
    return fields


def is_htmx(request: Request) -> bool:
    return "hx-request" in request.headers
