"""Serving: the end of it, with somebody still looking."""

import logging
from time import monotonic
from urllib.request import urlopen

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sourced import Sourced
from sourced.web.live import Fragments, live
from sourced.web.serving import GRACE, visited


def test_a_page_that_is_still_open_keeps_no_server_from_ending(caplog: pytest.LogCaptureFixture):
    app = Sourced()

    async def look() -> Fragments:
        return {"live": "here"}

    async def updates(request: Request) -> Response:
        return live(app, look)

    def visit(home: str) -> None:
        page = urlopen(f"{home}/updates", timeout=10)
        assert page.readline() == b"event: live\n"
        left.append(page)
        left.append(monotonic())

    left: list[object] = []
    with caplog.at_level(logging.WARNING):
        visited(Starlette(routes=[Route("/updates", updates)]), visit)
    page, ended = left
    assert monotonic() - float(str(ended)) < GRACE / 2
    assert page.read().endswith(b"\n\n")  # type: ignore[attr-defined]
    assert caplog.records == []
