"""Serves a web application with uvicorn: says where once it is there, and ends without waiting for open streams."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sourced.runtime.workers.signals import until_told
from sourced.web.live import looks_ended

GRACE = 8  # seconds for requests in hand, on a machine that is busy, too


class Server(uvicorn.Server):
    def __init__(self, site: ASGIApp, host: str, port: int, ready: Callable[[str], None]) -> None:
        self._open = Open(site)
        super().__init__(
            uvicorn.Config(self._open, host=host, port=port, log_level="warning", timeout_graceful_shutdown=GRACE)
        )
        self._ready = ready

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets)
        await looks_ended(GRACE)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._ready(f"http://{host}:{port}")

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Who is told to end and does so has succeeded; uvicorn would die of the signal once more afterwards."""
        return until_told(self.end)

    def end(self) -> None:
        self.should_exit = True
        self._open.ending.set()


class Open:
    """Streams of live updates would go on for ever: at the end of the server they come to their own."""

    def __init__(self, site: ASGIApp) -> None:
        self._site = site
        self.ending = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._site(scope, receive, send)
            return
        streaming = False

        async def sent(message: Message) -> None:
            nonlocal streaming
            streaming = message.get("more_body", message["type"] == "http.response.start")
            await send(message)

        async def received() -> Message:
            coming = asyncio.ensure_future(receive())
            ending = asyncio.ensure_future(self.ending.wait())
            try:
                await asyncio.wait({coming, ending}, return_when=asyncio.FIRST_COMPLETED)
                gone = streaming and not coming.done()
                return {"type": "http.disconnect"} if gone else await coming
            finally:
                coming.cancel()
                ending.cancel()

        await self._site(scope, received, sent)
        if streaming:
            with suppress(OSError):  # they are gone
                await send({"type": "http.response.body"})


def serve(site: ASGIApp, listener: socket.socket, *, ready: Callable[[str], None]) -> None:
    """Until SIGINT or SIGTERM. `ready` is told the address."""
    host, port = listener.getsockname()[:2]
    asyncio.run(Server(site, host, port, ready).serve([listener]))


def visited(site: ASGIApp, visit: Callable[[str], None]) -> None:
    """Serves for as long as a visit takes, which goes on in a thread; what it raises is raised here."""

    async def main() -> None:
        visits: list[asyncio.Future[None]] = []

        def ready(url: str) -> None:
            visits.append(asyncio.ensure_future(asyncio.to_thread(visit, url)))
            visits[0].add_done_callback(lambda _: server.end())

        server = Server(site, "127.0.0.1", 0, ready)
        await server.serve()
        await visits[0]

    asyncio.run(main())
