"""What nobody may see is on no page, in no answer to a form and in no live update, wherever the app has it."""

import re
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import Any

import msgspec
import pytest
from starlette.routing import Route

from sourced import (
    Actor,
    Command,
    Event,
    Park,
    Projector,
    Rejection,
    Retry,
    Sourced,
    Stop,
    View,
    Workflow,
    decide,
    evolve,
    step,
)
from sourced.audit import OPERATIONS
from sourced.dashboard import dashboard
from sourced.dashboard.veil import Veil, class_only, places_only
from sourced.store import Straggler
from tests.dashboard.asking import Caller, typed
from tests.facts import PATIENCE

SECRET = "4242-4242-4242-4242"


class Pay(Command, type="masked.pay"):
    card: str
    cents: int = 100


class Paid(Event, type="masked.paid"):
    card: str
    cents: int


class Approved(Event, type="masked.approved"):
    card: str


class PaymentRefused(Exception):
    """Its message repeats what was to be handled, as they do."""


class NothingToPay(Rejection):
    """There is nothing to pay."""


@dataclass
class AccountState:
    id: str
    cards: list[dict[str, str]] = field(default_factory=list)


class Account(Actor[AccountState], group="masked.account"):
    snapshot_every = 2

    @decide
    def pay(self, account: AccountState, command: Pay):
        if command.cents < 0:
            raise PaymentRefused(f"{command.card}: refused.\nThe card {command.card} is not known")
        if command.cents == 0:
            raise NothingToPay(command.card, *(each["card"] for each in account.cards))
        yield Paid(command.card, command.cents)

    @evolve
    def paid(self, account: AccountState, event: Paid):
        account.cards.append({"card": event.card})


class Charge(Workflow, name="masked_charge"):
    async def run(self, card: str) -> dict[str, str]:
        await self.check(card)
        await self.wait_for(Approved)
        return {"card": card}

    @step
    def check(self, card: str) -> dict[str, str]:
        return {"card": card}


class Bill(Workflow, name="masked_bill"):
    async def run(self, card: str) -> None:
        await self.check(card)

    @step(retries=0)
    def check(self, card: str) -> None:
        raise PaymentRefused(f"{card} refused")


class Receipt(View):
    sent: int = 0


class Receipts(Projector[Receipt], group="masked.receipts"):
    errors = Retry(times=0, then=lambda failure: Stop(f"because of {failure.error}"))

    @evolve
    def paid(self, row: Receipt, event: Paid):
        if event.cents > 100:
            raise PaymentRefused(f"no receipt for {event.card}")
        row.sent += 1


class Ledger(Projector[Receipt], group="masked.ledger"):
    wrong = False

    @evolve
    def paid(self, row: Receipt, event: Paid):
        if self.wrong:
            raise PaymentRefused(f"no line for {event.card}")
        row.sent += 1


def masked(thing: object, plain: Any) -> Any:
    """By the names of fields, however deep."""
    if isinstance(plain, dict):
        return {key: "•••" if key == "card" else masked(thing, value) for key, value in plain.items()}
    return [masked(thing, each) for each in plain] if isinstance(plain, list) else plain


@pytest.fixture
def app() -> Iterator[Sourced]:
    """With the secret in commands, events, states, snapshots, metadata, steps, what is scheduled and what is parked.

    And in all that exceptions say: of deciders, refusals, steps, runs, projectors, policies and rebuilds.
    """
    with Sourced(errors=Retry(times=0, then=Park())) as app:
        app.register(Account, Charge, Bill, Receipts, Ledger)
        for _ in range(3):
            app.execute(Pay(SECRET), to="account-1", metadata={"card": SECRET})
        app.dispatch(Pay(SECRET, -1), to="account-2")
        app.dispatch(Pay(f"{SECRET}-1", -1), to="account-3")
        app.dispatch(Pay(SECRET, 0), to="account-4")
        app.dispatch(Pay(SECRET), to="account-1", after=timedelta(days=1))
        open_run, done, failed = app.start(Charge, SECRET), app.start(Charge, SECRET), app.start(Bill, SECRET)
        app.drain()
        app.signal(done.id, Approved(SECRET))
        app.drain()
        assert (open_run.status(), done.status(), failed.status()) == ("running", "completed", "failed")
        app.execute(Pay(SECRET, 200), to="account-5")
        app.drain()
        assert (app.groups.get(Receipts).status, len(app.parked.list())) == ("stopped", 2)
        reason, message = f"because of {SECRET}", app.history(open_run.id)[0]
        waits = Straggler(
            Charge.group, open_run.id, 1, attempts=1, parked=True, reason=reason, since=message.created_at,
            message_id=message.id,
        )  # fmt: skip
        error, soon = f"PaymentRefused: {SECRET}", message.created_at + timedelta(days=1)
        later = Straggler(Account.group, "account-6", 1, attempts=1, retry_at=soon, error=error)
        app.store.transact(app.store.straggle([waits, later]))
        yield app


def links(page: str) -> set[str]:
    found = re.findall(r'(?:href|src|action|sse-connect|hx-get|hx-post)="(/[^"#]*)"', page)
    return {unescape(each) for each in found if not each.startswith("/static/")}


def test_what_nobody_may_see_is_on_no_page(app: Sourced, monkeypatch: pytest.MonkeyPatch):
    site = dashboard(app, mask=masked)
    caller, seen, waiting = Caller(site), set[str](), {"/"}
    rebuild_in_vain(caller, monkeypatch)
    app.parked.retry(Account, "account-3")
    app.parked.skip(Account, "account-2", reason="it is of no use")  # both are told in the log, with the errors
    app.drain()
    visit(caller, waiting, seen)
    visited = {path.partition("?")[0] for path in seen}
    missed = [
        each.path for each in site.routes if isinstance(each, Route) and not any(map(each.path_regex.match, visited))
    ]
    assert missed == []


def rebuild_in_vain(caller: Caller, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "wrong", True)
    caller.see("/groups")
    caller.send("/act", act="rebuild", group=Ledger.group, confirmed=1)
    for thread in threading.enumerate():
        if thread.name == f"rebuild of {Ledger.group}":
            thread.join(PATIENCE)


def visit(caller: Caller, waiting: set[str], seen: set[str]) -> None:
    while waiting:
        path = waiting.pop()
        seen.add(path)
        if path.partition("?")[0].endswith("/updates"):
            page = caller.live(path)
        elif path.startswith("/would/"):
            page = caller.see(f"{path.partition('?')[0]}?command=masked.pay&at=2")
        elif path.endswith("/signal"):
            page = caller.see(f"{path}?message=masked.approved")
        else:
            answer = caller.get(path)
            assert answer.status in (200, 303, 405), (path, answer)
            page = answer.page
        assert SECRET not in page, path
        waiting |= links(page) - seen


def test_what_nobody_may_see_is_in_no_answer_to_a_form(app: Sourced):
    caller = Caller(dashboard(app, mask=masked))
    run = next(each.id for each in app.workflows.list(status="running"))
    (waiting,) = app.scheduled.list()
    caller.see("/parked")
    for form in (
        {"act": "retry"}, {"act": "retry", "group": Account.group, "error": "PaymentRefused: (masked)"},
        {"act": "skip", "group": Account.group, "stream": "account-2", "seq": 1},
        {"act": "reset", "group": Account.group}, {"act": "stop", "group": Account.group},
        {"act": "start", "group": Receipts.group}, {"act": "rebuild", "group": Receipts.group},
        {"act": "cancel", "message": waiting.record.id}, {"act": "run_now", "message": waiting.record.id},
        {"act": "cancel_run", "run": run},
    ):  # fmt: skip
        for headers in ({}, {"hx-request": "true"}):
            answer = caller.send("/act", headers, **form)
            assert (answer.status, "This is what would be done" in answer.page) == (200, True), (form, answer.page)
            assert SECRET not in answer.page
    answer = caller.send("/would/account-1", command="masked.pay", at=2, **typed(card="another", cents=7))
    assert answer.status == 200
    assert "It would yield" in answer.page
    assert "As a test" not in answer.page  # it would be made of what happened, word for word
    assert answer.page.count("another") == 1  # in the field it was typed into
    assert SECRET not in caller.see(f"/runs/{run}")


def test_what_an_actor_would_refuse_is_told_without_what_it_says(app: Sourced):
    caller = Caller(dashboard(app, mask=masked))
    caller.see("/")
    for cents, heading, kind in ((0, "It would refuse", "NothingToPay"), (-1, "It would fail", "PaymentRefused")):
        page = caller.send("/would/account-1", command="masked.pay", at=2, **typed(card="another", cents=cents)).page
        assert (heading in page, f"{kind}: (masked)" in page) == (True, True)
        assert (SECRET in page, page.count("another")) == (False, 1)


def test_what_failed_alike_is_one_cause_and_retried_together(app: Sourced):
    """Nobody is told why single ones failed, so they are told apart by nothing; the form gives nothing away either."""
    caller = Caller(dashboard(app, mask=masked))
    page = caller.see("/parked")
    assert page.count("PaymentRefused: (masked) <span") == 1
    assert "test_masking.py&#34;, line" in page  # the places are there
    assert "raise PaymentRefused" not in page  # and not what the source says there
    (cause,) = re.findall(r'name="cause" value="(PaymentRefused in pay [^"]*)"', page)
    answer = caller.send("/act", act="retry", group=Account.group, cause=cause, confirmed=1)
    assert answer.status == 303
    (retried,) = app.history(OPERATIONS)
    assert {each.stream for each in retried.payload.streams} == {"account-2", "account-3"}


def test_the_app_may_decide_itself_what_is_shown_of_what_exceptions_say(app: Sourced):
    hidden = Caller(dashboard(app, mask=masked, mask_errors=lambda text: text.replace(SECRET, "•••")))
    page = unescape(hidden.see("/parked"))
    assert "PaymentRefused: •••: refused." in page
    assert "raise PaymentRefused(f" in page
    assert SECRET not in page
    shown = Caller(dashboard(app, mask=masked, mask_errors=str))
    assert f"PaymentRefused: {SECRET}: refused." in shown.see("/parked")
    alone = Caller(dashboard(app, mask_errors=lambda text: "no word"))
    assert SECRET in alone.see("/messages")
    assert "no word" in alone.see("/parked")


def test_nobody_finds_by_metadata_what_they_may_not_see(app: Sourced):
    """Or whoever guesses is told that they are right."""
    link = "/messages?metadata=card%3D{}&type=masked.paid"
    caller = Caller(dashboard(app, mask=masked))
    assert "Nothing that was looked through fits" in caller.see(link.format(SECRET))
    assert caller.see(link.format("%E2%80%A2" * 3)).count("<tr id=") == 3
    assert Caller(dashboard(app)).see(link.format(SECRET)).count("<tr id=") == 3


def test_without_a_mask_it_is_there_to_be_seen(app: Sourced, monkeypatch: pytest.MonkeyPatch):
    """Which is what makes the other tests worth something."""
    caller = Caller(dashboard(app))
    rebuild_in_vain(caller, monkeypatch)
    run, failed = app.workflows.list(status="running")[0].id, app.workflows.list(status="failed")[0].id
    for path in (
        "/", "/groups", "/messages", "/streams/account-1", "/streams/account-4", "/scheduled", "/parked", "/workflows",
        f"/runs/{run}", f"/runs/{failed}",
    ):  # fmt: skip
        assert SECRET in caller.see(path), path
    for path in ("/updates", "/groups/updates", "/workflows/updates", f"/runs/{failed}/updates"):
        assert SECRET in caller.live(path), path
    page = unescape(caller.see("/groups"))
    assert f"because of no receipt for {SECRET}" in page
    assert f"could not be projected: PaymentRefused: no line for {SECRET}" in page
    for form in ({"act": "retry"}, {"act": "skip", "group": Account.group, "stream": "account-2", "seq": 1}):
        assert SECRET in caller.send("/act", **form).page, form
    assert SECRET in caller.send("/would/account-1", command="masked.pay", at=2, **typed(card="another", cents=0)).page


# -- tracebacks


def test_of_a_traceback_places_and_classes_are_kept():
    def fail() -> None:
        try:
            raise ValueError(f"one {SECRET}\nanother {SECRET}: no")
        except ValueError as error:
            error.add_note(f"{SECRET} once more")
            raise PaymentRefused(SECRET) from error

    with pytest.raises(PaymentRefused) as refused:
        fail()
    several = ExceptionGroup(SECRET, [refused.value, KeyError(SECRET), ValueError()])
    said = places_only("".join(traceback.format_exception(several)))
    assert SECRET not in said
    assert "raise " not in said
    kinds = re.findall(r"^\W*([\w.]*(?:Group|Refused|Error)\b.*)$", said, re.MULTILINE)
    assert kinds == [
        "ExceptionGroup: (masked)", "ValueError: (masked)", f"{__name__}.PaymentRefused: (masked)",
        "KeyError: (masked)", "ValueError: (masked)",
    ]  # fmt: skip
    assert re.findall(r"line \d+, in (\w+)", said).count("fail") == 2
    assert "direct cause" in said


def test_what_is_no_exception_is_masked_as_a_whole(app: Sourced):
    assert class_only(f"{SECRET}: refused") == class_only(SECRET) == "(masked)"
    assert class_only(f"PaymentRefused: {SECRET}: no") == "PaymentRefused: (masked)"
    (waits,) = app.scheduled.list()
    assert Veil(masked).scheduled(msgspec.structs.replace(waits, error=f"Oh: {SECRET}")).error == "(masked)"
