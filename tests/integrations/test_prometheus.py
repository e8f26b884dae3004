"""Metrics as Prometheus sees them: scraped from a port, asked of the store no more often than need be."""

import asyncio
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sourced import Failure, Park, Retry, Sourced, Stop
from sourced.actions import Policy, Verdict
from sourced.errors import Conflict, Rejection, Unavailable
from sourced.integrations.prometheus import SHARED, measure, serve, serving_all
from sourced.ops import Op
from sourced.stores.memory import MemoryStore
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, Close, ItemAdded, Stock
from tests.facts import PATIENCE
from tests.ports import a_free_port
from tests.runtime.listener import Noted, failing, listening

Samples = dict[str, float]


def read(text: str) -> Samples:
    """`name{label=value}` → value, but for buckets and times of creation."""
    return {
        sample.name + "".join(f"{{{name}={value}}}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket"))
    }


class Scraper:
    def __init__(self, app: Sourced, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.end = measure(app, self.registry, **options)

    def __call__(self) -> Samples:
        return read(generate_latest(self.registry).decode())


def shop(**options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), **options})
    app.register(Cart, Stock)
    return app


def test_a_port_is_scraped():
    """The real thing: a server, HTTP, a worker at work beside it."""
    port = a_free_port()

    def scrape() -> Samples:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            return read(answer.read().decode())

    async def main() -> Samples:
        async with app.running():
            await app.aio.execute(AddItem("tea"), to="c1")
            message = app.dispatch(AddItem("tea"), to="c1")
            app.dispatch(AddItem("tea"), to="c1", after=3600)
            await app.aio.wait_for(message, timeout=PATIENCE)
            await app.aio.wait_for(app.history("stock-tea")[0], timeout=PATIENCE)
            return await asyncio.to_thread(scrape)

    app = Sourced()
    app.register(Cart, Stock)
    close = serve(app, port)
    try:
        seen = asyncio.run(main())
    finally:
        close()
    assert seen["sourced_up"] == 1
    assert seen["sourced_workers"] == 1
    assert seen["sourced_scheduled"] == 1
    assert seen["sourced_handled_total{group=shop.carts}"] >= 2
    assert seen["sourced_handle_seconds_count{group=shop.carts}"] >= 2
    assert seen["sourced_store_seconds_count{verb=execute}"] == 1
    assert seen["sourced_store_seconds_count{verb=dispatch}"] == 2
    with pytest.raises(OSError, match="refused"):
        scrape()


def test_a_process_that_has_but_opened_its_file_hides_nobody_else():
    """Another one is started while they are scraped, or is killed in that very moment and leaves it behind."""
    port = a_free_port()
    with Sourced() as app, serving_all(app, port) as environment:
        Path(environment[SHARED], "counter_4711.db").touch()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
            assert read(answer.read().decode())["sourced_up"] == 1


def test_lag_in_messages_and_in_seconds():
    app = shop()
    scrape = Scraper(app, fresh=0)
    app.append("c1", [ItemAdded("tea", 1), ItemAdded("tea", 1)])
    app._engine.clock.advance(90)  # type: ignore[attr-defined]
    app.append("c2", ItemAdded("tea", 1))
    seen = scrape()
    assert [seen[f"sourced_lag_messages{{group={group}}}"] for group in ("shop.carts", "shop.stock")] == [3, 0]
    assert seen["sourced_lag_seconds{group=shop.carts}"] == 90
    app.drain()
    seen = scrape()
    assert (seen["sourced_lag_messages{group=shop.carts}"], seen["sourced_lag_seconds{group=shop.carts}"]) == (0, 0)
    assert seen["sourced_workers"] == 0


def test_what_waits_and_what_failed():
    policies: dict[str, Policy] = {"retry": Retry(after=5), "park": Park(), "stop": Stop()}

    def by_text(failure: Failure) -> Verdict:
        return policies[failure.message.payload.text](failure)

    app, _ = listening(failing("retry", "park", "stop"), errors=by_text)
    scrape = Scraper(app, fresh=0)
    for text in ("fine", "retry", "park"):
        app.append(text, Noted(text))
    app.drain()
    seen = scrape()
    assert seen["sourced_handled_total{group=listener}"] == 1
    assert seen["sourced_handle_seconds_count{group=listener}"] == 3
    assert seen["sourced_failures_total{error=ValueError}{group=listener}"] == 2
    assert seen["sourced_retries_total{group=listener}"] == seen["sourced_parkings_total{group=listener}"] == 1
    assert seen["sourced_retrying{group=listener}"] == seen["sourced_parked{group=listener}"] == 1
    assert seen["sourced_active{group=listener}"] == 1
    app.append("stop", Noted("stop"))
    app.drain()
    seen = scrape()
    assert seen["sourced_stops_total{group=listener}"] == 1
    assert seen["sourced_active{group=listener}"] == 0
    app.groups.start("listener")
    app.parked.retry()
    assert scrape()["sourced_parked{group=listener}"] == 0


def test_rejections_and_refusals():
    app = shop()
    scrape = Scraper(app)
    app.execute(Close(), to="c1")
    app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    with pytest.raises(Rejection):
        app.execute(AddItem("tea"), to="c1")
    with pytest.raises(Conflict):
        app.append("c1", ItemAdded("tea", 1), expected_seq=9)
    seen = scrape()
    assert seen["sourced_rejected_total{group=shop.carts}{reason=cart_closed}"] == 1
    assert seen["sourced_refused_total{error=CartClosed}{verb=execute}"] == 1
    assert seen["sourced_refused_total{error=Conflict}{verb=append}"] == 1


def test_promoted_messages():
    app = shop()
    scrape = Scraper(app)
    app.dispatch(AddItem("tea"), to="c1", after=1)
    app._engine.clock.advance(1)  # type: ignore[attr-defined]
    app.drain()
    assert scrape()["sourced_promoted_total"] == 1


class Counting(MemoryStore):
    """Counts how often its groups are looked at, and is away when it shall be."""

    asked, away = 0, False

    def groups(self) -> Op[Any]:
        self.asked += 1
        if self.away:
            raise Unavailable("counting", "away")
        return (yield from super().groups())


def test_the_store_is_asked_when_scraped_and_not_more_often_than_need_be():
    """What it told is good for some seconds; to be registered costs no question."""
    clock, store = VirtualClock(), Counting()
    app = shop(store=store, clock=clock)
    app.drain()
    asked = store.asked
    scrape = Scraper(app, fresh=10_000)
    app.append("c1", ItemAdded("tea", 1))
    assert store.asked == asked
    first = scrape()
    assert store.asked > asked
    asked = store.asked
    app.append("c1", ItemAdded("tea", 1))
    assert scrape()["sourced_lag_messages{group=shop.carts}"] == first["sourced_lag_messages{group=shop.carts}"] == 1
    assert store.asked == asked


def test_a_store_that_cannot_be_asked_is_down_and_counters_are_still_there(caplog: pytest.LogCaptureFixture):
    """And no figure of earlier looks like one of now."""
    store = Counting()
    app = shop(store=store)
    scrape = Scraper(app, fresh=0)
    app.execute(AddItem("tea"), to="c1")
    assert scrape()["sourced_up"] == 1
    store.away = True
    seen = scrape()
    assert seen["sourced_up"] == 0
    assert not [name for name in seen if name.startswith("sourced_lag")]
    assert seen["sourced_store_seconds_count{verb=execute}"] == 1
    assert "could not be asked" in caplog.text
    store.away = False
    assert scrape()["sourced_up"] == 1


def test_two_apps_in_one_process_have_a_registry_each():
    one, other = shop(), shop()
    scrape, scrape_other = Scraper(one), Scraper(other)
    one.execute(AddItem("tea"), to="c1")
    assert scrape()["sourced_store_seconds_count{verb=execute}"] == 1
    assert "sourced_store_seconds_count{verb=execute}" not in scrape_other()
    with pytest.raises(ValueError, match="Duplicated"):
        measure(other, scrape.registry)
    scrape.end()
    assert scrape() == {}
    assert not one.telemetry.heard
    measure(other, scrape.registry)
    assert scrape()["sourced_up"] == 1


def test_the_documentation_lists_every_metric_there_is_and_no_other():
    scrape = Scraper(shop())
    there = {family.name + "_total" * (family.type == "counter") for family in scrape.registry.collect()}
    page = (Path(__file__).parents[2] / "docs/how-to/observe.md").read_text("utf-8")
    rows = re.findall(r"^\| (`sourced_.+) \| ", page, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(sourced_\w+)`", row)} == there
