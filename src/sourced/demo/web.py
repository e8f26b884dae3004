"""The pages of the TODO application; everything they change goes through commands, everything they show is read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from sourced import CommandContext, Invalid, Message, Sourced
from sourced.dashboard import Right, dashboard
from sourced.demo.lists import TodoList
from sourced.demo.messages import TodoCommand
from sourced.demo.overview import Listing, Overview
from sourced.errors import NotKnown, UnknownMessage
from sourced.ids import new_id
from sourced.messages import Command
from sourced.web.guard import Forged, form_of, guards, is_htmx
from sourced.web.live import Fragments, live
from sourced.web.pages import Assets, Pages
from sourced.web.story import tree

HERE = Path(__file__).parent
LOGGED_OUT = PlainTextResponse("You are not logged in any more.", 401)
FORGED = "This form is too old, or it was not ours."
ROWS = 30  # of a history on a page; the slider leads to all the others

pages = Pages(HERE / "templates", static=[HERE / "static"])


@pages.filter
def kind(message: Message[Any]) -> str:
    return "command" if isinstance(message.payload, Command) else "event"


@dataclass(frozen=True)
class Page:
    """What every fragment of a page needs to know, whoever renders it."""

    root: str
    token: str
    expander: bool


class Site:
    """One app's pages."""

    def __init__(self, app: Sourced, *, expander: bool = False) -> None:
        self.app = app
        self.expander = expander

    def routes(self) -> list[Route | Mount]:
        return [
            Route("/", self.home),
            Route("/login", self.login, methods=["POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/commands", self.command, methods=["POST"]),
            Route("/updates", self.home_updates),
            Route("/lists/{id}", self.todo_list),
            Route("/lists/{id}/at", self.travel),
            Route("/lists/{id}/at/{seq:int}", self.todo_list),
            Route("/lists/{id}/updates", self.list_updates),
            Route("/messages/{id}/story", self.story),
            Mount("/static", Assets(pages.static), name="static"),
        ]

    # -- who is there

    async def login(self, request: Request) -> Response:
        username = (await form_of(request)).get("username", "").strip()
        if not username:
            return pages.page(request, "login.html", status=422, complaint="Please say a name")
        request.session["username"] = username[:40]
        return see(request, "/")

    async def logout(self, request: Request) -> Response:
        await form_of(request)
        request.session.clear()
        return see(request, "/")

    # -- all lists

    async def home(self, request: Request) -> Response:
        if "username" not in request.session:
            return pages.page(request, "login.html", complaint="")
        page = self.page(request)
        return pages.page(request, "home.html", page=page, **await self._listings())

    async def home_updates(self, request: Request) -> Response:
        page = self.page(request)

        async def look() -> Fragments:
            return {"lists": pages.render("_lists.html", page=page, **await self._listings())}

        return live(self.app, look)

    async def _listings(self) -> Mapping[str, Any]:
        """Read in one go: a list that is being archived is in one of the two, not in both and not in neither."""
        lists = newest_first(await self.app.aio.views(Overview).all())
        return {status: [each for each in lists if each[1].status == status] for status in ("active", "archived")}

    # -- one list, now or as it was

    async def todo_list(self, request: Request) -> Response:
        stream, at = request.path_params["id"], request.path_params.get("seq")
        todo = await self.app.aio.load(TodoList, stream)
        last = todo.seq
        if not last:
            raise NotKnown(f"There is no list {stream}")
        if at is not None and not 1 <= at <= last:
            return see(request, f"/lists/{stream}")
        if at is not None:
            todo = await self.app.aio.load(TodoList, stream, upto=at)
        history = await self._history(stream, at, last)
        return pages.page(
            request, "list.html", page=self.page(request), todo=todo.state, history=history, at=at, last=last
        )

    async def _history(self, stream: str, at: int | None, last: int) -> list[Message[Any]]:
        """The newest rows, or those around the one that somebody looks at."""
        end = min(last, (at or last) + ROWS // 2)
        return await self.app.aio.history(stream, after=max(0, end - ROWS), upto=end)

    async def travel(self, request: Request) -> Response:
        """Where the slider leads to without a script."""
        return see(request, f"/lists/{request.path_params['id']}/at/{request.query_params.get('seq', '1')}")

    async def list_updates(self, request: Request) -> Response:
        """Who looks at a list as it was goes on doing so; only its history grows."""
        page, asked = self.page(request), request.query_params.get("at", "")
        at = int(asked) if asked.isdecimal() else None
        todo = await self.app.aio.load(TodoList, request.path_params["id"])

        shown: dict[str, str] = {}

        async def look() -> Fragments:
            """What has no news is not rendered anew."""
            if await todo.refresh() or not shown:
                show = partial(pages.render, page=page, todo=todo.state, at=at)
                history = await self._history(todo.stream, at, todo.seq)
                shown["history"] = show("_history.html", history=history, last=todo.seq)
                if not at:
                    shown["list"] = show("_list.html")
            return {**shown}

        return live(self.app, look)

    async def story(self, request: Request) -> Response:
        chosen = request.path_params["id"]
        roots = tree(await self.app.aio.trace(chosen))
        if not roots:
            raise NotKnown(f"There is no message {chosen}")
        name = "_modal.html" if is_htmx(request) else "story.html"
        return pages.page(request, name, roots=roots, chosen=chosen)

    # -- the one way to change anything

    async def command(self, request: Request) -> Response:
        fields = await form_of(request)
        form, back = fields.pop("_form", ""), request.headers.get("referer", f"{request.scope['root_path']}/")
        metadata = {"username": request.session["username"], "producer": "UI"}
        context = CommandContext(self.app, metadata=metadata, scope=TodoCommand)
        stream = fields.pop("stream", "") or new_id()  # a new list is a stream that nobody wrote to
        said = {"type": fields.pop("type", ""), "stream": stream, "payload": fields}
        try:
            await self.app.aio.dispatch(context.build(said))
        except (Invalid, UnknownMessage) as refusal:
            wrong = refusal.fields if isinstance(refusal, Invalid) else {"type": str(refusal)}
            if is_htmx(request):
                return pages.page(request, "_complaints.html", status=422, form=form, complaints=wrong)
            complaints = [f"{name}: {complaint}" for name, complaint in wrong.items()]
            return pages.page(
                request, "sorry.html", status=422, title="That did not work", complaints=complaints, back=back
            )
        return Response(status_code=204) if is_htmx(request) else RedirectResponse(back, 303)

    def page(self, request: Request) -> Page:
        return Page(request.scope.get("root_path", ""), request.session.get("token", ""), self.expander)


def newest_first(lists: Mapping[str, Listing]) -> list[tuple[str, Listing]]:
    return sorted(lists.items(), key=lambda each: str(each[1].created_at), reverse=True)


class LoggedIn:
    """Nothing but the login is there for those whose name we do not know; everything else knows it as the user."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["user"] = scope["session"].get("username", "")
        if scope["type"] == "http" and not _open(scope) and not scope["user"]:
            request = Request(scope)
            answer = LOGGED_OUT if _is_part(request) else see(request, "/")
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_part(request: Request) -> bool:
    """Of a page that is there already: a form of it, or its live updates."""
    return is_htmx(request) or request.headers.get("accept") == "text/event-stream"


def _open(scope: Any) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path in ("/", "/login") or path.startswith("/static/")


def see(request: Request, path: str) -> Response:
    return RedirectResponse(request.scope.get("root_path", "") + path, 303)


async def forged(request: Request, _: Exception) -> Response:
    if is_htmx(request):
        return PlainTextResponse(FORGED, 403)
    return pages.page(
        request,
        "sorry.html",
        status=403,
        title="Not accepted",
        complaints=[f"{FORGED} Load the page anew and try again."],
        back="/",
    )


async def nowhere(request: Request, error: Exception) -> Response:
    path, status = request.scope["path"], error.status_code if isinstance(error, HTTPException) else 404
    said = f"{path} takes forms, and cannot be looked at" if status == 405 else f"Nothing is at {path}"
    return not_found(request, said, status)


async def unknown(request: Request, error: Exception) -> Response:
    return not_found(request, str(error), 404)


def not_found(request: Request, said: str, status: int) -> Response:
    home = f"{request.scope.get('root_path', '')}/"
    return pages.page(request, "sorry.html", status=status, title="Not found", complaints=[f"{said}."], back=home)


def system(app: Sourced, secret: str, operators: Collection[str]) -> Starlette:
    """The dashboard: whoever is logged in may look, and may act where nobody is named who alone may."""

    def access(request: Request) -> Right:
        if not request.user:
            return "none"
        return "act" if not operators or request.user in operators else "read"

    return dashboard(app, access=access, who=lambda request: request.user, title="To-do lists", home="/", secret=secret)


def site(
    app: Sourced, *, secret: str, workers: bool = True, expander: bool = False, operators: Collection[str] = ()
) -> Starlette:
    """The web application; with `workers` it does all the work itself, in this process."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with app.running() if workers else contextlib.nullcontext():
            yield

    return Starlette(
        routes=[*Site(app, expander=expander).routes(), Mount("/system", system(app, secret, operators))],
        middleware=[*guards(secret, cookie="todos"), Middleware(LoggedIn)],
        exception_handlers={Forged: forged, HTTPException: nowhere, NotKnown: unknown},
        lifespan=lifespan,
    )
