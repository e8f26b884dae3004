"""A visit to the TODO application without a browser: what people do there, step by step, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import unescape
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

PATIENCE = 60.0  # seconds that anything may take


class Visitor:
    """Somebody with a session and the page they look at."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self.page = ""

    def open(self, path: str) -> str:
        with self._opener.open(self._home + path, timeout=PATIENCE) as answer:
            self.page = answer.read().decode()
        return self.page

    def send(self, path: str, **fields: object) -> None:
        """A form of the page, filled in."""
        fields["_token"] = self.found(r'name="_token" value="([^"]+)"')
        with self._opener.open(self._home + path, urlencode(fields).encode(), timeout=PATIENCE):
            pass

    def found(self, pattern: str) -> str:
        match = re.search(pattern, self.page)
        assert match, f"expected {pattern} in\n{self.page}"
        return unescape(match[1])

    def found_in(self, path: str, pattern: str) -> str:
        self.open(path)
        return self.found(pattern)

    @contextmanager
    def live(self, path: str) -> Iterator[Callable[[str], None]]:
        """The updates of a page; `until(text)` waits for a change that shows it."""
        answer: HTTPResponse = self._opener.open(Request(self._home + path), timeout=PATIENCE)

        def until(text: str) -> None:
            for line in answer:
                if text in unescape(line.decode()):
                    return
            raise AssertionError(f"the updates of {path} ended before {text!r} was seen")

        with answer:
            yield until


def visit(home: str, say: Callable[[str], Any]) -> None:
    """Two people on one list; raises when anything is not as it should be."""
    ann, bob = Visitor(home), Visitor(home)
    for visitor, name in ((ann, "Ann"), (bob, "Bob")):
        visitor.open("/")
        visitor.send("/login", username=name)
        visitor.open("/")
        say(f"{name} logs in: {visitor.found('(logged in as [^<]+)<')}")

    with bob.live("/updates") as until:
        ann.send("/commands", type="todos.create_list", name="Garden")
        until("Garden")
        say("Ann creates a list, and Bob sees “Garden” come up on his page")
    stream = ann.found_in("/", r'href="/lists/([^"]+)">Garden')
    path = f"/lists/{stream}"

    with bob.live(f"{path}/updates") as until:
        until("list_named")  # which would take what the page says below for settled
        for text in ("Rake the leaves", "Plant tulips", " plant TULIPS"):
            ann.send("/commands", type="todos.add_item", stream=stream, text=text)
        until("An item with the same text already exists")
        say("Ann adds items; one that is there already is pointed at, for Bob as well")
        ann.open(path)
        item = ann.found(r'data-item="([^"]+)"')
        bob.send("/commands", type="todos.toggle_item", stream=stream, item_id=item)
        until('class="done')
        say("Bob ticks off “Rake the leaves”")

    last = int(bob.found_in(f"{path}", r"version (\d+) of"))
    then = bob.found_in(f"{path}/at/{last - 4}", r"(Version \d+: how the list was)")
    say(f"{then}, of {last}: nothing is ever lost")
    story = bob.found_in(path, r'href="(/messages/[^"]+/story)"[^>]*>item_done<')
    bob.open(story)
    told = [unescape(each) for each in re.findall(r'<strong class="\w+">([^<]+)</strong>', bob.page)]
    say(f"how that came about: {' → '.join(told)}")
    with bob.live("/updates") as until:
        until("ann, bob")  # the rows of the home page are kept beside the log, and may come a moment later
    done, members = bob.found_in("/", r">(\d+/\d+)<"), bob.found(r">(ann, bob)<")
    say(f"and the home page says {done} done, by {members}")
