"""Groups: how far each is behind and why; by name and by how they are doing, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk, Page
from sourced.dashboard.glance import rebuildable
from sourced.doctor import GroupInfo, why_it_waits
from sourced.web.live import Fragments, live

SHOWN = 50
FEW = 8  # groups, among which nobody has to look for one

DOING: Mapping[str, Callable[[GroupInfo], bool]] = {
    "behind": lambda info: info.lag > 0,
    "waiting": lambda info: len(info.stragglers) > len(info.parked),  # for another try
    "parked": lambda info: bool(info.parked),
    "stopped": lambda info: info.status == "stopped",
}


class Choice(NamedTuple):
    """Groups that are doing in one way."""

    label: str
    groups: int
    query: str
    here: bool


class Asked(NamedTuple):
    """Which groups somebody wants to see; all of it is in the address."""

    name: str
    doing: str
    after: str

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        doing = query.get("doing", "")
        return cls(query.get("name", "").strip(), doing if doing in DOING else "", query.get("after", ""))

    def address(self, **changed: str) -> str:
        said = {**self._asdict(), **changed}
        return urlencode({name: value for name, value in said.items() if value})

    def called(self, infos: Sequence[GroupInfo]) -> list[GroupInfo]:
        return [each for each in infos if self.name.casefold() in each.name.casefold()]


class Groups:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [Route("/groups", self.groups), Route("/groups/updates", self.updates)]

    async def groups(self, request: Request) -> Response:
        return self.desk.page(request, "groups.html", **await self._seen(Asked.of(request.query_params)))

    async def updates(self, request: Request) -> Response:
        page, asked = self.desk.about(request), Asked.of(request.query_params)
        return live(self.desk.app, lambda: self._look(page, asked), every=2.0)

    async def _look(self, page: Page, asked: Asked) -> Fragments:
        return {"live": self.desk.pages.render("_groups.html", page=page, **await self._seen(asked))}

    async def _seen(self, asked: Asked) -> dict[str, Any]:
        seen = await self.desk.glance()
        called = asked.called(seen.groups)
        found = sorted(filter(DOING[asked.doing], called) if asked.doing else called, key=lambda each: each.name)
        rest = [each for each in found if each.name > asked.after]
        return {
            "seen": seen, "asked": asked, "many": len(seen.groups) > FEW, "found": rest[:SHOWN],
            "further": asked.address(after=rest[SHOWN - 1].name) if len(rest) > SHOWN else "",
            "choices": choices(asked, called), "hands": hands,
            "rebuildable": rebuildable(self.desk.app._engine), "builders": self.desk.builders,
            "pulse": self.desk.pulse, "why": lambda info: why_it_waits(info, seen.workers, seen.at),
        }  # fmt: skip


def choices(asked: Asked, called: Sequence[GroupInfo]) -> list[Choice]:
    found = [Choice("all", len(called), asked.address(doing="", after=""), not asked.doing)]
    for name, doing in DOING.items():
        count = sum(map(doing, called))
        found.append(Choice(name, count, asked.address(doing=name, after=""), asked.doing == name))
    return found


def hands(info: GroupInfo) -> list[str]:
    """The workers who have any of its shards in hand."""
    return sorted({each.owner.partition("/")[0] for each in info.progress if each.owner})
