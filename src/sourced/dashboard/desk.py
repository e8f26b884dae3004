"""What every page of the dashboard works with: the app, its templates, and what nobody may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse

from sourced.actor import Actor
from sourced.app import Sourced
from sourced.codec import Record
from sourced.dashboard.glance import SAMPLE, Glance, glanced
from sourced.dashboard.handled import HandleTimes
from sourced.dashboard.pulse import Pulse, sparkline
from sourced.dashboard.rebuilding import Builders
from sourced.dashboard.veil import Veil
from sourced.doctor import ago
from sourced.envelope import Message
from sourced.messages import Command
from sourced.ops import Op
from sourced.runtime.programs import Program, Transact
from sourced.web.pages import Pages, as_json

T = TypeVar("T")

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """What the fragments of a page need to know, whoever renders them."""

    root: str
    token: str
    acting: bool
    title: str
    home: str
    target: str


class Desk:
    def __init__(self, app: Sourced, *, title: str, home: str, target: str, veil: Veil) -> None:
        self.app = app
        self.title, self.home, self.target = title, home, target
        self.pulse = Pulse()
        self.builders = Builders(app)
        self.handled = HandleTimes(app)
        self.veil = veil
        self.pages = Pages(HERE / "templates", static=[HERE / "static"])
        self.pages.environment.filters |= {
            "kind": kind, "shown": self.shown, "short": self.short, "ago": self.ago, "due": self.due,
            "sparkline": sparkline, "link": quoted, "span": span, "heat": heat, "metadata": veil.metadata, "pace": pace,
            "error": veil.error, "said": veil.text, "raised": veil.raised, "trace": veil.trace,
        }  # fmt: skip

    def page(self, request: Request, template: str, /, *, status: int = 200, **context: Any) -> HTMLResponse:
        return self.pages.page(request, template, status=status, page=self.about(request), **context)

    def about(self, request: Request) -> Page:
        session = request.scope.get("session", {})
        acting = request.scope.get("state", {}).get("right") == "act"
        root, token = request.scope.get("root_path", ""), session.get("token", "")
        return Page(root, token, acting, self.title, self.home, self.target)

    # -- reading what the app's own verbs do not offer

    async def look(self, op: Op[T]) -> T:
        """In a transaction of its own."""

        def program() -> Program[T]:
            return (yield Transact(op, reading=True))

        return await self.app.aio._perform(program())

    async def read_messages(self, op: Op[tuple[list[Record], Any]]) -> tuple[list[Message[Any]], Any]:
        """Of any types, also those that no class is known for."""
        records, more = await self.look(op)
        return self.app._engine.codec.decode_all(records), more

    async def glance(self) -> Glance:
        sample = SAMPLE if self.pulse.due(self.app._engine.clock.now()) else 0
        seen = await self.look(glanced(self.app._engine, self.target, self.veil, sample=sample))
        self.pulse.feel(seen)
        self.handled.watch()
        return seen

    def actors(self) -> list[Actor[Any]]:
        return [each for each in self.app._engine.router if isinstance(each, Actor)]

    def types(self) -> set[str]:
        """The names of all messages that the app knows."""
        return {each.__sourced__.name for each in self.app._engine.codec.known()}

    # -- how things are shown

    def shown(self, message: Message[Any]) -> str:
        """A payload for people, without what the app keeps to itself."""
        return as_json(self.veil.payload(message))

    def short(self, message: Message[Any], width: int = 90) -> str:
        text = msgspec.json.encode(self.veil.payload(message), enc_hook=str).decode()
        return text if len(text) <= width else f"{text[: width - 1]}…"

    def state(self, actor: Actor[Any], state: Any) -> Any:
        return self.veil.state(actor, state)

    def ago(self, moment: Any) -> str:
        return ago(moment, self.app._engine.clock.now())

    def due(self, moment: datetime) -> str:
        now = self.app._engine.clock.now()
        return f"in {ago(now, moment)}" if moment > now else f"due for {ago(moment, now)}"


def kind(message: Message[Any]) -> str:
    return "command" if isinstance(message.payload, Command) else "event"


def quoted(name: str) -> str:
    """A name as a part of an address, whatever is in it."""
    return quote(name, safe="")


def span(seconds: float) -> str:
    """A length of time as people say it."""
    return ago(_ZERO, _ZERO + timedelta(seconds=seconds))


def pace(rate: float) -> str:
    """Messages a second, as people say it."""
    return f"{rate:,.0f}/s" if rate >= 10 or not rate else f"{rate:.1f}/s"


def heat(pending: int) -> str:
    return "hot" if pending >= 1_000 else "warm" if pending else ""


_ZERO = datetime(2000, 1, 1, tzinfo=UTC)
