"""What the rooms of the dashboard tell, and what can be done in them."""

import asyncio
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest

from sourced import Message, Park, Projector, Retry, Sourced, View, evolve
from sourced.audit import OPERATIONS
from sourced.dashboard import dashboard
from sourced.runtime.workers import worker
from sourced.store import Store, Straggler
from sourced.testing.shop import AddItem, Cart, ItemAdded, Products, Stock
from sourced.web.live import news
from tests.dashboard.asking import Caller, text_of
from tests.facts import PATIENCE

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def shop(store: Store) -> Sourced:
    app = Sourced(store)
    app.register(Cart, Stock, Products)
    return app


@pytest.fixture
def caller(shop: Sourced) -> Caller:
    return Caller(dashboard(shop))


# -- advice


def test_advice_names_the_app_so_that_it_can_be_copied(shop: Sourced):
    shop.append("cart-1", ItemAdded("tea", 1))
    for caller, name in (
        (Caller(dashboard(shop)), "module:app"),
        (Caller(dashboard(shop, target="my:shop")), "my:shop"),
    ):
        for page in ("/", "/groups", "/workers"):
            assert re.findall(r"sourced worker (\S+:\w+)", caller.see(page))[:1] == [name]


# -- streams


def test_streams_are_found_by_the_beginning_of_their_names_and_by_a_part_of_them(shop: Sourced, caller: Caller):
    for name in ("cart-1", "cart-12", "cart-2", "100%"):
        shop.append(name, ItemAdded("tea", 1))
    page = caller.see("/streams?name=cart-1")
    assert (">cart-1<" in page, ">cart-12<" in page, ">cart-2<" in page) == (True, True, False)
    page = caller.see("/streams?name=2&anywhere=1")
    assert (">cart-1<" in page, ">cart-12<" in page, ">cart-2<" in page) == (False, True, True)
    page = caller.see("/streams?name=2")
    assert "No stream is called like that" in page
    assert "/streams?name=2&anywhere=1" in page
    assert ">100%<" in caller.see("/streams?name=%25&anywhere=1")


def test_streams_are_found_page_by_page(shop: Sourced, caller: Caller):
    with shop.transaction() as tx:
        for number in range(101):
            tx.append(f"cart-{number:03}", ItemAdded("tea", 1))
    page = caller.see("/streams?name=cart")
    assert (page.count("/streams/cart-"), "after=cart-099" in page) == (100, True)
    page = caller.see("/streams?name=cart&after=cart-099")
    assert (page.count("/streams/cart-"), ">cart-100<" in page, 'rel="next"' in page) == (1, True, False)


# -- messages


def made_at(seconds: float, stream: str = "s", quantity: int = 1) -> Message[ItemAdded]:
    return Message.new(ItemAdded("tea", quantity), stream=stream, now=NOON + timedelta(seconds=seconds))


def test_messages_of_a_time_are_found_without_reading_what_came_before(shop: Sourced, caller: Caller):
    """Also those that were stored a little out of order."""
    for second in (0, 60, 118, 121, 119, 180, 240):
        shop.append("s", made_at(second, quantity=1_000 + second))
    page = caller.see("/messages?since=2026-01-01+12:01:00&until=2026-01-01+12:02:00")
    assert [each for each in (1000, 1060, 1118, 1119, 1121, 1180) if str(each) in page] == [1060, 1118, 1119]
    page = caller.see("/messages?since=2026-01-01+12:03:00&type=shop.item_added")
    assert [each for each in (1121, 1180, 1240) if str(each) in page] == [1180, 1240]
    assert "fits" in caller.see("/messages?until=2026-01-01+11:00:00")
    assert "fits" in caller.see("/messages?since=2026-01-01+13:00:00")


def test_who_reads_is_told_how_much_came_since_and_who_follows_sees_it(shop: Sourced, caller: Caller):
    shop.append("s", [ItemAdded("tea", 1)] * 2)
    assert 'sse-connect="/messages/updates?seen=2"' in caller.see("/messages")
    shop.append("s", ItemAdded("mug", 1))
    heard = text_of(caller.live("/messages/updates?seen=2"))
    assert ("Show 1 newer message " in heard, "mug" in heard) == (True, False)
    shop.append("s", [ItemAdded("cup", 1)] * 60)
    assert "Show 50 newer messages or more" in caller.live("/messages/updates?seen=2")
    assert "These are the newest" in caller.live("/messages/updates?seen=63")
    assert "These are the newest" in caller.live("/messages/updates?seen=2&type=shop.closed")
    page = caller.see("/messages?type=shop.item_added&follow=1")
    assert 'sse-connect="/messages/updates?type=shop.item_added&amp;follow=1"' in page
    assert "cup" in caller.live("/messages/updates?type=shop.item_added&follow=1")


def test_messages_of_one_stream_are_looked_for_in_it_alone(shop: Sourced, caller: Caller):
    with shop.transaction() as tx:
        for number in range(60):
            tx.append("s", ItemAdded("tea", 1_000 + number), metadata={"user": "ann" if number < 55 else "bob"})
            tx.append("other", ItemAdded("mug", 1))
    page = caller.see("/messages?stream=s&metadata=user%3Dann")
    assert (page.count("<tr id"), ":1054" in page, ":1004" in page, "before=6" in page) == (50, True, False, True)
    page = caller.see("/messages?stream=s&metadata=user%3Dann&before=6")
    assert (page.count("<tr id"), 'rel="next"' in page) == (5, False)


# -- a stream


def test_a_long_stream_is_looked_at_piece_by_piece(shop: Sourced, caller: Caller):
    with shop.transaction() as tx:
        tx.append("s", [ItemAdded("tea", number + 1) for number in range(200)])
    page = caller.see("/streams/s?at=100")
    assert text_of(page).count(" shop.item_added ") == 51  # the one looked at, and those around it in the history
    assert "5050" in page
    assert "4950" in page  # and before it


# -- parked


def test_what_queues_behind_a_parked_message_is_counted(shop: Sourced, caller: Caller):
    shop.append("s", [ItemAdded("tea", 1)] * 5)
    shop.drain()
    parked = Straggler(Products.group, "s", 2, attempts=4, parked=True, error="ValueError: no", message_id="m")
    shop.store.transact(shop.store.straggle([parked]))
    assert ">3<" in caller.see("/parked")


# -- rebuilds


class Kept(View):
    quantity: int = 0


def test_rows_are_built_anew_and_brought_back_and_both_is_told_in_the_log(shop: Sourced, caller: Caller):
    shop.append("s", [ItemAdded("tea", 2)] * 3)
    shop.drain()
    page = caller.see("/groups")
    assert ("Rebuild" in page, "Restore" in page) == (True, False)
    page = caller.send("/act", act="rebuild", group=Products.group).page
    assert "This is what would be done" in page
    assert shop.history(OPERATIONS) == []  # nothing has been done yet
    caller.send("/act", act="rebuild", group=Products.group, confirmed=1, reason="a bug")
    for thread in threading.enumerate():
        if thread.name == f"rebuild of {Products.group}":
            thread.join(PATIENCE)
    (rebuilt,) = shop.history(OPERATIONS)
    assert (rebuilt.type, rebuilt.payload.reason, rebuilt.payload.by) == (
        "sourced.group_rebuilt", "a bug", "dashboard@127.0.0.1",
    )  # fmt: skip
    assert "Restore" in caller.see("/groups")
    caller.send("/act", act="restore", group=Products.group, confirmed=1)
    assert shop.history(OPERATIONS)[-1].type == "sourced.group_restored"
    row = shop.views(Products).get("tea")
    assert row
    assert row.quantity == 6


class Broken(Projector[Kept], group="broken"):
    wrong = False

    @evolve
    def added(self, row: Kept, event: ItemAdded):
        if self.wrong:
            raise ValueError("not like this")
        row.quantity += event.quantity


def test_a_rebuild_that_breaks_off_says_why(monkeypatch: pytest.MonkeyPatch):
    app = Sourced()
    app.register(Broken)
    app.append("s", ItemAdded("tea", 2))
    app.drain()
    monkeypatch.setattr(Broken, "wrong", True)
    caller = Caller(dashboard(app))
    caller.see("/groups")
    caller.send("/act", act="rebuild", group="broken", confirmed=1)
    for thread in threading.enumerate():
        if thread.name == "rebuild of broken":
            thread.join(PATIENCE)
    page = text_of(caller.see("/groups"))
    assert "broke off" in page
    assert "ValueError: not like this" in page


# -- a story


def test_how_long_handlers_took_is_seen_of_what_is_handled_here():
    app = Sourced(errors=Retry(times=0, then=Park()))
    app.register(Cart, Stock)
    caller = Caller(dashboard(app))
    caller.see("/")  # somebody looks
    command = app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    page = text_of(caller.see(f"/messages/{command.id}"))
    assert f"{Cart.group}: " in caller.see(f"/messages/{command.id}")
    assert page.count(" ms ") >= 4  # what was waited, and how long it took


def test_workers_tell_how_much_they_have_handled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "BEATS", 150)  # while a lease lasts, which is long
    app = Sourced()
    app.register(Cart, Stock)

    async def work() -> str:
        site = dashboard(app)
        async with app.running():
            for number in range(5):
                await app.aio.dispatch(AddItem("tea"), to=f"c{number}")
            async for _ in news(app, every=0.01):
                if any(each.handled >= 10 for each in await app.aio.workers()):
                    break
            return await asyncio.to_thread(Caller(site).see, "/workers")

    assert " ms" in text_of(asyncio.run(asyncio.wait_for(work(), PATIENCE)))
