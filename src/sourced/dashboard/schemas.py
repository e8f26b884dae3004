"""Every message the app knows: who sends and who handles it, and its JSON Schema."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk
from sourced.messages import Command, Payload


class Known(msgspec.Struct):
    name: str
    kind: str
    version: int
    about: str
    handled_by: list[str]
    schema: str


class Schemas:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [Route("/schemas", self.schemas)]

    async def schemas(self, request: Request) -> Response:
        return self.desk.page(request, "schemas.html", known=self._known())

    def _known(self) -> list[Known]:
        handled: dict[type[Payload], list[str]] = {}
        for reactor in self.desk.app._engine.router:
            for message in reactor.messages():
                handled.setdefault(message, [])
                if message in reactor.handles:
                    handled[message].append(reactor.group)
        return sorted(
            (
                Known(
                    name=message.__sourced__.name,
                    kind="command" if issubclass(message, Command) else "event",
                    version=message.__sourced__.version,
                    about=(message.__doc__ or "").strip().partition("\n")[0],
                    handled_by=groups,
                    schema=msgspec.json.format(msgspec.json.encode(_schema(message)), indent=2).decode(),
                )
                for message, groups in handled.items()
            ),
            key=lambda each: (each.kind, each.name),
        )


def _schema(message: type[Payload]) -> object:
    try:
        return msgspec.json.schema(message)
    except TypeError as error:  # a type of the user's own, which his codec understands and JSON Schema does not
        return {"title": message.__sourced__.name, "description": str(error)}
