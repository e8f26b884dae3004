"""The room of groups: those that somebody looks for, among however many there are."""

import re

import pytest

from sourced import Event, Message, Sourced
from sourced.dashboard import dashboard
from tests.dashboard.asking import Caller, text_of


class Happened(Event):
    n: int


@pytest.fixture
def app() -> Sourced:
    app = Sourced()
    for number in range(60):
        handle = app.on(Happened, group=f"mail {number:02}/ü")
        handle(heard)
    app.append("s", Happened(1))
    app.drain()
    return app


def heard(event: Message[Happened]) -> None:
    """And that is all."""


@pytest.fixture
def caller(app: Sourced) -> Caller:
    return Caller(dashboard(app))


def shown(page: str) -> list[str]:
    return [name[5:7] for name in re.findall(r'id="group-([^"]*)"', page)]


def test_groups_come_a_page_at_a_time(caller: Caller):
    first = caller.see("/groups")
    assert shown(first) == [f"{number:02}" for number in range(50)]
    (further,) = re.findall(r'rel="next" href="([^"]*)"', first)
    assert shown(caller.see(further)) == [f"{number:02}" for number in range(50, 60)]
    assert shown(caller.live(further.replace("/groups?", "/groups/updates?"))) == shown(caller.see(further))


def test_they_are_found_by_name_and_by_how_they_are_doing(app: Sourced, caller: Caller):
    app.groups.stop("mail 07/ü")
    app.append("s", Happened(2))
    assert shown(caller.see("/groups?name=MAIL+0")) == [f"{number:02}" for number in range(10)]
    assert shown(caller.see("/groups?doing=stopped")) == ["07"]
    page = caller.see("/groups?name=7&doing=behind")
    assert shown(page) == ["07", "17", "27", "37", "47", "57"]
    assert "all 6 behind 6 waiting 0 parked 0 stopped 1" in text_of(page)
    assert 'href="/groups?name=7&amp;doing=stopped"' in page
    assert "No group is parked." in caller.see("/groups?doing=parked")
    assert "No group that is called like that is here." in caller.see("/groups?name=nobody")


def test_an_act_leads_back_to_those_that_were_looked_at(caller: Caller):
    caller.see("/groups?doing=stopped")
    asked = caller.send("/act", {"referer": "http://localhost/groups?doing=stopped"}, act="stop", group="mail 07/ü")
    assert 'name="back" value="/groups?doing=stopped"' in asked.page


def test_what_waits_leads_to_its_group(app: Sourced, caller: Caller):
    app.groups.stop("mail 07/ü")
    assert 'href="/groups?name=mail%2007%2F%C3%BC"' in caller.see("/")
