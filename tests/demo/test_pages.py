"""The pages of the TODO application, as they come from the server."""

import re
from typing import Any

import pytest

from sourced import Sourced
from sourced.demo.app import todo
from sourced.demo.lists import TodoList
from sourced.demo.messages import AddItem, ArchiveList, CreateList, ExpandItem, NoteDispatch, ToggleItem
from sourced.demo.web import site
from sourced.ops import Op
from sourced.store import ViewRow
from sourced.stores.memory import MemoryStore
from tests.dashboard.asking import Caller, text_of

LONG = "Prepare the whole house for the winter, from the cellar to the roof"


@pytest.fixture
def app() -> Sourced:
    return todo("memory://", {"OPENAI_BASE_URL": "http://127.0.0.1:9"})


def logged_in(app: Sourced, *, expander: bool = True) -> Caller:
    caller = Caller(site(app, secret="s", workers=False, expander=expander))
    caller.get("/")
    caller.send("/login", username="Joe")
    return caller


def a_list(app: Sourced, stream: str, *items: str) -> None:
    app.dispatch(CreateList(f"The {stream}"), to=stream, metadata={"username": "Ann"})
    app.drain()
    for text in items:
        app.execute(AddItem(text), to=stream, metadata={"username": "Joe", "producer": "UI"})
    app.drain()


def test_home_tells_of_all_lists_newest_first(app: Sourced):
    """TD3. Archived ones apart, and only when there are any."""
    caller = logged_in(app)
    assert "There is no list yet" in caller.see("/")
    for stream in ("garden", "house", "winter"):
        a_list(app, stream, "Rake", "Sweep")
    app.execute(ToggleItem(app.load(TodoList, "house").state.items[0].id), to="house")
    app.drain()
    page = caller.see("/")
    assert re.findall(r'id="row-(\w+)"', page) == ["winter", "house", "garden"]
    assert ("Archived" in page, "Delete" in page) == (False, False)
    assert "1/2" in page
    assert "ann, joe" in page
    app.execute(ArchiveList(), to="house")
    app.drain()
    active, archived = caller.see("/").split("Archived")
    assert re.findall(r'id="row-(\w+)"', active) == ["winter", "garden"]
    assert re.findall(r'id="row-(\w+)"', archived) == ["house"]
    assert ("Delete The house" in archived, "Archive The" in archived) == (True, False)


class Attentive(MemoryStore):
    """Knows how often somebody came to read rows."""

    reads = 0

    def page_views(self, *args: Any, **options: Any) -> Op[list[ViewRow]]:
        self.reads += 1
        return super().page_views(*args, **options)


def test_a_list_that_is_being_archived_is_in_one_place():
    """Whoever read the active lists and then the archived ones would find it twice, or not at all."""
    app = todo(store := Attentive(), {"OPENAI_BASE_URL": "http://127.0.0.1:9"})
    a_list(app, "house")
    caller = logged_in(app)
    before = store.reads
    assert "The house" in caller.see("/")
    assert store.reads - before == 1


def test_an_item_offers_what_can_be_done_with_it(app: Sourced):
    """TD6. Only a long one can be expanded, and only with somebody to do that; nobody works on one meanwhile."""
    a_list(app, "l1", "Rake", LONG)
    short, long = (item.id for item in app.load(TodoList, "l1").state.items)
    page = logged_in(app).see("/lists/l1")
    assert page.count("Expand with AI") == 1
    assert "Expand with AI" not in logged_in(app, expander=False).see("/lists/l1")
    app.execute(NoteDispatch(short, "Slack"), to="l1")
    app.execute(ExpandItem(long), to="l1")
    page = logged_in(app).see("/lists/l1")
    assert ("Slack ✓" in page, "Expanding…" in page) == (True, True)
    row = page.split(f'id="item-{long}"')[1].split("</li>")[0]
    assert "<button" not in row


def test_the_history_tells_who_said_what_and_leads_back_to_it(app: Sourced):
    """TD11. The newest first."""
    a_list(app, "l1", "Rake")
    page = logged_in(app).see("/lists/l1").split("<h2>History")[1]
    rows = re.findall(r'<li id="message-(\d+)".*?</li>', page, re.DOTALL)
    assert rows == [str(seq) for seq in range(len(rows), 0, -1)]
    newest = page.split('<li id="message-')[1]
    assert re.search(r'<a class="seq" href="/lists/l1/at/\d+"', newest)
    assert re.search(r'<a class="event" href="/messages/[^"]+/story"', newest)
    assert "item_added UI Joe" in text_of(newest)
    assert '"text": "Rake"' in text_of(newest.split("<details>")[1])
    assert 'class="command"' in page


def test_a_list_of_hundreds_of_items_is_a_page_like_any_other(app: Sourced):
    a_list(app, "l1")
    with app.transaction() as tx:
        for number in range(200):
            tx.execute(AddItem(f"Item {number} " + "w" * 100), to="l1")
    page = logged_in(app).see("/lists/l1")
    assert page.count('<li id="item-') == 200


def test_a_place_that_nobody_understands_is_the_list_as_it_is(app: Sourced):
    a_list(app, "garden", "Rake")
    caller = logged_in(app)
    heard = caller.live("/lists/garden/updates?at=here", pieces=2)
    assert ("event: list" in heard, "Rake" in heard) == (True, True)
    assert "event: list" not in caller.live("/lists/garden/updates?at=2")


def test_a_story_leads_to_the_list_as_it_was(app: Sourced):
    a_list(app, "garden", "Rake")
    last = app.history("garden")[-1]
    caller = logged_in(app)
    assert f'href="/lists/garden/at/{last.seq}"' in caller.see(f"/messages/{last.id}/story")
    assert "Close" not in caller.see(f"/messages/{last.id}/story")  # a page of its own is left by other ways
    assert "Close" in caller.get(f"/messages/{last.id}/story", **{"hx-request": "true"}).page
