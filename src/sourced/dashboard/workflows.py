"""Runs of workflows: their steps along time, what each waits for, and what people can do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sourced.dashboard.desk import Desk, Page, quoted
from sourced.dashboard.fields import fields_of, given_fields
from sourced.envelope import Message
from sourced.errors import Invalid, NotKnown
from sourced.messages import Payload, parse
from sourced.runtime.runs import info_and_history, workflows_in
from sourced.web.guard import form_of, is_htmx
from sourced.web.live import Fragments, live
from sourced.workflow.info import RunInfo, Status, StepInfo
from sourced.workflows import STATUSES

SHOWN = 100


class Span(NamedTuple):
    """A step on the line of time, in parts of the whole."""

    step: StepInfo
    start: float
    width: float


class Choice(NamedTuple):
    """One of several things that the page may be about."""

    label: str
    query: str
    here: bool


class Workflows:
    def __init__(self, desk: Desk, who: Callable[[Request], str]) -> None:
        self.desk = desk
        self._who = who

    def routes(self) -> list[Route]:
        return [
            Route("/workflows", self.runs),
            Route("/workflows/updates", self.updates),
            Route("/runs/{run:path}/updates", self.run_updates),
            Route("/runs/{run:path}/signal", self.signal, methods=["GET", "POST"]),
            Route("/runs/{run:path}", self.run),
        ]

    async def runs(self, request: Request) -> Response:
        return self.desk.page(request, "workflows.html", **await self._runs(request))

    async def updates(self, request: Request) -> Response:
        page = self.desk.about(request)

        async def look() -> Fragments:
            return {"live": self.desk.pages.render("_workflows.html", page=page, **await self._runs(request))}

        return live(self.desk.app, look)

    async def _runs(self, request: Request) -> dict[str, Any]:
        workflows = {each.group: type(each) for each in workflows_in(self.desk.app._engine)}
        asked = {
            name: request.query_params[name]
            for name in ("status", "workflow", "before")
            if name in request.query_params
        }
        status: Status | None = next((each for each in STATUSES if each == asked.get("status")), None)
        if asked.get("status") and status is None:
            raise NotKnown(f"no run is {asked['status']!r}; they are {', '.join(STATUSES)}")
        if asked.get("workflow") and asked["workflow"] not in workflows:
            raise NotKnown(
                f"no workflow {asked['workflow']!r} is registered; those are: {', '.join(workflows) or 'none'}"
            )
        found = await self.desk.app.aio.workflows.list(
            workflows.get(asked.get("workflow", "")), status=status, before=asked.get("before"), limit=SHOWN
        )
        kinds = [_choices(asked, "workflow", "every workflow", workflows)] if len(workflows) > 1 else []
        return {
            "found": found,
            "choices": [_choices(asked, "status", "all", STATUSES), *kinds],
            "here": urlencode(asked),
            "older": urlencode({**asked, "before": found[-1].id}) if len(found) == SHOWN else "",
        }

    async def run(self, request: Request) -> Response:
        return self.desk.page(request, "run.html", **await self._run(request.path_params["run"]))

    async def run_updates(self, request: Request) -> Response:
        page, run = self.desk.about(request), request.path_params["run"]
        await self.desk.app.aio.workflows.get(run)  # there is one, or it is said at once that there is none
        return live(self.desk.app, lambda: self._look(page, run))

    async def _look(self, page: Page, run: str) -> Fragments:
        return {"live": self.desk.pages.render("_run.html", page=page, **await self._run(run))}

    async def _run(self, run: str) -> dict[str, Any]:
        info, history = await self.desk.look(info_and_history(self.desk.app._engine, run))
        end = info.ended_at or max([each.created_at for each in history], default=info.started_at)
        signals = sorted(message.__sourced__.name for message in self._signals(run))
        return {"info": info, "history": history, "spans": spans(info, end), "signals": signals}

    async def signal(self, request: Request) -> Response:
        """A message for a run, from a form made of its fields."""
        run = request.path_params["run"]
        said = await form_of(request) if request.method == "POST" else dict(request.query_params)
        name = said.pop("message", "")
        message = next((each for each in self._signals(run) if each.__sourced__.name == name), None)
        if message is None:
            raise NotKnown(f"{run!r} waits for no message {name!r}")
        fields, complaints = fields_of(message), {}
        if request.method == "POST":
            try:
                payload = parse(message, given_fields(fields, said))
            except Invalid as invalid:
                complaints = invalid.fields
            else:
                told = {"by": self._who(request)}
                sent = Message.new(payload, stream=run, metadata=told, now=self.desk.app._engine.clock.now())
                await self.desk.app.aio.workflows.run(run).signal(sent)
                where = f"{request.scope.get('root_path', '')}/runs/{quoted(run)}"
                return Response(status_code=204, headers={"hx-redirect": where}) if is_htmx(request) else see(where)
        template = "_signal.html" if is_htmx(request) else "signal.html"
        return self.desk.page(
            request, template, run=run, message=name, fields=fields, values=said, complaints=complaints,
            status=422 if complaints else 200,
        )  # fmt: skip

    def _signals(self, run: str) -> list[type[Payload]]:
        """The messages that its workflow may wait for."""
        return [*self.desk.app.aio.workflows.run(run)._definition.signals]


def _choices(asked: Mapping[str, str], name: str, all: str, values: Iterable[str]) -> list[Choice]:
    others = {other: value for other, value in asked.items() if other not in (name, "before")}
    return [
        Choice(value or all, urlencode({**others, name: value} if value else others), value == asked.get(name, ""))
        for value in ("", *values)
    ]


def spans(info: RunInfo, end: Any) -> list[Span]:
    whole = max(0.001, (end - info.started_at).total_seconds())
    found = []
    for step in info.steps:
        start = (step.started_at - info.started_at).total_seconds()
        width = ((step.ended_at or end) - step.started_at).total_seconds()
        found.append(Span(step, 100 * start / whole, max(0.6, 100 * width / whole)))
    return found


def see(where: str) -> Response:
    return RedirectResponse(where, 303)
