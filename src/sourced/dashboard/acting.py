"""What people do about what waits: every act can be tried first, and is told in the log with who and why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sourced.audit import ParkedRetried, WorkflowForked
from sourced.dashboard.confirming import prospect
from sourced.dashboard.desk import Desk, quoted
from sourced.dashboard.waiting import cause_of
from sourced.errors import NotKnown, SourcedError
from sourced.web.guard import form_of, is_htmx

Act: TypeAlias = Callable[..., Awaitable[Any]]


class Said(dict[str, str]):
    """The fields of a form."""

    def __missing__(self, name: str) -> str:
        raise NotKnown(f"this form does not say which {name} it is about; load the page anew and try again")

    def number(self, name: str) -> int:
        if not self[name].isdecimal():
            raise NotKnown(f"expected a whole number as {name}, found {self[name]!r}; load the page anew and try again")
        return int(self[name])


def whoever(request: Request) -> str:
    return f"dashboard@{request.client.host if request.client else 'unknown'}"


class Acting:
    def __init__(self, desk: Desk, who: Callable[[Request], str]) -> None:
        self.desk = desk
        self._who = who

    def routes(self) -> list[Route]:
        return [Route("/act", self.act, methods=["POST"])]

    async def act(self, request: Request) -> Response:
        """First what would be done, to be confirmed; then it is done."""
        said = Said(await form_of(request))
        name, confirmed, reason = said.pop("act", ""), said.pop("confirmed", ""), said.pop("reason", "").strip()
        back = said.pop("back", "") or _place(request.headers.get("referer", ""))
        trying = not confirmed or (name == "skip" and not reason)
        try:
            act = self._does(name, said)
            if act is None:
                raise NotKnown(f"expected an act such as retry, found {name!r}; nothing was done")
            told = await act(reason=reason, by=self._who(request), dry_run=trying)
        except SourcedError as error:
            return self._answer(request, "refused.html", status=422, complaint=self.desk.veil.raised(error))
        if trying:
            missing = bool(confirmed)
            would = prospect(name, told, self.desk.veil.error)
            return self._answer(
                request, "confirm.html", name=name, said=said, prospect=would, missing=missing, back=back
            )
        root, forked = request.scope.get("root_path", ""), isinstance(told, WorkflowForked)
        back = f"{root}/runs/{quoted(told.fork)}" if forked else back
        if is_htmx(request):
            return Response(status_code=204, headers={"hx-redirect": back} if forked else {"hx-refresh": "true"})
        ours = back.startswith("/") and not back.startswith("//")
        return RedirectResponse(back if ours else f"{root}/", 303)

    def _answer(self, request: Request, template: str, **context: Any) -> Response:
        """Into the modal, or a page of its own where there are no scripts."""
        return self.desk.page(request, f"_{template}" if is_htmx(request) else template, **context)

    def _does(self, name: str, said: Said) -> Act | None:
        """What an act does: everything but who, why and whether it is only tried is in the form."""
        groups, parked, scheduled = self.desk.app.aio.groups, self.desk.app.aio.parked, self.desk.app.aio.scheduled
        match name:
            case "stop" | "start" | "reset":
                return partial(getattr(groups, name), said["group"])
            case "rebuild":
                return partial(self.desk.builders.rebuild, said["group"])
            case "restore":
                return partial(self.desk.app.aio.restore, said["group"])
            case "retry":
                return partial(self._retry, said)
            case "skip":
                return partial(parked.skip, said["group"], said["stream"], seq=said.number("seq"))
            case "cancel" | "run_now":
                return partial(getattr(scheduled, name), said["message"])
            case "cancel_run":
                return partial(self.desk.app.aio.workflows.cancel, said["run"])
            case "fork":
                return partial(self.desk.app.aio.workflows.fork, said["run"], said["step"])
        return None

    async def _retry(self, said: Said, **how: Any) -> ParkedRetried:
        """Everything, one stream, or all that failed of one cause."""
        parked, group, stream = self.desk.app.aio.parked, said.get("group"), said.get("stream")
        if "cause" not in said:
            return await parked.retry(group, stream, **how)
        found = await parked.list(group)
        alike = [each.stream for each in found if cause_of(each, self.desk.veil) == said["cause"]]
        return await parked.retry(group, alike, **how)


def _place(address: str) -> str:
    """Where on this site it leads, with what is looked for there."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
