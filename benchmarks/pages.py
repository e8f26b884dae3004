"""Prints how long people wait: for every page of the dashboard when the log is long, and for what others click."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import quote

from benchmarks.places import Place, postgres_place, sqlite_place
from sourced import Event, Sourced, Workflow, step
from sourced.codec import Record
from sourced.dashboard import dashboard
from sourced.ids import new_id
from sourced.ops import Op
from sourced.store import Entry, Scheduled, Store, Straggler
from sourced.testing.clock import VirtualClock
from sourced.testing.shop import Cart, Products, Stock
from sourced.web.serving import visited

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMES = 20
CLICKS = 100
AIM = 100  # milliseconds
PIECE = 10_000  # messages appended at a time
RUNS = 300
FIRST = ", at first sight"


# -- a long log --------------------------------------------------------------------------------------------------------


class Approved(Event):
    by: str


class Refund(Workflow):
    async def run(self, cents: int) -> int:
        await self.check(cents)
        await self.wait_for(Approved)
        return cents

    @step
    def check(self, cents: int) -> bool:
        return cents > 0


class Log(NamedTuple):
    """Stories of four messages: an item goes into a cart, and is reserved. Two products are much in demand."""

    messages: int
    carts: int

    def story(self, number: int) -> Iterator[Entry]:
        cart = f"cart-{number % self.carts:06d}"
        product = "p0" if number % 10 == 0 else "p1" if number % 100 == 1 else f"p{number % 1_000}"
        stock, at, root = f"stock-{product}", self.at(4 * number), new_id()
        who = "ann" if number % 5_000 == 0 else "bob"
        added, metadata = f'{{"product":"{product}","quantity":2}}', f'{{"user":"{who}"}}'
        cause = root
        for stream, type, payload in (
            (cart, "shop.add_item", added), (cart, "shop.item_added", added), (stock, "shop.reserve", added),
            (stock, "shop.reserved", '{"quantity":2}'),
        ):  # fmt: skip
            id = root if type == "shop.add_item" else new_id()
            yield Entry(stream, (Record(id, stream, 0, 0, type, 1, payload, metadata, cause, root, at),))
            cause = id

    def at(self, position: int) -> datetime:
        """A message a second."""
        return NOON + timedelta(seconds=position)

    def fill(self, store: Store) -> None:
        piece: list[Entry] = []
        for number in range(self.messages // 4):
            piece += self.story(number)
            if len(piece) >= PIECE:
                store.transact(store.append(piece))
                piece = []
        store.transact(store.append(piece))
        store.transact(self.stand(store))

    def stand(self, store: Store) -> Op[None]:
        """Of three groups one is half way behind, with streams parked in it; and much is scheduled."""
        yield from store.register(Cart.group, "now")
        yield from store.register(Products.group, "now")
        yield from store.register(Stock.group, self.at(self.messages // 2))
        yield from store.straggle([
            Straggler(Stock.group, f"stock-p{n}", 5, attempts=4, parked=True, error=f"ValueError: shelf {n % 3}")
            for n in range(300)
        ])  # fmt: skip
        later = self.at(100 * self.messages)
        records = [Record(new_id(), "later", 0, 0, "shop.close", 1, "{}", "{}", "x", "x", NOON) for _ in range(1_000)]
        yield from store.schedule([Scheduled(each, later) for each in records])


def shop(store: Store) -> Sourced:
    app = Sourced(store)
    app.register(Cart, Stock, Products, Refund)
    return app


def prepare(store: Store, log: Log) -> None:
    """Runs of a workflow are carried out before there is anything else to do, and before the log's own times."""
    first = Sourced(store, clock=VirtualClock(NOON - timedelta(hours=1)))
    first.register(Refund)
    for number in range(RUNS):
        first.start(Refund, number)
    first.drain()
    log.fill(store)


# -- pages -------------------------------------------------------------------------------------------------------------


class Waited(NamedTuple):
    """How long, in milliseconds, each time."""

    each: Sequence[float]

    def at(self, part: float) -> float:
        return sorted(self.each)[min(len(self.each) - 1, int(part * len(self.each)))]

    def __str__(self) -> str:
        return f"{self.at(0.5):.0f}, {self.at(0.95):.0f}"


def pages(app: Sourced, log: Log) -> Mapping[str, str]:
    """What people look at, by what they would call it."""
    middle, hot = log.messages // 2, "stock-p0"
    (message,) = app.read_all(after=middle, limit=1)
    run = app.workflows.list(limit=1)[0].id
    since, until = (log.at(middle + n).strftime("%Y-%m-%d+%H:%M:%S") for n in (0, 10_000))
    return {
        "overview": "/",
        "groups": "/groups",
        "messages": "/messages",
        "messages, from the middle": f"/messages?before={middle}",
        "messages of a type": "/messages?type=shop.reserved",
        "messages of a rare type": "/messages?type=refund.started",
        "messages of a time": f"/messages?since={since}&until={until}",
        "messages of a type, of a time": f"/messages?type=shop.reserved&since={since}&until={until}",
        "messages by metadata": "/messages?metadata=user%3Dann",
        "messages of a long stream, by type": f"/messages?stream={hot}&type=shop.reserved",
        "streams": "/streams",
        "streams by the beginning of a name": "/streams?name=cart-0123",
        "streams by a part of a name": "/streams?anywhere=1&name=99999",
        "a stream": f"/streams/{quote(message.stream)}",
        "a stream of 0.5 % of the log": "/streams/stock-p1",
        "a stream of 5 % of the log": f"/streams/{hot}",
        "a stream of 5 % of the log, in its middle": f"/streams/{hot}?at={log.messages // 40}",
        "a stream of 5 % of the log, step by step": f"/streams/{hot}?at={{step}}",
        f"a stream of 5 % of the log{FIRST}": f"/streams/{hot}",
        "a message and its story": f"/messages/{message.id}",
        "parked": "/parked",
        "scheduled": "/scheduled",
        "workflows": "/workflows",
        "workflows that run": "/workflows?status=running",
        "a run of a workflow": f"/runs/{quote(run)}",
        "workers": "/workers",
        "topology": "/topology",
        "schemas": "/schemas",
    }


def pages_at(place: Place, log: Log, only: str) -> Mapping[str, Waited]:
    database = place.database()
    store = database.store()
    found: dict[str, Waited] = {}
    try:
        begun = perf_counter()
        prepare(store, log)
        print(f"{place.name}: {log.messages:,} messages were stored in {perf_counter() - begun:.0f} s", file=sys.stderr)
        with shop(store) as app:
            wanted = {name: path for name, path in pages(app, log).items() if only in name}
            seen = {name: path for name, path in wanted.items() if not name.endswith(FIRST)}
            visited(dashboard(app), lambda home: found.update(asked(home, seen, log)))
            for name in (name for name in wanted if name not in seen):
                found[name] = seen_first(app, wanted[name])
    finally:
        store.close()
        database.close()
    return found


def asked(home: str, wanted: Mapping[str, str], log: Log) -> Mapping[str, Waited]:
    """Each page in turn, again and again."""
    with asking(home) as ask:
        for path in wanted.values():
            ask(path.format(step=log.messages // 40))
        steps = range(log.messages // 40, 0, -1)
        rounds = [
            [ask(path.format(step=step)) for path in wanted.values()]
            for step, _ in zip(steps, range(TIMES), strict=False)
        ]
    return {name: Waited(times) for name, times in zip(wanted, zip(*rounds, strict=True), strict=True)}


def seen_first(app: Sourced, path: str) -> Waited:
    """By as many dashboards, each of which has been asked for another stream before."""
    times: list[float] = []

    def see(home: str) -> None:
        with asking(home) as ask:
            ask("/streams/stock-p1")
            times.append(ask(path))

    for _ in range(TIMES):
        visited(dashboard(app), see)
    return Waited(times)


@contextlib.contextmanager
def asking(home: str) -> Iterator[Callable[[str], float]]:
    """Over HTTP, as a browser would."""
    connection = http.client.HTTPConnection(home.removeprefix("http://"), timeout=60)

    def ask(path: str) -> float:
        begun = perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: expected 200, found {answer.status} {answer.headers.get('location', '')}")
        return (perf_counter() - begun) * 1000

    with contextlib.closing(connection):
        yield ask


# -- clicks ------------------------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

CLICKED = "document.addEventListener('click', () => { window.clicked = Date.now() }, true)"
SEEN = """() => {
  const done = () => document.querySelectorAll('.items li.done').length;
  let before = done();
  window.seen = [];
  new MutationObserver(() => { if (done() !== before) { before = done(); window.seen.push(Date.now()); } })
    .observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ['class']});
}"""


def clicks_at(place: Place, browser: Any, clicks: int) -> Waited:
    """Ann ticks an item off and on again; how long it takes until Bob's page shows it. The workers are inside."""
    database = place.database()
    try:
        with todo_at(database.url()) as home:
            ann, bob = (logged_in(browser, home, name) for name in ("Ann", "Bob"))
            ann.get_by_label("Name of the new list").fill("Garden")
            ann.get_by_role("button", name="Create list").click()
            ann.get_by_role("link", name="Garden").click()
            for number in range(10):
                ann.get_by_label("What is to be done").fill(f"Rake {number}")
                ann.get_by_label("What is to be done").press("Enter")
                ann.get_by_role("checkbox", name=f"Rake {number}").wait_for()
            bob.goto(ann.url)
            bob.locator("html[data-live]").wait_for()
            ann.evaluate(CLICKED)
            bob.evaluate(SEEN)
            return Waited([click(ann, bob, number) for number in range(clicks + 5)][5:])
    finally:
        database.close()


def click(ann: Any, bob: Any, number: int) -> float:
    ann.get_by_role("checkbox", name="Rake 3").click()
    bob.wait_for_function("number => window.seen.length > number", arg=number)
    return bob.evaluate("number => window.seen[number]", number) - ann.evaluate("window.clicked")


def logged_in(browser: Any, home: str, name: str) -> Any:
    page = browser.new_context().new_page()
    page.goto(home)
    page.get_by_label("User name").fill(name)
    page.get_by_role("button", name="Log in").click()
    return page


@contextlib.contextmanager
def todo_at(url: str) -> Iterator[str]:
    command = [sys.executable, "-m", "sourced", "demo", "--port", "0", "--database", url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout
        try:
            yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        finally:
            process.send_signal(signal.SIGTERM)


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """None where there is no browser."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


# -- what is printed ---------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000, metavar="N", help="in the log; 0 leaves pages out")
    parser.add_argument("--clicks", type=int, default=CLICKS, metavar="N", help="0 leaves them out")
    parser.add_argument("--only", default="", metavar="WORDS", help="pages whose name contains this")
    given = parser.parse_args(arguments)
    with postgres_place() as postgres, sqlite_place() as sqlite:
        places: Sequence[Place] = (postgres, sqlite)
        print("\n".join(f"* {place.terms}" for place in places), end="\n\n")
        if given.clicks:
            print_clicks(places, given.clicks)
        if given.messages:
            log = Log(given.messages, max(1, given.messages // 10))
            print_pages([pages_at(place, log, given.only) for place in places], log)


def print_clicks(places: Sequence[Place], clicks: int) -> None:
    with chromium() as browser:
        if browser is None:
            print("No browser: scripts/install-chromium brings one.\n")
            return
        print(f"From a click to the change in somebody else's tab, {clicks} times:\n")
        print("| the TODO application on | p50 ms | p95 ms |\n|:--|--:|--:|")
        for place in places:
            took = clicks_at(place, browser, clicks)
            print(f"| {place.name} | {took.at(0.5):.0f} | {took.at(0.95):.0f} |")
        print()


def print_pages(found: Sequence[Mapping[str, Waited]], log: Log) -> None:
    print(f"Pages of the dashboard, {log.messages:,} messages in the log, {TIMES} times each:\n")
    print("| page | PostgreSQL p50, p95 ms | SQLite p50, p95 ms | |\n|:--|--:|--:|:--|")
    for name, took in found[0].items():
        other = found[1][name]
        missed = f"above {AIM}" if max(took.at(0.95), other.at(0.95)) > AIM else ""
        print(f"| {name} | {took} | {other} | {missed} |")


if __name__ == "__main__":
    main()
