"""The page “System”: the dashboard as a part of the TODO application."""

import pytest

from sourced import Sourced
from sourced.demo.app import todo
from sourced.demo.lists import TodoList
from sourced.demo.web import site
from tests.dashboard.asking import Caller


@pytest.fixture
def app() -> Sourced:
    return todo("memory://", {})


def logged_in(app: Sourced, name: str, **options: object) -> Caller:
    caller = Caller(site(app, secret="s", workers=False, **options))  # type: ignore[arg-type]
    assert caller.get("/system/").status == 303  # to the login, like every page
    caller.get("/")
    assert caller.send("/login", username=name).status == 303
    return caller


def test_whoever_is_logged_in_finds_the_system_and_may_act_in_their_name(app: Sourced):
    """TD2, TD21, TD23."""
    caller = logged_in(app, "Joe")
    assert 'href="/system/"' in caller.see("/")
    caller.see("/system/groups")
    caller.send("/system/act", act="stop", group=TodoList.group, confirmed=1, reason="for the night")
    group = app.groups.get(TodoList).group
    assert (group.status, group.reason, group.stopped_by) == ("stopped", "for the night", "Joe")
    assert 'href="/"' in caller.see("/system/parked")  # and the way back


def test_where_operators_are_named_the_others_only_look(app: Sourced):
    caller = logged_in(app, "Joe", operators=["Ann"])
    assert "Reset" not in caller.see("/system/groups")
    assert caller.send("/system/act", act="stop", group=TodoList.group, confirmed=1).status == 403
    assert app.groups.get(TodoList).status == "active"
    assert "Reset" in logged_in(app, "Ann", operators=["Ann"]).see("/system/groups")
