"""The dashboard in a real browser: what waits and why, time travel, stories, and everything people can do about it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from sourced import Sourced
from tests.browser.conftest import Start, Visitor
from tests.browser.shop import Cart, Order, Refund, Shelf, made

Visit = Callable[..., Visitor]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shelf is broken as long as this file is there."""
    monkeypatch.setenv("SHOP_BROKEN", str(tmp_path / "broken"))
    return tmp_path / "broken"


@pytest.fixture
def shop(url: str, broken: Path) -> Iterator[Sourced]:
    """The same app as the dashboard looks at, in another process."""
    with made(url) as app:
        yield app


@pytest.fixture
def home(shop: Sourced, url: str, start: Start) -> str:
    return start("ui", "tests.browser.shop:app", "--port", 0, SHOP=url)


def follow(page: Page, link: str) -> None:
    """To a page that answers: until its scripts are there, a form is sent as browsers do it by themselves."""
    with page.expect_event("load"):
        page.get_by_role("link", name=link, exact=True).click()


def do_it(page: Page, why: str = "") -> None:
    """What the modal asks about; then the page is loaded anew."""
    modal = page.get_by_role("dialog")
    if why:
        modal.get_by_label("Why?").fill(why)
    with page.expect_event("load"):
        modal.get_by_role("button", name="Do it").click()


def card(page: Page, text: str) -> Any:
    return page.locator("section.card").filter(has_text=text)


def test_what_is_parked_is_mended_and_retried(home: str, shop: Sourced, broken: Path, visit: Visit):
    broken.touch()
    for n in range(3):
        shop.execute(Order("tea"), to=f"cart-{n}")
    shop.execute(Order("mug"), to="cart-1")
    shop.drain()
    page = (visitor := visit(home)).tab()
    expect(page.get_by_role("status")).to_contain_text("stream 'shelf-")
    visitor.show(page, "dashboard-overview")
    follow(page, "2 parked")
    causes = card(page, "ValueError: the shelf is broken")
    expect(causes.get_by_text("2 streams")).to_be_visible()
    expect(page.get_by_role("row", name="shelf-tea")).to_contain_text("2")  # that queue behind it
    visitor.show(page, "dashboard-parked")
    broken.unlink()
    causes.get_by_role("button", name="Retry all of these").click()
    modal = page.get_by_role("dialog")
    expect(modal).to_contain_text("2 streams are handed to workers again")
    assert len(shop.parked.list()) == 2  # nothing has been done yet
    do_it(page, "glued")
    expect(page.get_by_text("Nothing is parked")).to_be_visible()
    shop.drain()
    assert shop.load(Shelf, "shelf-tea").state == ["tea"] * 3
    page.goto(f"{home}/messages?type=sourced.parked_retried")
    expect(page.get_by_role("row", name="glued")).to_contain_text("dashboard@127.0.0.1")


def test_a_parked_message_is_skipped_with_a_reason_only(home: str, shop: Sourced, broken: Path, visit: Visit):
    broken.touch()
    shop.execute(Order("tea"), to="cart-1")
    shop.drain()
    page = visit(home).tab("/parked")
    page.get_by_role("button", name="Skip").click()
    modal = page.get_by_role("dialog")
    modal.get_by_role("button", name="Do it").click()
    expect(modal.get_by_label("Why?")).to_be_focused()  # the browser asks for it
    do_it(page, "it was a test")
    expect(page.get_by_text("Nothing is parked")).to_be_visible()
    shop.drain()
    assert shop.load(Shelf, "shelf-tea").state == []


def test_a_group_is_stopped_reset_and_started_after_a_look_at_what_that_means(
    home: str, shop: Sourced, visit: Visit
):  # fmt: skip
    for _ in range(3):
        shop.execute(Order("tea"), to="cart-1")
    shop.drain()
    page = (visitor := visit(home)).tab("/groups")
    cart = page.locator("#group-Cart")
    expect(cart).to_contain_text("Up to date")
    cart.get_by_role("button", name="Reset").click()
    modal = page.get_by_role("dialog")
    expect(modal).to_contain_text("6 messages are delivered to it again")
    visitor.show(page, "dashboard-reset")
    modal.get_by_role("link", name="Leave it").click()
    assert shop.groups.get(Cart).group.epoch == 0
    cart.get_by_role("button", name="Stop").click()
    do_it(page, "stocktaking")
    expect(cart.get_by_text("stopped", exact=True)).to_be_visible()
    expect(cart).to_contain_text("stocktaking")
    cart.get_by_role("button", name="Reset").click()
    do_it(page)
    expect(cart).to_contain_text("behind")
    cart.get_by_role("button", name="Start").click()
    do_it(page)
    expect(cart.get_by_text("active", exact=True)).to_be_visible()
    assert (shop.groups.get(Cart).group.epoch, shop.groups.get(Cart).status) == (1, "active")


def test_what_comes_is_seen_as_it_comes(home: str, shop: Sourced, visit: Visit):
    page = visit(home).tab("/messages")
    page.get_by_role("link", name="Follow", exact=True).click()
    expect(page.locator("html[data-live]")).to_be_visible()
    shop.execute(Order("tea"), to="cart-1")
    expect(page.get_by_role("link", name="cart-1#2")).to_be_visible()
    shop.execute(Order("mug"), to="cart-1")
    expect(page.locator("tbody tr").first).to_contain_text('"mug"')
    page.get_by_role("link", name="Stop following").click()
    expect(page.get_by_role("status")).to_have_text("These are the newest.")


def test_what_comes_while_somebody_reads_is_announced_and_shown_when_they_want_it(
    home: str, shop: Sourced, visit: Visit
):  # fmt: skip
    shop.execute(Order("tea"), to="cart-1")
    page = visit(home).tab("/messages?type=ordered")
    expect(page.locator("html[data-live]")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("These are the newest.")
    shop.execute(Order("mug"), to="cart-1")
    expect(page.get_by_role("link", name="Show 1 newer message", exact=True)).to_be_visible()
    page.locator("#newer").focus()
    shop.execute(Order("cup"), to="cart-1")
    newer = page.get_by_role("link", name="Show 2 newer messages")
    expect(newer).to_be_focused()  # what came took nothing away
    expect(page.locator("tbody tr")).to_have_count(1)
    newer.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.get_by_role("status")).to_have_text("These are the newest.")
    assert page.url == f"{home}/messages?type=ordered"


def test_messages_are_found_by_type_time_and_metadata_and_page_by_page(home: str, shop: Sourced, visit: Visit):
    for n in range(60):
        shop.execute(Order("tea", n + 1), to=f"cart-{n % 2}", metadata={"user": "ann" if n % 10 == 0 else "bob"})
    page = visit(home).tab()
    page.get_by_role("link", name="Messages", exact=True).click()
    page.get_by_label("Type").fill("ordered")
    page.get_by_label("Metadata").fill("user=ann")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(6)
    assert "type=ordered" in page.url
    page.goto(page.url)  # all of it is in the address
    expect(page.get_by_label("Metadata")).to_have_value("user=ann")
    page.goto(f"{home}/messages?type=order")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(page.locator("tbody tr")).to_have_count(10)
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    later = (shop.read_all()[-1].created_at + timedelta(seconds=1)).strftime("%Y-%m-%d %H:%M:%S")
    page.goto(f"{home}/messages?since={later}")
    expect(page.get_by_text("Nothing that was looked through fits")).to_be_visible()
    page.goto(f"{home}/messages?since=yesterday")
    expect(page.get_by_text("expected a time such as")).to_be_visible()
    page.goto(f"{home}/messages?stream=cart-1")
    expect(page.get_by_role("heading", name="cart-1")).to_be_visible()


def test_a_state_is_looked_at_as_it_was_and_what_changed_it(home: str, shop: Sourced, visit: Visit):
    for item in ("tea", "tea", "mug"):
        shop.execute(Order(item, 2), to="cart/1 ä")
    page = (visitor := visit(home)).tab("/streams")
    follow(page, "cart/1 ä")
    expect(page.get_by_text("6 of 6 messages")).to_be_visible()
    expect(page.locator(".changes tbody tr")).to_have_text(["items.mug2"], use_inner_text=False)
    expect(page.locator(".state")).to_contain_text('"tea": 4')
    visitor.show(page, "dashboard-time-machine")
    page.get_by_role("slider", name="Seq").fill("4")
    page.wait_for_url("**?at=4")
    expect(page.locator(".changes tbody tr")).to_contain_text("items.tea")
    expect(page.locator(".changes del")).to_have_text("2")
    expect(page.locator(".changes ins")).to_have_text("4")
    expect(page.get_by_text("snapshot at")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**?at=3")
    expect(page.get_by_text("This message changed nothing here")).to_be_visible()
    page.goto(f"{page.url.partition('?')[0]}?at=99")
    assert page.url.endswith("?at=6")


def test_what_an_actor_would_decide_is_tried_and_becomes_a_test(home: str, shop: Sourced, visit: Visit):
    shop.execute(Order("tea", 2), to="cart-1")
    before = shop.status().position
    page = visit(home).tab("/streams/cart-1?at=2")
    page.get_by_label("What would it decide now?").select_option("order")
    page.get_by_role("button", name="Try").click()
    modal = page.get_by_role("dialog")
    modal.get_by_label("item").fill("mug")
    modal.get_by_label("quantity").fill("none")
    modal.get_by_role("button", name="Decide").click()
    expect(modal.locator(".complaint")).to_contain_text("Expected")
    modal.get_by_label("quantity").fill("3")
    modal.get_by_role("button", name="Decide").click()
    expect(modal.locator("pre").first).to_contain_text('"quantity": 3')
    test = modal.locator("#scenario").text_content()
    modal.get_by_label("item").fill("unicorn")
    modal.get_by_role("button", name="Decide").click()
    expect(modal).to_contain_text("SoldOut: There is none left: unicorn")
    refused = modal.locator("#scenario").text_content()
    assert shop.status().position == before
    for written in (test, refused):
        scope: dict[str, Any] = {}
        exec(str(written), scope)
        scope["test_order"]()


def test_a_story_is_told_across_streams(home: str, shop: Sourced, visit: Visit):
    decision = shop.execute(Order("tea"), to="cart-1")
    shop.drain()
    page = (visitor := visit(home)).tab(f"/messages/{decision.events[0].id}")
    expect(page.locator(".story tbody tr")).to_have_count(4)
    expect(page.locator(".story .here")).to_contain_text("ordered")
    expect(page.locator(".story tbody tr").last).to_contain_text("shelf-tea#2")
    visitor.show(page, "dashboard-story")
    (other := visit(home)).expected.append("404")  # the browser notes that it was not found
    expect(other.tab("/messages/nobody").get_by_text("No message")).to_be_visible()


def test_what_is_scheduled_is_sent_now_or_not_at_all(home: str, shop: Sourced, visit: Visit):
    for item in ("tea", "mug"):
        shop.dispatch(Order(item), to=f"cart-{item}", after=timedelta(hours=1))
    page = visit(home).tab("/scheduled")
    for item, button in (("tea", "Now"), ("mug", "Cancel")):
        page.get_by_role("row", name=f"cart-{item}").get_by_role("button", name=button).click()
        do_it(page)
        expect(page.get_by_role("row", name=f"cart-{item}")).to_have_count(0)
    shop.drain()
    assert shop.load(Cart, "cart-tea").state.items == {"tea": 1}
    assert shop.history("cart-mug") == []


def test_a_run_of_a_workflow_is_followed_signalled_forked_and_cancelled(home: str, shop: Sourced, visit: Visit):
    run, other = shop.start(Refund, 500), shop.start(Refund, 700)
    shop.drain()
    page = (visitor := visit(home)).tab("/workflows?status=running")
    expect(page.get_by_role("row", name=run.id)).to_contain_text("approved")
    follow(page, run.id)
    expect(page.get_by_role("row", name="check")).to_contain_text("completed")
    page.get_by_role("button", name="Write").click()
    modal = page.get_by_role("dialog")
    modal.get_by_label("by").fill("Ann")
    with page.expect_event("load"):
        modal.get_by_role("button", name="Send").click()
    expect(page.get_by_role("link", name="approved")).to_be_visible()
    shop.drain()
    expect(page.get_by_text("completed", exact=True).first).to_be_visible()
    assert run.result(timeout=0) == "500 for Ann"
    visitor.show(page, "dashboard-run")
    page.get_by_role("row", name="pay").get_by_role("button", name="Fork").click()
    with page.expect_event("load"):
        page.get_by_role("button", name="Do it").evaluate("each => { each.click(); each.click(); }")
    expect(page.get_by_text("forked from")).to_be_visible()
    assert len(shop.workflows.list()) == 3  # two clicks are one act
    page.goto(f"{home}/runs/{other.id}")
    page.get_by_role("button", name="Cancel").click()
    do_it(page, "by mistake")
    shop.drain()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()
    expect(page.get_by_text("by mistake", exact=True)).to_be_visible()
    assert other.status() == "cancelled"


def test_messages_are_explained(home: str, visit: Visit):
    page = visit(home).tab("/schemas")
    ordered = page.locator("#ordered")
    expect(ordered.get_by_text("Answered by Cart")).to_be_visible()
    ordered.get_by_text("JSON Schema").click()
    expect(ordered.locator("pre")).to_contain_text('"quantity"')
    page.get_by_role("link", name="Topology").click()
    picture = page.get_by_role("img", name="Who makes what").element_handle()
    page.wait_for_function("picture => picture.naturalWidth > 300", arg=picture)


def test_without_scripts_every_page_is_there(home: str, shop: Sourced, broken: Path, visit: Visit):
    broken.touch()
    shop.execute(Order("tea"), to="cart-1")
    shop.drain()
    page = visit(home, java_script_enabled=False).tab()
    expect(page.get_by_role("status")).to_contain_text("shelf is broken")
    for room in ("Groups", "Messages", "Streams", "Scheduled", "Workflows", "Workers", "Topology", "Schemas", "Parked"):
        page.get_by_role("link", name=room, exact=True).click()
        expect(page.get_by_role("navigation").locator("[aria-current]")).to_have_text(room)
    page.goto(f"{home}/streams/cart-1")
    page.get_by_role("slider").fill("1")
    page.get_by_role("button", name="Go").click()
    page.wait_for_url("**/streams/cart-1?at=1")
    page.goto(f"{home}/parked")
    broken.unlink()
    page.get_by_role("button", name="Retry all").click()
    page.get_by_role("button", name="Do it").click()
    expect(page.get_by_text("Nothing is parked")).to_be_visible()
    assert shop.parked.list() == []


def test_on_a_phone_nothing_sticks_out_and_nothing_jumps(home: str, shop: Sourced, visit: Visit):
    shop.execute(Order("tea"), to="cart-1")
    page = (visitor := visit(home, viewport={"width": 360, "height": 740})).tab()
    for path, grown, known, share in (
        ("/", "{} messages in", 0, 1), ("/groups", "{} messages behind", 0, 2),  # the events, and not the commands
        ("/messages", "Show {} newer messages", 14, 1),
    ):  # fmt: skip
        assert not known or known == shop.status().position
        page.goto(home + path)
        page.evaluate("""() => {
            window.shifted = 0;
            new PerformanceObserver((seen) => { for (const each of seen.getEntries()) window.shifted += each.value; })
              .observe({type: "layout-shift"});
        }""")
        expect(page.locator("html[data-live]")).to_be_visible()
        for _ in range(3):
            shop.execute(Order("tea"), to="cart-1")
            count = (shop.status().position - known) // share
            expect(page.locator("main").get_by_text(grown.format(count)).first).to_be_visible()
        assert page.evaluate("window.shifted") < 0.02, path
    for room in ("/", "/groups", "/messages", "/streams/cart-1", "/schemas"):
        page.goto(home + room)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, room
    visitor.show(page, "dashboard-phone")
