"""Addresses that lead nowhere say what was asked for, and where to go on from there."""

import pytest

from sourced import Actor, Command, Event, Sourced, decide, evolve
from sourced.dashboard import dashboard
from sourced.demo.app import todo
from sourced.demo.web import site
from sourced.errors import Unavailable
from sourced.testing.shop import AddItem, Cart
from tests.dashboard.asking import Caller, text_of


@pytest.fixture
def app() -> Sourced:
    app = Sourced()
    app.register(Cart)
    app.execute(AddItem("tea"), to="a?b/c#d")
    return app


MISSING = [
    ("/nothing/here", "Nothing is at /nothing/here."),
    ("/groups/Cart", "Nothing is at /groups/Cart."),
    ("/streams/nobody", "Nothing is stored in a stream called 'nobody'."),
    ("/messages/nobody", "No message 'nobody' is stored."),
    ("/runs/nobody", "There is no run 'nobody'."),
    ("/runs/nobody/updates", "There is no run 'nobody'."),
    ("/workflows?workflow=nobody", "No workflow 'nobody' is registered; those are: none."),
    ("/workflows?status=lost", "No run is 'lost'; they are running, completed, failed, cancelled."),
    ("/would/nobody?command=nothing", "No actor here decides 'nothing'; those that are decided: "),
    ("/static/nothing.css", "Nothing is at /static/nothing.css."),
]


@pytest.mark.parametrize("root", ["", "/sourced"])
@pytest.mark.parametrize(("path", "said"), MISSING)
def test_it_is_said_what_is_missing_in_the_frame_of_all_pages(app: Sourced, root: str, path: str, said: str):
    caller = Caller(dashboard(app), root=root)
    answer = caller.get(path)
    assert answer.status == 404
    assert said.replace("at /", f"at {root}/") in text_of(answer.page)
    assert f'href="{root}/groups"' in answer.page
    assert "Perhaps you look for" in answer.page


def test_it_leads_on_to_what_may_have_been_looked_for(app: Sourced):
    caller = Caller(dashboard(app))
    page = caller.get("/streams/a%3F").page
    assert 'href="/streams?name=a%3F"' in page
    assert 'href="/streams?name=a%3F&amp;anywhere=1"' in page
    assert "a?b/c#d" in caller.see("/streams?name=a%3F")
    assert 'href="/streams?name=lost&amp;anywhere=1"' in caller.get("/lost").page
    assert 'href="/workflows"' in caller.get("/runs/x").page


def test_a_place_beyond_the_end_of_a_stream_leads_to_its_end_whatever_its_name(app: Sourced):
    answer = Caller(dashboard(app), root="/sourced").get(
        "/streams/a?b/c#d".replace("?", "%3F").replace("#", "%23") + "?at=9"
    )
    assert (answer.status, answer.headers["location"]) == (303, "/sourced/streams/a%3Fb%2Fc%23d?at=2")


def test_what_is_no_page_but_takes_forms_says_so(app: Sourced):
    answer = Caller(dashboard(app)).get("/act")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "/act takes forms, and cannot be looked at." in text_of(answer.page)


@pytest.mark.parametrize("path", ["/<script>alert(1)</script>", "/streams/<script>", "/runs/<script>", "/messages/<b>"])
def test_what_is_in_an_address_is_text(app: Sourced, path: str):
    page = Caller(dashboard(app)).get(path).page
    assert "alert(1)" not in page.replace("&lt;script&gt;alert(1)", "").replace("%3Cscript%3Ealert%281%29", "")
    assert path[path.index("<") :] not in page


def test_in_a_modal_it_is_a_sentence_and_no_page(app: Sourced):
    answer = Caller(dashboard(app)).get("/would/a?command=nothing", **{"hx-request": "true"})
    assert answer.status == 422
    assert "No actor here decides 'nothing'" in text_of(answer.page)
    assert "<nav" not in answer.page


def test_only_those_who_may_look_are_told_what_is_missing(app: Sourced):
    assert Caller(dashboard(app), client="192.0.2.1").get("/nothing").status == 403


# -- pages that cannot be made


class Fill(Command, type="mishap.fill"):
    text: str


class Filled(Event, type="mishap.filled"):
    text: str


class Wrong(Actor[list[str]], group="mishap.wrong"):
    def initial(self, stream: str) -> list[str]:
        return []

    @decide
    def fill(self, lines: list[str], command: Fill):
        yield Filled(command.text)

    @evolve
    def filled(self, lines: list[str], event: Filled):
        raise ValueError(f"cannot take {event.text}")


def test_a_page_that_cannot_be_made_says_why_and_the_log_where(caplog: pytest.LogCaptureFixture):
    app = Sourced()
    app.register(Wrong)
    app.append("w", Filled("<b>ink</b>"))
    answer = Caller(dashboard(app)).get("/streams/w")
    assert answer.status == 500
    assert "ValueError: cannot take <b>ink</b> (the log of this process tells where)" in text_of(answer.page)
    assert "<b>ink" not in answer.page
    assert 'href="/groups"' in answer.page
    (record,) = (each for each in caplog.records if each.exc_info)
    assert record.getMessage() == "the dashboard could not make /streams/w"
    masked = Caller(dashboard(app, mask=lambda thing, plain: "•••")).get("/streams/w")
    assert (masked.status, "ValueError: (masked)" in masked.page, "ink" in text_of(masked.page)) == (500, True, False)


def test_while_the_store_is_away_the_page_says_so(app: Sourced):
    def mask(thing: object, plain: object) -> object:
        raise Unavailable("the vault", "it is being moved")

    caller = Caller(dashboard(app, mask=mask))
    assert caller.see("/groups")
    answer = caller.get("/messages")
    assert (answer.status, "the vault: it is being moved; nothing was changed" in answer.page) == (503, True)


# -- the TODO application


@pytest.mark.parametrize(
    ("path", "said", "status"),
    [
        ("/nothing", "Nothing is at /nothing.", 404),
        ("/lists/l9", "There is no list l9.", 404),
        ("/lists/l9/at/3", "There is no list l9.", 404),
        ("/messages/m9/story", "There is no message m9.", 404),
        ("/commands", "/commands takes forms, and cannot be looked at.", 405),
        ("/<script>", "Nothing is at /<script>.", 404),
    ],
)
def test_the_todo_application_says_what_is_missing(path: str, said: str, status: int):
    caller = Caller(site(todo("memory://", {}), secret="s", workers=False))
    caller.get("/")
    caller.send("/login", username="Joe")
    answer = caller.get(path)
    assert (answer.status, "<script>." in answer.page) == (status, False)
    assert said in text_of(answer.page)
    assert 'href="/"' in answer.page
