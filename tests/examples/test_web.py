"""The shop on the web, visited as a browser does."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from examples.web import app, web
from tests.facts import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with TestClient(web) as browser:
        yield browser


def text(answer: Any) -> str:
    """What a person reads."""
    inside = answer.text.partition("<h1>")[2]
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", inside))).strip()


def test_a_customer_goes_shopping(browser: TestClient):
    """Items are there at once; a worker checks out, and its reactions pack a parcel."""
    (new,) = re.findall(r'href="(/carts/cart-[^"]+)">A new cart<', browser.get("/").text)
    browser.post(f"{new}/items", data={"product": "tea", "price": "450", "quantity": "2"})
    seen = text(browser.post(f"{new}/items", data={"product": "<mug>", "price": "1200"}))
    assert "2 of tea €4.50 1 of <mug> €12.00 Total €21.00" in seen
    name = new.removeprefix("/carts/")
    parcel = name.replace("cart", "parcel")
    browser.post(f"{new}/check-out")
    for stream, seq in (
        (name, 5),
        (name, 6),
        (parcel, 1),
        (parcel, 2),
        (parcel, 3),
    ):  # each is there once the last is done
        app.wait_for(app.history(stream)[seq - 1], timeout=PATIENCE)
    seen = text(browser.get(new))
    assert f"{name}, closed" in seen
    assert "Parcel: 1050 g, with a label" in seen
    assert "History add_item item_added add_item item_added check_out checked_out" in seen
    assert name in text(browser.get("/"))


def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_stored(browser: TestClient):
    answer = browser.post("/carts/cart-wrong/items", data={"product": "tea", "price": "dear"})
    assert answer.status_code == 422
    assert "price Expected int, got str" in text(answer)
    assert 'value="dear"' in answer.text
    assert app.history("cart-wrong") == []


def test_a_closed_cart_says_so(browser: TestClient):
    browser.post("/carts/cart-closed/check-out")
    answer = browser.post("/carts/cart-closed/items", data={"product": "tea", "price": "450"})
    assert answer.status_code == 409
    assert "The cart takes no more items: cart-closed" in text(answer)


def test_every_moment_can_be_looked_at(browser: TestClient):
    for price in ("100", "200"):
        browser.post("/carts/cart-then/items", data={"product": "tea", "price": price})
    then = browser.get("/carts/cart-then?seq=2")
    assert "Total €1.00" in text(then)
    assert '<li aria-current="true"><a href="/carts/cart-then?seq=2">' in then.text
    assert "<form" not in then.text
    assert "Total €3.00" in text(browser.get("/carts/cart-then?seq=never"))


def test_it_runs_as_it_says_it_does(tmp_path: Path):
    environment = {**os.environ, "SHOP": f"sqlite:///{tmp_path}/shop.db"}
    command = [sys.executable, "-m", "uvicorn", "examples.web:web", "--port", "0"]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.search(r"running on (http://\S+)", line):
                assert b"A new cart" in urllib.request.urlopen(found.group(1), timeout=PATIENCE).read()
                break
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) in (0, -signal.SIGTERM)
        assert "Application shutdown complete" in server.stderr.read()
    finally:
        server.kill()
        server.communicate()
