"""Somebody who asks for pages and sends forms, as a browser without scripts would, with no server in between."""

import asyncio
import re
from collections.abc import Mapping
from html import unescape
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode

from starlette.types import ASGIApp

from tests.facts import PATIENCE


class Answer(NamedTuple):
    status: int
    page: str
    headers: Mapping[str, str]


class Caller:
    def __init__(self, site: ASGIApp, *, client: str = "127.0.0.1", host: str = "localhost", root: str = "") -> None:
        self.site, self.client, self.host, self.root = site, client, host, root
        self.cookies: dict[str, str] = {}
        self.token = ""

    def get(self, path: str, **headers: str) -> Answer:
        answer = self.ask(path, headers=headers)
        if token := re.search(r'"X-Form-Token": "([^"]*)"', answer.page):
            self.token = token[1]
        return answer

    def see(self, path: str) -> str:
        """A page that is expected to be there."""
        answer = self.get(path)
        assert answer.status == 200, (path, answer.status, answer.page)
        return answer.page

    def send(self, path: str, headers: Mapping[str, str] | None = None, /, **fields: object) -> Answer:
        """A form, with the token of the page that was seen last."""
        body, form = urlencode({"_token": self.token, **fields}).encode(), "application/x-www-form-urlencoded"
        return self.ask(path, method="POST", body=body, headers={"content-type": form, **(headers or {})})

    def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        path, _, query = path.partition("?")
        sent: list[Any] = []
        given = {
            "host": self.host,
            "cookie": "; ".join(f"{key}={value}" for key, value in self.cookies.items()),
            **(headers or {}),
        }
        scope = {
            "type": "http", "method": method, "path": self.root + unquote(path), "raw_path": path.encode(),
            "query_string": query.encode(), "root_path": self.root, "scheme": "http", "http_version": "1.1",
            "client": (self.client, 5000), "server": (self.host, 80),
            "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
        }  # fmt: skip

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        async def call() -> None:
            await self.site(scope, receive, send)

        asyncio.run(call())
        page = b"".join(each.get("body", b"") for each in sent[1:]).decode(errors="replace")
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        for name, value in sent[0]["headers"]:
            if name == b"set-cookie":
                cookie, _, kept = value.decode().partition(";")[0].partition("=")
                self.cookies[cookie] = kept
        return Answer(sent[0]["status"], page, told)

    def live(self, path: str, pieces: int = 1) -> str:
        """The first changes that a page would be told of."""

        async def hear() -> str:
            heard, enough = list[str](), asyncio.Event()

            async def receive() -> Any:
                await enough.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                heard.append(message.get("body", b"").decode())
                if sum(each.startswith("event:") for each in heard) >= pieces:
                    enough.set()

            route, _, query = path.partition("?")
            cookies = "; ".join(f"{key}={value}" for key, value in self.cookies.items())
            headers = [(b"host", self.host.encode()), (b"cookie", cookies.encode())]
            scope = {
                "type": "http", "method": "GET", "path": unquote(route), "raw_path": route.encode(),
                "query_string": query.encode(), "root_path": "", "scheme": "http", "http_version": "1.1",
                "client": (self.client, 5000), "server": (self.host, 80), "headers": headers,
            }  # fmt: skip
            await asyncio.wait_for(self.site(scope, receive, send), PATIENCE)
            return "".join(heard)

        return asyncio.run(hear())


def text_of(page: str) -> str:
    """What people read."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)))


def typed(**said: object) -> dict[str, object]:
    """The fields of a message, as its form calls them."""
    return {f"field.{name}": value for name, value in said.items()}
