"""Messages: by stream, type, time and metadata, page by page from any place in the log; and live at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sourced.codec import Record
from sourced.dashboard.desk import Desk
from sourced.dashboard.looking import looked_up
from sourced.envelope import Message
from sourced.ops import Op
from sourced.store import Names, StreamState
from sourced.web.live import Fragments, live

NAMES = 100  # on a page
LOOKED = 100_000  # names that are looked through for a part of one


class Wanted(msgspec.Struct, frozen=True):
    """What a person looks for; all of it is in the address."""

    stream: str = ""
    type: str = ""
    since: datetime | None = None
    until: datetime | None = None
    metadata: tuple[str, str] | None = None
    before: int | None = None  # the page begins below this position, in one stream below this seq
    shown: Callable[[Record], Mapping[str, Any]] | None = None  # of metadata, where not all may be seen

    @property
    def filters(self) -> dict[str, str]:
        said = {
            "stream": self.stream, "type": self.type, "since": _said(self.since), "until": _said(self.until),
            "metadata": "=".join(self.metadata or ()),
        }  # fmt: skip
        return {name: value for name, value in said.items() if value}

    def address(self, **changed: Any) -> str:
        return urlencode({**self.filters, **{name: value for name, value in changed.items() if value}})

    def fits(self, record: Record) -> bool:
        if self.type and record.type != self.type:
            return False
        if (self.since and record.created_at < self.since) or (self.until and record.created_at >= self.until):
            return False
        if self.metadata is None:
            return True
        key, value = self.metadata
        metadata = self.shown(record) if self.shown else msgspec.json.decode(record.metadata)
        return key in metadata and str(metadata[key]) == value


class Search:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [
            Route("/messages", self.messages),
            Route("/messages/updates", self.updates),
            Route("/streams", self.streams),
        ]

    async def messages(self, request: Request) -> Response:
        wanted, complaints = asked(request.query_params)
        if wanted.filters.keys() == {"stream"}:
            return RedirectResponse(
                f"{request.scope.get('root_path', '')}/streams/{quote(wanted.stream, safe='')}", 303
            )
        found, further = await self._page(wanted)
        return self.desk.page(
            request, "messages.html", wanted=wanted, found=found, further=further, complaints=complaints,
            types=sorted(self.desk.types()), following="follow" in request.query_params, newer=0,
            seen=found[0].position if found else 0,
        )  # fmt: skip

    async def updates(self, request: Request) -> Response:
        """For who follows the first page as it grows; who reads it is told how much came after what was `seen`."""
        page, (wanted, _) = self.desk.about(request), asked(request.query_params)
        following, seen = "follow" in request.query_params, request.query_params.get("seen", "")
        render, last = self.desk.pages.render, int(seen) if seen.isdecimal() else 0

        async def look() -> Fragments:
            found, further = await self._page(wanted)
            if following:
                return {"live": render("_messages.html", page=page, wanted=wanted, found=found, further=further)}
            newer = sum(each.position > last for each in found)
            return {"newer": render("_newer.html", page=page, wanted=wanted, newer=newer, following=False)}

        return live(self.desk.app, look)

    async def _page(self, wanted: Wanted) -> tuple[list[Message[Any]], int | None]:
        """The newest that fit, and below which place to go on looking; never more than one scan's worth of work."""
        if self.desk.veil.mask and wanted.metadata:  # nobody finds by it what they may not see
            wanted = msgspec.structs.replace(wanted, shown=self._shown)
        return await self.desk.read_messages(looked_up(self.desk.app.store, wanted))

    def _shown(self, record: Record) -> Mapping[str, Any]:
        (message,) = self.desk.app._engine.codec.decode_all([record])
        metadata: Mapping[str, Any] = self.desk.veil.metadata(message)
        return metadata

    async def streams(self, request: Request) -> Response:
        """Those that changed last, or that are called like this."""
        name, after = request.query_params.get("name", "").strip(), request.query_params.get("after", "")
        anywhere = "anywhere" in request.query_params
        if not name:
            recent = await self.desk.app.aio.streams(limit=NAMES)
            return self.desk.page(request, "streams.html", found=recent, name="", anywhere=False, last="")
        found, last = await self.desk.look(self._named(name, after, anywhere=anywhere))
        return self.desk.page(request, "streams.html", found=found, name=name, anywhere=anywhere, last=last)

    def _named(self, name: str, after: str, *, anywhere: bool) -> Op[tuple[list[StreamState], str]]:
        store, where = self.desk.app.store, "part" if anywhere else "prefix"
        wanted: dict[str, Any] = {where: name}
        names: Names = yield from store.names(after=after, limit=NAMES, most=LOOKED, **wanted)
        heads = yield from store.heads(names.found)
        return [heads[each] for each in names.found], names.last


def asked(query: Mapping[str, str]) -> tuple[Wanted, list[str]]:
    """What was asked for, and what of it nobody understands."""
    complaints: list[str] = []

    def time(name: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(query[name]) if query.get(name) else None
        except ValueError:
            complaints.append(f"{name}: expected a time such as 2026-01-31 12:00, found {query[name]!r}")
            return None
        return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None

    key, equals, value = query.get("metadata", "").partition("=")
    if key and not equals:
        complaints.append(f"metadata: expected key=value, found {key!r}")
    before = query.get("before", "")
    wanted = Wanted(
        stream=query.get("stream", "").strip(),
        type=query.get("type", "").strip(),
        since=time("since"),
        until=time("until"),
        metadata=(key, value) if equals else None,
        before=int(before) if before.isdigit() else None,
    )
    return wanted, complaints


def _said(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
