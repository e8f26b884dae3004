"""Every page of both applications: with a keyboard, with a screen reader's eyes, on a phone, by day and by night."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from tests.browser.conftest import Visitor, starting
from tests.browser.shop import Order, Refund, made

Visit = Callable[..., Visitor]
PHONE: ViewportSize = {"width": 360, "height": 740}
LONG = "a name that somebody gave a stream who had a lot of time and " + "n" * 80

OUT_OF_REACH = """() => [...document.querySelectorAll('a, button, input, select, textarea, summary')]
    .filter(each => each.type !== 'hidden' && each.tabIndex < 0).map(each => each.outerHTML)"""


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """With a bit of everything in it, for all tests; and its pages."""
    folder = tmp_path_factory.mktemp("shop")
    url, broken = f"sqlite:///{folder}/shop.db", folder / "broken"
    with pytest.MonkeyPatch.context() as patch, starting() as start:
        patch.setenv("SHOP_BROKEN", str(broken))
        home = start("ui", "tests.browser.shop:app", "--port", 0, SHOP=url)
        with made(url) as app:
            for item in ("tea", "mug", "tea", "cup"):
                app.execute(Order(item, 2), to="cart-1")
            decision = app.execute(Order(LONG), to="cart-1")
            app.drain()
            broken.touch()
            app.execute(Order("pot"), to=LONG)
            app.drain()
            app.dispatch(Order("tea"), to="cart-1", after=timedelta(days=1))
            run = app.start(Refund, 500)
            app.drain()
        pages = [
            "/", "/groups", "/messages", "/messages?type=order&metadata=a%3Db", "/streams",
            "/streams?name=x", "/streams/cart-1?at=3", f"/streams/{LONG}",
            f"/messages/{decision.events[0].id}", "/parked", "/scheduled", "/workflows",
            f"/runs/{run.id}", "/workers", "/topology", "/schemas", "/would/cart-1?command=order&at=3",
            f"/runs/{run.id}/signal?message=approved",
        ]  # fmt: skip
        yield home, pages


@pytest.fixture(scope="module")
def todo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with starting() as start:
        yield start("demo", "--port", 0, "--database", f"sqlite:///{tmp_path_factory.mktemp('todo')}/todo.db")


def todo_pages(page: Page) -> list[str]:
    """Somebody who is logged in, and what there is for them to see."""
    page.get_by_label("User name").fill("Joe")
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Name of the new list").fill("Garden " + "g" * 60)
    page.get_by_role("button", name="Create list").click()
    page.get_by_role("link", name="Garden").click()
    expect(page.get_by_role("link", name="list_named")).to_be_visible()  # which would clear what is said below
    field = page.get_by_label("What is to be done")
    for text in ("Rake", "W" * 90, "rake "):
        field.fill(text)
        field.press("Enter")
        expect(field).to_have_value("")
    expect(page.get_by_role("status")).to_contain_text("same text")
    path = "/lists/" + page.url.rpartition("/")[2]
    story = page.locator("#history li .event").first.get_attribute("href")
    assert story
    return ["/", path, f"{path}/at/3", story]


def complaints(page: Page, *rules: str) -> list[str]:
    """What a screen reader, or eyes that see little contrast, would stumble over."""
    options: dict[str, Any] = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def check(name: str, visitor: Visitor, page: Page, paths: list[str]) -> None:
    """By day all that can be told; by night and on a phone what may differ there."""
    home = visitor.home
    found: list[tuple[str, str]] = []
    for path in paths:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light")
        page.goto(home + path)
        found += [(path, each) for each in complaints(page)]
        found += [(path, f"out of reach for a keyboard: {each}") for each in page.evaluate(OUT_OF_REACH)]
        visitor.show(page, "-".join(["every", name, *(re.findall("[a-z]+", path)[:2] or ["home"])]))
        page.emulate_media(color_scheme="dark")
        found += [(path, f"by night, {each}") for each in complaints(page, "color-contrast")]
        page.set_viewport_size(PHONE)
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > PHONE["width"]:
            found.append((path, f"{wide} pixels wide"))
    assert not found, "\n".join(map(str, found))


def test_every_page_of_the_dashboard_can_be_read_by_everybody(dashboard: tuple[str, list[str]], visit: Visit):
    home, paths = dashboard
    visitor = visit(home)
    check("dashboard", visitor, visitor.tab(), paths)
    lost = visit(home)
    lost.expected.append("404")  # the browser notes that they were not found
    check("missing", lost, lost.tab(), ["/streams/nobody", f"/nothing/{LONG}", "/messages/nobody"])


def test_every_page_of_the_todo_application_can_be_read_by_everybody(todo: str, visit: Visit):
    page = (visitor := visit(todo)).tab()
    assert complaints(page) == []
    check("todo", visitor, page, todo_pages(page))


# -- on a phone


def test_on_a_phone_it_is_seen_where_somebody_is_and_what_they_can_do(dashboard: tuple[str, list[str]], visit: Visit):
    page = visit(dashboard[0], viewport=PHONE).tab()
    for room, buttons in (("/parked", ("Retry", "Skip")), ("/scheduled", ("Now", "Cancel")), ("/schemas", ())):
        page.goto(dashboard[0] + room)
        for seen in (
            page.get_by_role("navigation").locator("[aria-current]"),
            *(page.locator("table").get_by_role("button", name=name).first for name in buttons),
        ):
            box = seen.bounding_box()
            assert box
            assert (box["x"] >= 0, box["x"] + box["width"] <= PHONE["width"]) == (True, True), (room, box)


# -- with a keyboard


def focused(page: Page) -> Any:
    return page.locator(":focus")


def test_everything_can_be_reached_and_done_with_a_keyboard(dashboard: tuple[str, list[str]], visit: Visit):
    page = visit(dashboard[0]).tab("/groups")
    expect(page.locator("html[data-live]")).to_be_visible()
    page.keyboard.press("Tab")
    expect(focused(page)).to_have_text("To the content")
    expect(focused(page)).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.wait_for_url("**#main")
    page.keyboard.press("Tab")
    expect(page.locator("main :focus")).to_have_count(1)
    reset = page.locator("#group-Shelf").get_by_role("button", name="Reset")
    for _ in range(40):
        if page.evaluate("document.activeElement.textContent") == "Reset" and page.evaluate(
            "document.activeElement.closest('#group-Shelf') !== null"
        ):
            break
        page.keyboard.press("Tab")
    expect(reset).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    modal = page.get_by_role("dialog")
    expect(modal).to_be_visible()
    expect(modal.locator(":focus")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(modal).to_be_hidden()
    expect(reset).to_be_focused()


def test_the_todo_application_is_used_with_a_keyboard_alone(todo: str, visit: Visit):
    page = visit(todo).tab()
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("Ann")
    page.keyboard.press("Enter")
    page.get_by_label("Name of the new list").focus()
    page.keyboard.type("Keys")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Keys").press("Enter")
    expect(page.get_by_role("link", name="list_named")).to_be_visible()
    field = page.get_by_label("What is to be done")
    for text in ("Rake", "Sweep"):
        field.focus()
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        expect(field).to_have_value("")
    expect(page.locator(".items li")).to_have_count(2)
    page.get_by_role("checkbox", name="Rake").press("Space")
    expect(page.locator("li.done")).to_have_count(1)
    expect(page.get_by_role("checkbox", name="Rake")).to_be_focused()  # what came from the server took nothing away
    page.locator(".items li").nth(1).get_by_role("button", name="Move up").press("Enter")
    expect(page.get_by_label("Text of the item").first).to_have_value("Sweep")
    changed = page.get_by_label("Text of the item").first
    changed.fill("Sweep the yard")
    changed.press("Enter")
    expect(page.get_by_role("link", name="item_text_changed")).to_be_visible()
