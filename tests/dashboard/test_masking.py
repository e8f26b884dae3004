"""What nobody may see is on no page, in no answer to a form and in no live update, wherever the app has it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from starlette.routing import Route

from sourced import Actor, Command, Event, Park, Retry, Sourced, Workflow, decide, evolve, step
from sourced.dashboard import dashboard
from tests.dashboard.asking import Caller

SECRET = "4242-4242-4242-4242"


class Pay(Command, type="masked.pay"):
    card: str
    cents: int = 100


class Paid(Event, type="masked.paid"):
    card: str
    cents: int


class Approved(Event, type="masked.approved"):
    card: str


@dataclass
class AccountState:
    id: str
    cards: list[dict[str, str]] = field(default_factory=list)


class Account(Actor[AccountState], group="masked.account"):
    snapshot_every = 2

    @decide
    def pay(self, account: AccountState, command: Pay):
        if command.cents < 0:
            raise ValueError("no such amount")
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


def masked(thing: object, plain: Any) -> Any:
    """By the names of fields, however deep."""
    if isinstance(plain, dict):
        return {key: "•••" if key == "card" else masked(thing, value) for key, value in plain.items()}
    return [masked(thing, each) for each in plain] if isinstance(plain, list) else plain


@pytest.fixture
def app() -> Iterator[Sourced]:
    """With the secret in commands, events, states, snapshots, metadata, steps, what is scheduled and what is parked."""
    with Sourced(errors=Retry(times=0, then=Park())) as app:
        app.register(Account, Charge)
        for _ in range(3):
            app.execute(Pay(SECRET), to="account-1", metadata={"card": SECRET})
        app.dispatch(Pay(SECRET, -1), to="account-2")
        app.dispatch(Pay(SECRET), to="account-1", after=timedelta(days=1))
        open_run, done = app.start(Charge, SECRET), app.start(Charge, SECRET)
        app.drain()
        app.signal(done.id, Approved(SECRET))
        app.drain()
        assert (open_run.status(), done.status()) == ("running", "completed")
        yield app


def links(page: str) -> set[str]:
    found = re.findall(r'(?:href|src|action|sse-connect|hx-get|hx-post)="(/[^"#]*)"', page)
    return {unescape(each) for each in found if not each.startswith("/static/")}


def test_what_nobody_may_see_is_on_no_page(app: Sourced):
    site = dashboard(app, mask=masked)
    caller, seen, waiting = Caller(site), set[str](), {"/"}
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
    visited = {path.partition("?")[0] for path in seen}
    missed = [
        each.path for each in site.routes if isinstance(each, Route) and not any(map(each.path_regex.match, visited))
    ]
    assert missed == []


def test_what_nobody_may_see_is_in_no_answer_to_a_form(app: Sourced):
    caller = Caller(dashboard(app, mask=masked))
    run = app.workflows.list(status="running")[0].id
    (waiting,) = app.scheduled.list()
    caller.see("/parked")
    for form in (
        {"act": "retry"}, {"act": "skip", "group": Account.group, "stream": "account-2", "seq": 1},
        {"act": "reset", "group": Account.group}, {"act": "stop", "group": Account.group},
        {"act": "cancel", "message": waiting.record.id}, {"act": "run_now", "message": waiting.record.id},
    ):  # fmt: skip
        answer = caller.send("/act", **form)
        assert (answer.status, "This is what would be done" in answer.page) == (200, True), form
        assert SECRET not in answer.page
    answer = caller.send("/would/account-1", command="masked.pay", at=2, card="another", cents=7)
    assert answer.status == 200
    assert "It would yield" in answer.page
    assert "As a test" not in answer.page  # it would be made of what happened, word for word
    assert answer.page.count("another") == 1  # in the field it was typed into
    assert SECRET not in caller.see(f"/runs/{run}")


def test_without_a_mask_it_is_there_to_be_seen(app: Sourced):
    """Which is what makes the other tests worth something."""
    caller = Caller(dashboard(app))
    for path in ("/messages", "/streams/account-1", "/scheduled"):
        assert SECRET in caller.see(path), path
