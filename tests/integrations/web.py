"""Web applications with a worker inside, for a real server: `uvicorn --factory tests.integrations.web:fastapi`.

The store's URL is in SHOP. A command that asks to be slow knocks at the port in DOOR and waits there.
"""

import os
import socket
from typing import Any

from sourced import Actor, Command, Event, Sourced, decide
from tests.facts import PATIENCE


class Ask(Command):
    text: str


class Answered(Event):
    text: str


class Desk(Actor[None], group="desk"):
    def initial(self, stream: str) -> None:
        return None

    @decide
    def ask(self, state: None, command: Ask):
        if command.text == "slow":
            with socket.create_connection(("127.0.0.1", int(os.environ["DOOR"])), timeout=PATIENCE) as door:
                door.recv(1)
        yield Answered(command.text)


def desk(url: str) -> Sourced:
    app = Sourced(url)
    app.register(Desk)
    return app


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    app = desk(os.environ["SHOP"])

    async def ask(request: Request) -> JSONResponse:
        texts = (await request.body()).decode().split()
        return JSONResponse(len(await app.aio.append("desk-1", [Ask(text) for text in texts])))

    return Starlette(routes=[Route("/", ask, methods=["POST"])], lifespan=app.lifespan)


def fastapi() -> Any:
    from fastapi import FastAPI, Request

    app = desk(os.environ["SHOP"])
    web = FastAPI(lifespan=app.lifespan)

    @web.post("/")
    async def ask(request: Request) -> int:
        texts = (await request.body()).decode().split()
        return len(await app.aio.append("desk-1", [Ask(text) for text in texts]))

    return web


def litestar() -> Any:
    from litestar import Litestar, Request, post

    app = desk(os.environ["SHOP"])

    @post("/")
    async def ask(request: Request[Any, Any, Any]) -> int:
        texts = (await request.body()).decode().split()
        return len(await app.aio.append("desk-1", [Ask(text) for text in texts]))

    return Litestar([ask], lifespan=[app.lifespan])
