"""Serves a web application with uvicorn: says where once it is there, and ends without waiting for open streams."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import uvicorn
from starlette.types import ASGIApp

from sourced.runtime.signals import until_told

GRACE = 1  # seconds for requests in hand; streams of live updates would go on for ever


class Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

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


def serve(site: ASGIApp, *, host: str = "127.0.0.1", port: int = 0, ready: Callable[[str], None]) -> None:
    """Until SIGINT or SIGTERM; port 0 takes any that is free. `ready` is told the address."""
    asyncio.run(Server(_config(site, host, port), ready).serve())


def visited(site: ASGIApp, visit: Callable[[str], None]) -> None:
    """Serves for as long as a visit takes, which goes on in a thread; what it raises is raised here."""

    async def main() -> None:
        visits: list[asyncio.Future[None]] = []

        def ready(url: str) -> None:
            visits.append(asyncio.ensure_future(asyncio.to_thread(visit, url)))
            visits[0].add_done_callback(lambda _: server.end())

        server = Server(_config(site, "127.0.0.1", 0), ready)
        await server.serve()
        await visits[0]

    asyncio.run(main())


def _config(site: ASGIApp, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(site, host=host, port=port, log_level="warning", timeout_graceful_shutdown=GRACE)
