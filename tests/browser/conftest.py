"""A real browser on the real program: Chromium, driven by Playwright, on a server that is a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.facts import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENTLY = 1_000 * PATIENCE  # milliseconds, as Playwright counts
expect.set_options(timeout=PATIENTLY)


@pytest.fixture(scope="module")  # while it is there, its event loop is that of this thread
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = f"no browser: none of {', '.join(NAMES)} is on PATH; scripts/install-chromium brings one"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=QUIET, timeout=PATIENTLY)
        yield chromium
        chromium.close()


Start = Callable[..., str]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `sourced …` and answers the address it says it is at; ends it as a service manager would."""
    with starting() as begin:
        yield begin


@contextmanager
def starting() -> Iterator[Start]:
    started: dict[subprocess.Popen[str], bool] = {}

    def begin(*arguments: object, complains: bool = False, **environment: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "sourced", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )  # fmt: skip
        started[process] = complains
        assert process.stdout
        line = process.stdout.readline()
        assert "http://" in line, process.communicate()
        return next(word.strip(",;.") for word in line.split() if word.startswith("http://"))

    yield begin
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process, complains in started.items():
        try:
            _, complaints = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        assert (process.returncode, bool(complaints)) == (0, complains), complaints


class Visitor:
    """One person's browser: tabs share a session; whatever goes wrong in them is kept."""

    def __init__(self, context: BrowserContext, home: str, evidence: Path | None) -> None:
        self._context = context
        self._evidence = evidence
        self.home = home
        self.troubles: list[str] = []
        self.expected = ["422"]  # a form that was not accepted

    def tab(self, path: str = "/") -> Page:
        page = self._context.new_page()
        page.set_default_timeout(PATIENTLY)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", self._asked)
        page.goto(self.home + path)
        return page

    def cookies(self) -> str:
        return "; ".join(f"{each['name']}={each['value']}" for each in self._context.cookies())

    def show(self, page: Page, name: str) -> None:
        """A picture for whoever looks at what CI did."""
        if self._evidence:
            self._evidence.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=self._evidence / f"{name}.png", animations="disabled")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(each in message.text for each in self.expected):
            self.troubles.append(f"{message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.home, "data:")):
            self.troubles.append(f"a request to somebody else: {request.url}")


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """A new person, with a browser of their own, at an address."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []
    evidence = os.environ.get("SOURCED_SCREENSHOTS")

    def begin(home: str, **options: Any) -> Visitor:
        context = browser.new_context(**options)
        contexts.append(context)
        visitors.append(Visitor(context, home, Path(evidence) if evidence else None))
        return visitors[-1]

    yield begin
    for context in contexts:
        context.close()
    assert [trouble for each in visitors for trouble in each.troubles] == []
