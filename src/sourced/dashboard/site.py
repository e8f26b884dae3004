"""All pages of the dashboard as one ASGI application, to be served alone or mounted in another."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount

from sourced.app import Sourced
from sourced.dashboard.access import Access, Doorkeeper, loopback
from sourced.dashboard.acting import Acting, whoever
from sourced.dashboard.desk import Desk
from sourced.dashboard.groups import Groups
from sourced.dashboard.machine import TimeMachine
from sourced.dashboard.mishaps import Mishaps
from sourced.dashboard.missing import Missing
from sourced.dashboard.overview import Overview
from sourced.dashboard.search import Search
from sourced.dashboard.stories import Stories
from sourced.dashboard.topology import Topology
from sourced.dashboard.veil import Mask, MaskErrors, Veil
from sourced.dashboard.waiting import Waiting
from sourced.dashboard.workflows import Workflows
from sourced.doctor import TARGET
from sourced.errors import NotKnown, SourcedError, Unavailable
from sourced.web.guard import Forged, guards, is_htmx
from sourced.web.pages import Assets


def dashboard(
    app: Sourced,
    *,
    access: Access = loopback,
    who: Callable[[Request], str] = whoever,
    mask: Mask | None = None,
    mask_errors: MaskErrors | None = None,
    title: str = "Sourced",
    home: str = "",
    target: str = TARGET,
    secret: str | None = None,
) -> Starlette:
    """Closed by default: `access(request)` answers "none", "read" or "act", and without it only this machine may act.

    `who` names whoever acts, for the log; `home` is where its title leads to, if it is part of something larger;
    `target` is what the command line calls the app, for advice that can be copied: "shop:app";
    `mask(message, payload)` keeps what nobody may see, but for names and ids, which are addresses; with it only the
    class and the place of an exception are shown, or what `mask_errors(text)` leaves of it; the same `secret` in all
    processes lets them accept each other's forms.
    """
    desk = Desk(app, title=title, home=home, target=target, veil=Veil(mask, mask_errors))
    rooms = (
        Overview(desk), Groups(desk), Search(desk), Stories(desk), TimeMachine(desk), Waiting(desk), Acting(desk, who),
        Workflows(desk, who), Topology(desk),
    )  # fmt: skip

    async def forged(request: Request, _: Exception) -> Response:
        complaint = "This form is too old, or it was not ours."
        if is_htmx(request):
            return PlainTextResponse(complaint, 403)
        complaint = f"{complaint} Load the page anew and try again."
        return desk.page(request, "refused.html", status=403, complaint=complaint)

    async def failed(request: Request, error: Exception) -> Response:
        complaint, gone = desk.veil.raised(error), isinstance(error, Unavailable)
        if is_htmx(request):
            return desk.page(request, "_sorry.html", status=422, complaint=complaint)
        return desk.page(request, "sorry.html", status=503 if gone else 422, complaint=complaint)

    missing = Missing(desk)

    return Starlette(
        routes=[
            *(route for room in rooms for route in room.routes()),
            Mount("/static", Assets(desk.pages.static), name="static"),
        ],
        middleware=[
            Middleware(Doorkeeper, access=access),
            *guards(secret or secrets.token_hex(), cookie="sourced_dashboard"),
            Middleware(Mishaps, desk=desk),
        ],
        exception_handlers={
            Forged: forged,
            SourcedError: failed,
            NotKnown: missing.thing,
            HTTPException: missing.address,
        },
    )
