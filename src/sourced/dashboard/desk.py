"""What every page of the dashboard works with: the app, its templates, and what nobody may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse

from sourced.actor import Actor
from sourced.app import Sourced
from sourced.dashboard.difference import plain
from sourced.dashboard.pulse import Pulse, sparkline
from sourced.doctor import ago
from sourced.envelope import Message
from sourced.messages import Command
from sourced.runtime.programs import Program, Transact
from sourced.web.pages import Pages

HERE = Path(__file__).parent

Mask: TypeAlias = Callable[["Message[Any] | Actor[Any]", Any], Any]
"""`(message, its payload)` or `(actor, its state)`, the latter as plain values: what of it is shown."""


@dataclass(frozen=True)
class Page:
    """What the fragments of a page need to know, whoever renders them."""

    root: str
    token: str
    acting: bool
    title: str


class Desk:
    def __init__(self, app: Sourced, *, title: str, mask: Mask | None) -> None:
        self.app = app
        self.title = title
        self.pulse = Pulse(app)
        self.mask = mask
        self.pages = Pages(HERE / "templates", static=[HERE / "static"])
        self.pages.environment.filters |= {
            "kind": kind, "shown": self.shown, "short": self.short, "ago": self.ago, "sparkline": sparkline,
            "link": quoted, "span": span, "heat": heat, "facts": facts,
        }  # fmt: skip

    def page(self, request: Request, template: str, /, *, status: int = 200, **context: Any) -> HTMLResponse:
        return self.pages.page(request, template, status=status, page=self.about(request), **context)

    def about(self, request: Request) -> Page:
        session = request.scope.get("session", {})
        acting = request.scope.get("state", {}).get("right") == "act"
        return Page(request.scope.get("root_path", ""), session.get("token", ""), acting, self.title)

    # -- reading what the app's own verbs do not offer: messages of types that no class is known for

    async def read(self, program: Program[Any]) -> Any:
        return await self.app.aio._perform(program)

    async def log(self, *, types: Iterable[str] = (), **wanted: Any) -> list[Message[Any]]:
        return list(await self.read(self._log(frozenset(types) or None, wanted)))

    def _log(self, types: frozenset[str] | None, wanted: Mapping[str, Any]) -> Program[list[Message[Any]]]:
        records = yield Transact(self.app._engine.store.read_all(types=types, **wanted), reading=True)
        return self.app._engine.codec.decode_all(records)

    def actors(self) -> list[Actor[Any]]:
        return [each for each in self.app._engine.router if isinstance(each, Actor)]

    # -- how things are shown

    def shown(self, message: Message[Any]) -> str:
        """A payload for people, without what the app keeps to itself."""
        return msgspec.json.format(msgspec.json.encode(self._plain(message), enc_hook=str), indent=2).decode()

    def short(self, message: Message[Any], width: int = 90) -> str:
        text = msgspec.json.encode(self._plain(message), enc_hook=str).decode()
        return text if len(text) <= width else f"{text[: width - 1]}…"

    def _plain(self, message: Message[Any]) -> Any:
        payload = msgspec.to_builtins(message.payload, enc_hook=repr)
        return payload if self.mask is None else self.mask(message, payload)

    def state(self, actor: Actor[Any], state: Any) -> Any:
        return plain(state) if self.mask is None else self.mask(actor, plain(state))

    def ago(self, moment: Any) -> str:
        return ago(moment, self.app._engine.clock.now())


def kind(message: Message[Any]) -> str:
    return "command" if isinstance(message.payload, Command) else "event"


def quoted(name: str) -> str:
    """A name as a part of an address, whatever is in it."""
    return quote(name, safe="")


def span(seconds: float) -> str:
    """A length of time as people say it."""
    return ago(_ZERO, _ZERO + timedelta(seconds=seconds))


def heat(pending: int) -> str:
    return "hot" if pending >= 1_000 else "warm" if pending else ""


def facts(told: Any) -> dict[str, str]:
    """What an act would do, value by value."""
    return {
        key: f"{len(value):,}: {', '.join(map(_brief, value[:10]))}" if isinstance(value, list) else str(value)
        for key, value in msgspec.to_builtins(told).items()
    }


def _brief(each: Any) -> str:
    return " ".join(map(str, each.values())) if isinstance(each, dict) else str(each)


_ZERO = datetime(2000, 1, 1, tzinfo=UTC)
