"""The TODO application, as people use it: in a real browser, on SQLite and on PostgreSQL."""

import http.client
import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Start, Visitor, starting
from tests.facts import PATIENCE

Visit = Callable[..., Visitor]
numbers = itertools.count(1)
LONG = "Prepare the whole house for the winter, from the cellar to the roof"


@pytest.fixture(scope="module")
def todo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One for all tests: each makes lists of its own."""
    with starting() as start:
        yield start("demo", "--port", 0, "--database", f"sqlite:///{tmp_path_factory.mktemp('todo')}/todo.db")


def log_in(visitor: Visitor, name: str) -> Page:
    page = visitor.tab()
    page.get_by_label("User name").fill(name)
    page.get_by_role("button", name="Log in").click()
    return page


def create_list(page: Page) -> str:
    name = f"List {next(numbers)}"
    page.get_by_label("Name of the new list").fill(name)
    page.get_by_role("button", name="Create list").click()
    with page.expect_event("load"):  # until its scripts are there, forms are sent as browsers do it by themselves
        page.get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("link", name="list_named")).to_be_visible()  # and nothing is under way any more
    return name


def row(page: Page, name: str) -> Any:
    """Of the table on the home page."""
    return page.get_by_role("row", name=name)


def add(page: Page, *texts: str) -> None:
    field = page.get_by_label("What is to be done")
    for text in texts:
        field.fill(text)
        field.press("Enter")
        expect(field).to_have_value("")


@contextmanager
def answered(page: Page) -> Iterator[None]:
    """Until the page has its answer, a form is not sent again; what came of it may be seen sooner."""
    page.evaluate("""() => {
        window.answered = new Promise((done) => addEventListener("htmx:afterRequest", () => done(), {once: true}));
    }""")
    yield
    page.evaluate("() => window.answered")


def item(page: Page, text: str) -> Any:
    return page.locator(".items li").filter(has=page.get_by_role("checkbox", name=text, exact=True))


def items(page: Page) -> Any:
    return page.locator(".items li [name=text]")


def expect_items(page: Page, *texts: str) -> None:
    expect(items(page)).to_have_count(len(texts))
    for at, text in enumerate(texts):
        expect(items(page).nth(at)).to_have_value(text)


def test_whoever_says_a_name_comes_in(todo: str, visit: Visit):
    """TD1, P253."""
    page = log_in(visit(todo), " ")
    expect(page.get_by_text("Please say a name")).to_be_visible()
    expect(page.get_by_label("User name")).to_have_class("wrong")
    page.get_by_label("User name").fill("Joe")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("logged in as Joe")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("User name")).to_be_visible()


def test_what_is_wrong_with_a_form_is_said_in_place(todo: str, visit: Visit):
    """TD8, TD9, P254."""
    page = log_in(visit(todo), "Joe")
    create_list(page)
    with page.expect_response("**/commands") as answer:
        page.get_by_role("button", name="Add").click()
    assert answer.value.status == 422
    expect(page.locator("#add-text-complaint")).to_contain_text("Expected")
    with page.expect_response("**/commands") as answer:
        add(page, "Milk")
    assert answer.value.status == 204
    expect(page.locator("#add-text-complaint")).to_be_empty()
    expect_items(page, "Milk")


def test_what_one_does_the_others_see_at_once(todo: str, visit: Visit):
    """TD13, TD16, P255."""
    here, there = visit(todo), visit(todo)
    ann, home = log_in(here, "Ann"), log_in(there, "Bob")
    garden = create_list(ann)
    bob = there.tab(ann.url.removeprefix(todo))
    create_list(other := log_in(visit(todo), "Eve"))
    add(ann, "Rake")
    expect_items(bob, "Rake")
    expect(row(home, garden)).to_contain_text("0/1")
    bob.get_by_role("checkbox", name="Rake").click()
    expect(ann.locator("li.done")).to_have_count(1)
    expect(row(home, garden)).to_contain_text("1/1")
    expect(row(home, garden)).to_contain_text("ann, bob")
    expect(other.locator(".items li")).to_have_count(0)
    here.show(ann, "todo-list")
    there.show(home, "todo-home")


def test_what_somebody_is_typing_is_left_alone_by_what_others_do(todo: str, visit: Visit):
    page = log_in(visitor := visit(todo), "Joe")
    create_list(page)
    add(page, "Milk")
    second = visitor.tab(page.url.removeprefix(todo))
    expect_items(second, "Milk")
    page.get_by_label("What is to be done").fill("half a sen")
    add(second, "Bread")
    expect_items(page, "Milk", "Bread")
    expect(page.get_by_label("What is to be done")).to_have_value("half a sen")
    expect(page.get_by_label("What is to be done")).to_be_focused()


def test_what_somebody_opened_to_read_it_stays_open(todo: str, visit: Visit):
    page = log_in(visitor := visit(todo), "Joe")
    create_list(page)
    expect(page.get_by_role("link", name="list_named")).to_be_visible()
    page.locator("#history details").last.locator("summary").click()
    add(visitor.tab(page.url.removeprefix(todo)), "Bread")
    expect_items(page, "Bread")
    expect(page.locator("#history details[open]")).to_have_count(1)
    expect(page.locator("#history pre").last).to_be_visible()


def test_whoever_is_not_heard_is_told_so(todo: str, visit: Visit):
    """The server away for a moment, a session that is over: no button does nothing in silence."""
    page = log_in(visitor := visit(todo), "Joe")
    create_list(page)
    visitor.expected += ["ERR_FAILED", "htmx:sendError", "htmx:afterRequest", "401"]
    trouble = page.locator("#trouble")
    page.route("**/commands", lambda route: route.abort())
    field = page.get_by_label("What is to be done")
    field.fill("Milk")
    with answered(page):
        field.press("Enter")
    expect(trouble).to_contain_text("The server cannot be reached.")
    page.unroute("**/commands")
    add(page, "Milk")
    expect_items(page, "Milk")
    expect(trouble).to_be_hidden()
    page.context.clear_cookies()
    field.fill("Bread")
    with answered(page):
        field.press("Enter")
    expect(trouble).to_contain_text("You are not logged in any more.")
    trouble.get_by_role("link", name="Load the page anew").click()
    expect(page.get_by_label("User name")).to_be_visible()


def test_texts_and_names_are_changed_where_they_stand(todo: str, visit: Visit):
    """TD5."""
    page = log_in(visit(todo), "Joe")
    create_list(page)
    add(page, "Milk")
    items(page).first.fill("Oat milk")
    page.get_by_role("heading", name="History").click()  # leaving the field sends it
    expect(page.get_by_role("link", name="item_text_changed")).to_have_count(1)
    items(page).first.fill("Soy milk")
    items(page).first.press("Escape")
    expect(items(page).first).to_have_value("Oat milk")
    page.get_by_label("Name of the list").fill(f"House {next(numbers)}")
    page.get_by_label("Name of the list").press("Enter")
    expect(page.get_by_role("link", name="list_named")).to_have_count(2)
    expect(page.get_by_role("link", name="edit_item")).to_have_count(1)
    expect(page.get_by_role("link", name="rename_list")).to_have_count(1)


def test_a_list_is_looked_at_as_it_was(todo: str, visit: Visit):
    """TD10, P256."""
    visitor = visit(todo)
    page = log_in(visitor, "Joe")
    create_list(page)
    add(page, "Milk", "Bread", "Tea")
    expect_items(page, "Milk", "Bread", "Tea")
    page.locator("#history li", has_text="item_added").last.locator(".seq").click()  # Milk's
    expect(page.get_by_text("how the list was")).to_be_visible()
    expect(page.locator(".items li")).to_have_text(["☐ Milk"], use_inner_text=True)
    expect(page.get_by_label("What is to be done")).to_have_count(0)
    seq = int(page.locator("#history .here .seq").inner_text())
    assert page.url.endswith(f"/at/{seq}")
    visitor.show(page, "todo-time-travel")
    now = visitor.tab(page.url.removeprefix(todo).split("/at/")[0])
    add(now, "Jam")
    expect(page.locator("#history li").first).to_contain_text("item_added")
    expect(page.get_by_role("heading", name="History")).to_contain_text(f"version {seq} of {seq + 6}")
    expect(page.locator(".items li")).to_have_count(1)
    page.get_by_role("link", name="One version on").click()
    page.wait_for_url(f"**/at/{seq + 1}")
    expect(page.locator("html[data-live]")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/at/{seq}")
    expect(page.locator("html[data-live]")).to_be_visible()
    page.get_by_role("slider", name="Version").fill("1")
    page.wait_for_url("**/at/1")
    expect(page.locator("#history .here")).to_be_in_viewport()
    expect(page.get_by_role("link", name="One version back")).to_have_attribute("aria-disabled", "true")
    page.get_by_role("link", name="Back to the list").click()
    expect_items(page, "Milk", "Bread", "Tea", "Jam")


def test_every_message_tells_how_it_came_about(todo: str, visit: Visit):
    """TD12, P257."""
    visitor = visit(todo)
    page = log_in(visitor, "Joe")
    create_list(page)
    page.get_by_role("link", name="name_wanted").click()
    modal = page.get_by_role("dialog")
    expect(modal.locator(".here")).to_contain_text("todos.name_wanted")
    told = ["todos.create_list", "todos.name_wanted", "names.reserve_name", "names.name_reserved", "todos.confirm_name"]
    for name in told:
        expect(modal.get_by_text(name, exact=True)).to_be_visible()
    visitor.show(page, "todo-causation")
    modal.get_by_role("button", name="Close").click()
    expect(modal).to_be_hidden()


def test_an_item_that_is_there_already_is_pointed_at(todo: str, visit: Visit):
    """TD15, P258."""
    page = log_in(visit(todo), "Joe")
    create_list(page)
    add(page, "Buy Milk", " buy milk")
    expect(page.locator("li.twin")).to_have_count(1)
    expect(page.get_by_role("status")).to_contain_text("same text")
    expect_items(page, "Buy Milk")
    add(page, "Bread")
    expect(page.locator("li.twin")).to_have_count(0)


def test_a_list_is_archived_and_then_deleted(todo: str, visit: Visit):
    """TD4, P259."""
    page = log_in(visitor := visit(todo), "Joe")
    name = create_list(page)
    home = visitor.tab()
    row(home, name).get_by_role("button", name="Archive").click()
    expect(home.get_by_role("heading", name="Archived")).to_be_visible()
    expect(page.get_by_label("What is to be done")).to_have_count(0)
    row(home, name).get_by_role("button", name="Delete").click()
    expect(row(home, name)).to_have_count(0)
    expect(page.get_by_text("This list has been deleted")).to_be_visible()


def test_items_are_dragged_to_their_place(todo: str, visit: Visit):
    """TD7, P260."""
    page = log_in(visitor := visit(todo), "Joe")
    create_list(page)
    add(page, "Milk", "Bread", "Tea")
    second = visitor.tab(page.url.removeprefix(todo))
    for each in (page, second):
        expect_items(each, "Milk", "Bread", "Tea")
    page.locator(".items li").nth(0).drag_to(page.locator(".items li").nth(2), source_position={"x": 5, "y": 5})
    expect_items(second, "Bread", "Tea", "Milk")
    expect_items(page, "Bread", "Tea", "Milk")
    item(page, "Milk").get_by_role("button", name="Move up").click()
    expect_items(second, "Bread", "Milk", "Tea")


def test_names_of_lists_are_theirs_alone(todo: str, visit: Visit):
    """TD22."""
    page = log_in(visitor := visit(todo), "Joe")
    name = create_list(page)
    home = visitor.tab()
    home.get_by_label("Name of the new list").fill(name.upper())
    home.get_by_role("button", name="Create list").click()
    home.get_by_role("link", name="Untitled").click()
    expect(home.get_by_role("status")).to_contain_text(f"is called “{name.upper()}” already")


def test_progress_stays_right_when_a_done_item_is_removed(todo: str, visit: Visit):
    """TD17, P263."""
    page = log_in(visitor := visit(todo), "Joe")
    name = create_list(page)
    add(page, "Milk", "Bread")
    page.get_by_role("checkbox", name="Milk").click()
    expect(page.locator("li.done")).to_have_count(1)
    item(page, "Milk").get_by_role("button", name="Remove").click()
    expect(row(visitor.tab(), name)).to_contain_text("0/1")


# -- help from outside


class Outside:
    """Somebody else's service: keeps what it is told, and answers what it is made to answer."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        self.asked: list[Any] = []
        self.answers = list(answers)
        self.heard = threading.Condition()


@contextmanager
def outside(*answers: tuple[int, object]) -> Iterator[tuple[str, Outside]]:
    there = Outside(*answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with there.heard:
                status, answer = there.answers.pop(0) if there.answers else (200, "ok")
                there.asked.append(body)
                there.heard.notify_all()
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", there
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def said(lines: object) -> dict[str, Any]:
    return {"choices": [{"message": {"content": f"Here you are: {json.dumps(lines)}"}}]}


def test_slack_is_told_once_and_after_all(start: Start, visit: Visit, tmp_path: Path):
    """TD19, TD20, P261: a webhook that fails is asked again; the same text twice in a row is told once."""
    with outside((500, "not now")) as (address, slack):
        url = f"sqlite:///{tmp_path}/todo.db"
        home = start("demo", "--port", 0, "--database", url, SLACK_WEBHOOK_URL=address, complains=True)
        page = log_in(visit(home), "Joe")
        name = create_list(page)
        add(page, "Milk")
        expect_items(page, "Milk")
        for done in (1, 0, 1):
            with answered(page):
                page.get_by_role("checkbox", name="Milk").click()
            expect(page.locator("li.done")).to_have_count(done)
        expect(page.get_by_text("Slack ✓")).to_have_count(1)
        assert slack.asked == [{"text": f"“Milk” has been done by Joe on {name}"}] * 2


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([(200, said(["Sweep the roof", "Milk", "Sweep the roof"]))], ["Milk", "Sweep the roof"]),
        ([(500, ""), (200, said(["Sweep"]))], ["Milk", "Sweep"]),
        ([(200, said([]))] * 3, ["Milk", LONG]),
        ([(500, "")] * 3, ["Milk", LONG]),
    ],
    ids=["answered", "answered-at-last", "empty", "failing"],
)
def test_a_long_item_is_expanded_or_let_go(
    start: Start, visit: Visit, tmp_path: Path, answers: list[tuple[int, object]], expected: list[str]
):
    """TD18, P262."""
    with outside(*answers) as (address, _):
        home = start("demo", "--port", 0, "--database", f"sqlite:///{tmp_path}/t.db", OPENAI_BASE_URL=address)
        page = log_in(visit(home), "Joe")
        create_list(page)
        add(page, "Milk", LONG)
        page.get_by_role("button", name="Expand with AI").click()
        ended = "item_replaced" if LONG not in expected else "expansion_given_up"
        expect(page.get_by_role("link", name=ended)).to_have_count(1)
        expect_items(page, *expected)
        expect(page.get_by_text("Expanding…")).to_have_count(0)


def test_on_postgresql_with_workers_beside_it(postgres_url: str, start: Start, visit: Visit):
    """TD21."""
    with_workers = start("demo", "--port", 0, "--database", postgres_url)
    without = start("demo", "--port", 0, "--database", postgres_url, "--no-workers")
    page = log_in(visit(without), "Ann")
    garden = create_list(page)
    other = log_in(visit(with_workers), "Bob")
    add(page, "Rake")
    expect(row(other, garden)).to_contain_text("0/1")


# -- what nobody gets through


def test_what_somebody_writes_is_never_taken_for_html(todo: str, visit: Visit):
    page = log_in(visit(todo), "<b>Joe</b>")
    create_list(page)
    add(page, '<img src="x" onerror="document.title = 1">', "</li><script>document.title = 2</script>")
    expect(items(page)).to_have_count(2)
    page.get_by_role("link", name="item_added").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("item_added")
    assert page.title().startswith("List ")


def test_whoever_has_not_logged_in_sees_and_changes_nothing(todo: str):
    """TD24."""
    for path in ("/lists/l1", "/lists/l1/at/1", "/updates", "/lists/l1/updates", "/messages/m1/story"):
        assert asked(todo, path) == (303, "/"), path
        for part in ({"hx-request": "true"}, {"accept": "text/event-stream"}):  # a browser asks for no page there
            assert asked(todo, path, headers=part)[0] == 401, path
    assert asked(todo, "/commands", {"type": "todos.create_list", "stream": "l1", "name": "Home"}) == (303, "/")


def test_a_form_of_somebody_elses_page_is_not_accepted(todo: str, visit: Visit):
    """TD24."""
    visitor = visit(todo)
    page = log_in(visitor, "Eve")
    expect(page.get_by_text("logged in as Eve")).to_be_visible()
    cookies = visitor.cookies()
    for token in ({}, {"_token": "guessed"}):
        command = {"type": "todos.create_list", "stream": "l1", "name": "Forged", **token}
        assert asked(todo, "/commands", command, headers={"cookie": cookies})[0] == 403
    expect(visitor.tab().get_by_role("link", name="Forged")).to_have_count(0)


def test_a_browser_sends_the_commands_of_a_page_and_nothing_else(todo: str, visit: Visit):
    """TD24."""
    visitor = visit(todo)
    page = log_in(visitor, "Eve")
    create_list(page)
    token, stream = page.locator("[name=_token]").first.input_value(), page.url.rpartition("/")[2]
    for type in ("todos.refuse_name", "names.release_name", "todos.list_deleted", "nonsense"):
        command = {"type": type, "stream": stream, "name": "x", "list_id": stream, "_token": token}
        assert asked(todo, "/commands", command, headers={"cookie": visitor.cookies()})[0] == 422, type
    command = {"type": "todos.add_item", "stream": stream, "text": "Tea", "metadata": '{"username": "Joe"}'}
    assert asked(todo, "/commands", {**command, "_token": token}, headers={"cookie": visitor.cookies()})[0] == 303
    expect(page.locator("#history li", has_text="item_added")).to_contain_text("UI Eve")


def asked(
    home: str, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """The status, and where it leads to."""
    connection = http.client.HTTPConnection(home.removeprefix("http://"), timeout=PATIENCE)
    body = None if form is None else urlencode(form)
    kind = {} if form is None else {"content-type": "application/x-www-form-urlencoded"}
    connection.request("GET" if form is None else "POST", path, body, {**kind, **(headers or {})})
    with closing(connection), connection.getresponse() as answer:
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        return answer.status, answer.headers.get("location", "")


def test_on_a_phone_nothing_sticks_out(todo: str, visit: Visit):
    visitor = visit(todo, viewport={"width": 360, "height": 740}, has_touch=True)
    page = log_in(visitor, "Joe")
    create_list(page)
    add(page, "Milk", LONG)
    expect_items(page, "Milk", LONG)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    visitor.show(page, "todo-phone")
