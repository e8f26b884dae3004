"""Who gets into the dashboard, who may act, and what nobody gets to see."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from sourced import Actor, Sourced
from sourced.dashboard import dashboard
from sourced.dashboard.access import Right
from sourced.testing.shop import AddItem, Cart
from tests.dashboard.asking import Caller

ROOMS = (
    "/", "/groups", "/messages", "/streams", "/streams/c1", "/parked", "/scheduled", "/workers", "/schemas",
    "/updates", "/groups/updates", "/messages/updates", "/messages/m1", "/would/c1", "/workflows",
    "/workflows/updates", "/runs/r1", "/runs/r1/updates", "/runs/r1/signal", "/topology", "/topology.svg",
    "/workers/updates", "/topology/updates", "/parked/updates", "/scheduled/updates",
)  # fmt: skip


@pytest.fixture
def shop() -> Sourced:
    app = Sourced()
    app.register(Cart)
    app.execute(AddItem("<script>alert(1)</script>"), to="c1", metadata={"token": "s3cret"})
    return app


def asked(
    site: Starlette, path: str, *, method: str = "GET", client: str = "127.0.0.1", host: str = "localhost",
    headers: Mapping[str, str] | None = None, body: bytes = b"",
) -> tuple[int, str]:  # fmt: skip
    """The status and the page, as a server would ask for them."""
    path, _, query = path.partition("?")
    sent: list[Any] = []
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "scheme": "http", "http_version": "1.1", "client": (client, 5000), "server": (host, 80),
        "headers": [(name.encode(), value.encode()) for name, value in {"host": host, **(headers or {})}.items()],
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(site(scope, receive, send))
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:]).decode()


@pytest.mark.parametrize("path", ROOMS)
def test_without_a_word_only_this_machine_comes_in(shop: Sourced, path: str):
    site = dashboard(shop)
    for stranger in (
        {"client": "10.0.0.7"},
        {"headers": {"x-forwarded-for": "10.0.0.7"}},
        {"headers": {"forwarded": "for=10.0.0.7"}},
        {"host": "evil.example"},  # a name from outside that leads here
    ):
        status, page = asked(site, path, **stranger)
        assert status == 403
        assert "open to this machine alone" in page


def test_this_machine_comes_in(shop: Sourced):
    site: Any = shop.dashboard
    for host in ("localhost", "127.0.0.1:8100", "[::1]:8100"):
        assert asked(site, "/", host=host)[0] == 200


def test_whoever_may_read_cannot_act(shop: Sourced):
    site = dashboard(shop, access=lambda request: "read")
    status, page = asked(site, "/groups", client="10.0.0.7")
    assert status == 200
    assert "Reset" not in page
    assert asked(site, "/act", method="POST", client="10.0.0.7") == (403, "You may look, and not act.")
    assert "Reset" in asked(dashboard(shop), "/groups")[1]


def test_who_comes_in_may_be_asked_of_anybody(shop: Sourced):
    async def access(request: Request) -> Right:
        await asyncio.sleep(0)
        return "read" if request.headers.get("authorization") == "Bearer good" else "none"

    site = dashboard(shop, access=access)
    assert asked(site, "/", headers={"authorization": "Bearer good"})[0] == 200
    assert asked(site, "/", headers={"authorization": "Bearer bad"})[0] == 403


def test_a_form_without_our_token_changes_nothing(shop: Sourced):
    body = b"act=stop&group=Cart&confirmed=1"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert asked(dashboard(shop), "/act", method="POST", body=body, headers=kind)[0] == 403
    assert shop.groups.get(Cart).status == "active"


def test_the_token_of_a_live_update_counts_when_that_of_the_page_is_of_a_session_that_is_over(shop: Sourced):
    caller = Caller(dashboard(shop))
    caller.see("/groups")
    over, htmx = {"x-form-token": "from before the server was started anew"}, {"hx-request": "true"}
    assert "Stop shop.carts" in caller.send("/act", {**over, **htmx}, act="stop", group="shop.carts").page
    forged = caller.send("/act", {**over, **htmx}, act="stop", group="shop.carts", _token="")
    assert (forged.status, forged.headers["content-type"]) == (403, "text/plain; charset=utf-8")


def test_what_people_wrote_is_never_taken_for_html(shop: Sourced):
    site = dashboard(shop)
    for path in ("/messages", "/streams/c1", f"/messages/{shop.history('c1')[0].id}", "/messages?type=<script>"):
        page = asked(site, path)[1]
        assert "<script>alert" not in page
        assert "<script>&" not in page


def test_what_the_app_keeps_to_itself_is_masked_everywhere(shop: Sourced):
    def mask(thing: Any, payload: Any) -> Any:
        return {**payload, "product": "•••"} if "product" in payload else [] if isinstance(thing, Actor) else payload

    site = dashboard(shop, mask=mask)
    for path in ("/messages", f"/messages/{shop.history('c1')[0].id}", "/streams/c1"):
        page = asked(site, path)[1]
        assert "•••" in page
        assert "alert(1)" not in page
