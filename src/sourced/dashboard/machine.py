"""The time machine: what an actor's state was at any point of a stream, what changed it, and what it would decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sourced.actor import Actor
from sourced.dashboard.desk import Desk, quoted
from sourced.dashboard.difference import changes
from sourced.dashboard.fields import fields_of, given_fields
from sourced.dashboard.marks import Marks
from sourced.dashboard.written import scenario
from sourced.envelope import Message
from sourced.errors import Invalid, NotKnown, Rejection
from sourced.messages import Command, Payload, parse
from sourced.ops import Op
from sourced.store import Range
from sourced.web.guard import form_of, is_htmx

AROUND = 40  # messages of the stream shown around the one looked at


class Seen(msgspec.Struct):
    """One actor's view of a stream."""

    actor: str
    state: str
    changes: Sequence[Any]
    commands: Sequence[str]
    snapshot: int | None


class TimeMachine:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.marks = Marks(desk.app)

    def routes(self) -> list[Route]:
        return [
            Route("/streams/{stream:path}", self.stream),
            Route("/would/{stream:path}", self.form),
            Route("/would/{stream:path}", self.would, methods=["POST"]),
        ]

    async def stream(self, request: Request) -> Response:
        stream, asked = request.path_params["stream"], request.query_params.get("at", "")
        heads = await self.desk.look(self.desk.app.store.heads([stream]))
        if not heads:
            raise NotKnown(f"nothing is stored in a stream called {stream!r}")
        last = heads[stream].seq
        at = min(int(asked), last) if asked.isdigit() else last
        if asked and str(at) != asked:
            root = request.scope.get("root_path", "")
            return RedirectResponse(f"{root}/streams/{quoted(stream)}?at={at}", 303)
        first, around = await self.desk.look(self._pieces(stream, at))
        chosen = next((each for each in around if each.seq == at), None)
        seen = [await self._seen(actor, stream, at, chosen) for actor in self._actors_of([*first, *around])]
        return self.desk.page(
            request, "stream.html", stream=stream, at=at, last=last, around=around, chosen=chosen, seen=seen,
            marks={each.snapshot: each.actor for each in seen if each.snapshot},
        )  # fmt: skip

    def _pieces(self, stream: str, at: int) -> Op[list[list[Message[Any]]]]:
        """How the stream begins, which tells whose it is, and what is around a place: it may be long."""
        asked = [Range(stream, 0, AROUND // 4), Range(stream, max(0, at - AROUND), at + AROUND // 4)]
        found = yield from self.desk.app.store.histories(asked)
        return [self.desk.app._engine.codec.decode_all(piece) for piece in found]

    async def form(self, request: Request) -> Response:
        """The fields of a command, to try it."""
        name = request.query_params.get("command", "")
        command = self._command(name)
        return self.desk.page(
            request, would(request), stream=request.path_params["stream"], at=whole(request.query_params.get("at", "")),
            command=name, fields=fields_of(command), tried=None, values={}, complaints={},
        )  # fmt: skip

    async def would(self, request: Request) -> Response:
        """What the actor would decide as of then. Nothing is stored."""
        said = await form_of(request)
        stream, at, name = request.path_params["stream"], whole(said.pop("at", "")), said.pop("command", "")
        command = self._command(name)
        fields, tried, complaints = fields_of(command), None, {}
        try:
            tried = await self._try(stream, at, parse(command, given_fields(fields, said)))
        except Invalid as invalid:
            complaints = invalid.fields
        return self.desk.page(
            request, would(request), stream=stream, at=at, command=name, fields=fields, values=said, tried=tried,
            complaints=complaints, status=422 if complaints else 200,
        )  # fmt: skip

    async def _try(self, stream: str, at: int, command: Command) -> Mapping[str, Any]:
        actor = self.desk.app._engine.router.decider(type(command))
        loaded = await self.marks.load(actor, stream, at)
        try:
            events, refusal = list(loaded.decide(command).events), None
        except Exception as error:
            events, refusal = [], error
        then = [each.payload for each in events]
        return {
            "events": events,
            "refusal": refusal,
            "said": refusal and f"{type(refusal).__name__}: {refusal}",
            "failed": refusal is not None and not isinstance(refusal, Rejection),
            "test": None
            if self.desk.veil.mask
            else scenario(type(actor), stream, await self._given(actor, stream, at), command, then, refusal),
        }

    async def _given(self, actor: Actor[Any], stream: str, at: int) -> list[Payload]:
        """What the state is made of."""
        found = await self.desk.look(self.desk.app.store.contents(stream, actor.evolvers, upto=at))
        contents = self.desk.app._engine.codec.contents(found, actor.evolvers)
        return [each.said for each in contents if each.type in actor.evolvers]

    def _command(self, name: str) -> type[Command]:
        known = {each.__sourced__.name: each for actor in self.desk.actors() for each in actor.decides()}
        found = known.get(name)
        if found is None or not issubclass(found, Command):
            raise NotKnown(
                f"no actor here decides {name!r}; those that are decided: {', '.join(sorted(known)) or 'none'}"
            )
        return found

    def _actors_of(self, history: Sequence[Message[Any]]) -> list[Actor[Any]]:
        types = {type(each.payload) for each in history}
        return [actor for actor in self.desk.actors() if not types.isdisjoint(actor.tables.evolve)]

    async def _seen(self, actor: Actor[Any], stream: str, at: int, chosen: Message[Any] | None) -> Seen:
        """Its state, and how that differs from the one before."""
        loaded = await self.marks.load(actor, stream, max(0, at - 1))
        before = after = self.desk.state(actor, loaded.state)
        if chosen is not None:
            after = self.desk.state(actor, loaded.evolve(chosen))
        commands = sorted(each.__sourced__.name for each in actor.decides())
        state = msgspec.json.format(msgspec.json.encode(after), indent=2).decode()
        return Seen(actor.group, state, changes(before, after), commands, await self._snapshot(actor, stream))

    async def _snapshot(self, actor: Actor[Any], stream: str) -> int | None:
        found = await self.desk.look(self.desk.app.store.snapshots(actor.group, [stream]))
        return found[stream].seq if stream in found else None


def whole(said: str) -> int:
    return int(said) if said.isdecimal() else 0


def would(request: Request) -> str:
    """Into the modal, or a page of its own where there are no scripts."""
    return "_would.html" if is_htmx(request) else "would.html"
