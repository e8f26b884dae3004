"""What waits for people: what is parked, by what went wrong, and what is scheduled; as it comes and goes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk, Page
from sourced.dashboard.veil import Veil
from sourced.envelope import zoned
from sourced.errors import Invalid, NotKnown
from sourced.store import Straggler
from sourced.web.live import Fragments, live

SHOWN = 100  # streams with the same cause
Due: TypeAlias = tuple[datetime, str]
EVERY = 2.0  # seconds: how long each has waited is told

KIND = re.compile(r"([A-Za-z_][\w.]*)(?=: |$)")
PLACE = re.compile(r'^  File "([^"]*)", line (\d+), in (\S+)$', re.MULTILINE)


class Cause(NamedTuple):
    """What went wrong, and for whom."""

    group: str
    name: str  # the form says it when all of them are tried again
    errors: Sequence[str]  # what each of them said, as it is shown
    rows: Sequence[Straggler]

    @property
    def title(self) -> str:
        return self.errors[0] if len({*self.errors}) == 1 else self.name


def cause_of(row: Straggler, veil: Veil) -> str:
    """The class of an exception and where it was raised: what it says names whatever it was about.

    Where no place is known, or none is shown, all that is shown of it.
    """
    error = veil.error(row.error)
    kind, places = KIND.match(error), PLACE.findall(veil.trace(row.traceback))
    if not kind or not places:
        return error
    path, line, function = places[-1]
    return f"{kind[1]} in {function} ({PurePath(path).name}:{line})"


def causes(rows: Sequence[Straggler], veil: Veil) -> list[Cause]:
    """One cause often stops many; those first that stopped the most."""
    alike: dict[tuple[str, str], list[Straggler]] = {}
    for each in rows:
        alike.setdefault((each.group, cause_of(each, veil)), []).append(each)
    found = [
        Cause(group, name, [veil.error(each.error) for each in rows], rows) for (group, name), rows in alike.items()
    ]
    return sorted(found, key=lambda each: -len(each.rows))


class Waiting:
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self) -> list[Route]:
        return [
            Route("/parked", self.parked),
            Route("/parked/updates", self.parked_updates),
            Route("/scheduled", self.scheduled),
            Route("/scheduled/updates", self.scheduled_updates),
        ]

    async def parked(self, request: Request) -> Response:
        return self.desk.page(request, "parked.html", **await self._parked())

    async def parked_updates(self, request: Request) -> Response:
        """Whoever retried sees it come back if it fails again."""
        return live(self.desk.app, partial(self._look_at_parked, self.desk.about(request)), every=EVERY)

    async def _look_at_parked(self, page: Page) -> Fragments:
        return {"live": self.desk.pages.render("_parked.html", page=page, **await self._parked())}

    async def _parked(self) -> dict[str, Any]:
        found = causes(await self.desk.app.aio.parked.list(), self.desk.veil)
        shown = {each.stream for cause in found for each in cause.rows[:SHOWN]}
        heads = await self.desk.look(self.desk.app.store.heads(shown))
        return {"causes": found, "last": {stream: head.seq for stream, head in heads.items()}, "shown": SHOWN}

    async def scheduled(self, request: Request) -> Response:
        return self.desk.page(request, "scheduled.html", **await self._scheduled(_begins(request)))

    async def scheduled_updates(self, request: Request) -> Response:
        look = partial(self._look_at_scheduled, self.desk.about(request), _begins(request))
        return live(self.desk.app, look, every=EVERY)

    async def _look_at_scheduled(self, page: Page, after: Due | None) -> Fragments:
        return {"live": self.desk.pages.render("_scheduled.html", page=page, **await self._scheduled(after))}

    async def _scheduled(self, after: Due | None) -> dict[str, Any]:
        found = await self.desk.look(self.desk.app.store.scheduled(after=after, limit=SHOWN + 1))
        last, shown = found[SHOWN - 1 : SHOWN], found[:SHOWN]
        messages = self.desk.app._engine.codec.decode_all([each.record for each in shown])
        return {
            "found": [*zip(shown, messages, strict=True)],
            "here": _address(*after) if after else "",
            "later": _address(last[0].at, last[0].record.id) if len(found) > SHOWN else "",
        }


def _begins(request: Request) -> Due | None:
    """After which message a page of the schedule begins."""
    due, last = request.query_params.get("due"), request.query_params.get("after", "")
    if not due:
        return None
    try:
        return zoned("due", datetime.fromisoformat(due)), last
    except (ValueError, Invalid) as error:
        raise NotKnown(f"expected a time such as 2030-01-01T12:00:00+00:00 as due, found {due!r}") from error


def _address(due: datetime, last: str) -> str:
    return urlencode({"due": due.isoformat(), "after": last})
