"""Serving: the end of it, with somebody still looking."""

import logging
from typing import Any
from urllib.request import urlopen

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced import Sourced
from sourced.web import serving
from sourced.web.live import Fragments, live
from sourced.web.serving import visited
from tests.facts import PATIENCE


def test_a_page_that_is_still_open_keeps_no_server_from_ending(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """A server that has to wait for one until its patience ends says so."""
    monkeypatch.setattr(serving, "GRACE", 30)
    app = Sourced()

    async def look() -> Fragments:
        return {"live": "here"}

    async def updates(request: Request) -> Response:
        return live(app, look)

    def visit(home: str) -> None:
        page = urlopen(f"{home}/updates", timeout=PATIENCE)
        assert page.readline() == b"event: live\n"
        left.append(page)

    left: list[Any] = []
    with caplog.at_level(logging.WARNING):
        visited(Starlette(routes=[Route("/updates", updates)]), visit)
    (page,) = left
    assert page.read().endswith(b"\n\n")
    assert caplog.records == []
