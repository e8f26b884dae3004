"""Before anything is done it is told in sentences what would be done; what cannot be done says why, and what to do."""

from datetime import timedelta

import pytest

from sourced import Sourced
from sourced.audit import OPERATIONS
from sourced.dashboard import dashboard
from sourced.store import Straggler
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem, Cart, ItemAdded, Products
from tests.dashboard.asking import Caller, text_of


@pytest.fixture
def app() -> Sourced:
    app = Sourced(clock=VirtualClock())
    app.register(Cart, Products)
    for _ in range(3):
        app.append("cart-1", ItemAdded("tea", 1))
    app.drain()
    return app


@pytest.fixture
def caller(app: Sourced) -> Caller:
    caller = Caller(dashboard(app))
    caller.see("/")
    return caller


def asked(caller: Caller, **form: object) -> str:
    answer = caller.send("/act", **form)
    assert answer.status == 200, answer.page
    told = text_of(answer.page)
    return told[told.index("Are you sure? ") : told.index(" Why?")].rpartition("Are you sure? ")[2]


WOULD = "This is what would be done: "


def test_groups(app: Sourced, caller: Caller):
    name = Products.group
    assert asked(caller, act="stop", group=name) == (
        f"Stop {name} {WOULD}Nothing more is handed to it until somebody starts it again. Nothing waits for it."
    )
    assert asked(caller, act="start", group=name) == (f"Start {name} {WOULD}It runs already. Nothing waits for it.")
    assert asked(caller, act="reset", group=name) == (
        f"Reset {name} {WOULD}3 messages are delivered to it again, as a replay: nothing is sent twice."
    )
    assert asked(caller, act="rebuild", group=name) == (
        f"Rebuild {name} {WOULD}Its rows are built anew of 3 messages, beside those that are read until then. "
        "Nothing is sent, and the old rows are kept."
    )
    app.groups.stop(name)
    app.append("cart-1", ItemAdded("tea", 1))
    assert "It goes on where it was. 1 message waits for it." in asked(caller, act="start", group=name)
    assert "It is stopped already; it gets the new reason." in asked(caller, act="stop", group=name)


def test_what_is_scheduled(app: Sourced, caller: Caller):
    one = app.dispatch(AddItem("tea"), to="cart-1", after=timedelta(hours=1))
    due = app.scheduled.list()[0].at.strftime("%Y-%m-%d %H:%M:%S UTC")
    assert asked(caller, act="cancel", message=one.id) == (
        f"Cancel what is scheduled {WOULD}1 message is taken off the schedule, and never sent: "
        f"shop.add_item for cart-1, due {due}"
    )
    assert "It is not scheduled any more: nothing would be done." in asked(caller, act="cancel", message="gone")
    assert "Send now This is what would be done: 1 message is sent at once, and not when due:" in asked(
        caller, act="run_now", message=one.id
    )


def test_what_is_parked(app: Sourced, caller: Caller):
    assert "Nothing is parked like that any more: nothing would be done." in asked(caller, act="retry")
    rows = [
        Straggler(Cart.group, f"cart-{number:02}", 1, attempts=1, parked=True, error="ValueError: no", message_id="m")
        for number in range(12)
    ]
    app.store.transact(app.store.straggle(rows))
    told = asked(caller, act="retry")
    assert f"Retry {WOULD}12 streams are handed to workers again, with all attempts:" in told
    assert told.count(f"{Cart.group}: cart-0") == 10
    assert told.endswith("and 2 more")
    told = asked(caller, act="retry", group=Cart.group, stream="cart-07")
    assert told == (
        f"Retry {WOULD}1 stream is handed to workers again, with all attempts: {Cart.group}: cart-07#1, ValueError: no"
    )
    assert asked(caller, act="skip", group=Cart.group, stream="cart-07", seq=1) == (
        f"Skip cart-07#1 {WOULD}{Cart.group} will never handle this message; what waits behind it goes on. "
        "It failed with ValueError: no"
    )


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"act": "dance"}, "expected an act such as retry, found 'dance'; nothing was done"),
        ({"act": "stop"}, "this form does not say which group it is about; load the page anew and try again"),
        ({"act": "stop", "group": "nobody"}, "no group named 'nobody'"),
        ({"act": "skip", "group": Cart.group, "stream": "cart-1", "seq": "x"}, "a whole number as seq, found 'x'"),
        ({"act": "skip", "group": Cart.group, "stream": "cart-1", "seq": 1}, "stream 'cart-1' is not parked for group"),
        ({"act": "cancel_run", "run": "r1"}, "'r1' is no run of a workflow that is registered here"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_says_why(app: Sourced, caller: Caller, form: dict[str, object], said: str):
    for confirmed in ({}, {"confirmed": 1, "reason": "why not"}):
        answer = caller.send("/act", **form, **confirmed)
        assert answer.status == 422
        assert "That was not done" in answer.page
        assert said in text_of(answer.page)
    assert app.history(OPERATIONS) == []
