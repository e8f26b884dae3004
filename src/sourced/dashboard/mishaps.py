"""A page that cannot be made says so in the frame of all pages, and the log tells where it broke."""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sourced.dashboard.desk import Desk

LOG = logging.getLogger("sourced")


class Mishaps:
    """Innermost, so that only those who may look are told. The app's own code may fail: an evolver that is wrong."""

    def __init__(self, app: ASGIApp, *, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = scope["type"] != "http"

        async def sent(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            if begun:
                raise
            LOG.exception("the dashboard could not make %s", scope["path"])
            complaint = f"{self._desk.veil.raised(error)} (the log of this process tells where)"
            await self._desk.page(Request(scope), "sorry.html", status=500, complaint=complaint)(scope, receive, send)
