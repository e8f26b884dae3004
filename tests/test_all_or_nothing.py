"""A decision that fails at any point was never made: in the log, in the state at hand, in anybody's table."""

import asyncio
import logging
from unittest.mock import Mock

import pytest

from sourced import Sourced
from sourced.notifiers.local import LocalNotifier
from sourced.stores.memory import MemoryStore
from sourced.testing import VirtualClock, crash_everywhere
from tests.notepad import Note, Noted, Notes, Refused, failing, nothing


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def app(notes):
    app = Sourced(clock=VirtualClock())
    app.register(notes)
    return app


@pytest.mark.parametrize("where", ["on_decide", "on_evolve", "on_sync"])
@pytest.mark.parametrize("error", [ValueError("broken"), Refused()], ids=["error", "rejection"])
def test_a_failure_anywhere_stores_nothing_and_leaves_nothing_behind(app, notes, where, error):
    """B46, K190. Neither in the log, nor in the user's table, nor in the loaded state, nor in what comes next."""
    cart = app.load(Notes, "p")
    cart.execute(Note("a"))
    setattr(notes, where, failing(error, at="leak"))
    for execute in (cart.execute, lambda note: app.execute(note, to="p")):
        with pytest.raises(type(error)):
            execute(Note("leak"))
        assert (cart.seq, cart.state.texts) == (2, ["a"])
        assert len(app.read_all()) == 2
        assert app.store.table("pads")["p"] == ("a",)
        assert ("after_commit", [Noted("leak")]) not in notes.calls
    cart.execute(Note("b"))
    app.execute(Note("c"), to="p")
    assert app.load(Notes, "p").state.texts == ["a", "b", "c"]
    assert app.store.table("pads")["p"] == ("a", "b", "c")


def test_what_interrupts_a_person_at_the_keyboard_leaves_nothing_behind_either(app, notes):
    cart = app.load(Notes, "p")
    notes.on_sync = failing(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cart.execute(Note("a"))
    assert (cart.seq, cart.state.texts, app.read_all()) == (0, [], [])


def test_who_interrupts_a_decision_on_old_news_is_not_made_to_do_it_twice(app, notes):
    cart = app.load(Notes, "p")
    app.append("p", Noted("theirs"))
    notes.on_decide = asked = Mock(side_effect=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        cart.execute(Note("a"))
    asked.assert_called_once_with("a")
    assert cart.state.texts == ["theirs"]


def test_a_failing_after_commit_hook_is_logged_and_changes_nothing(app, notes, caplog):
    notes.on_commit = failing(OSError("mail server"))
    with caplog.at_level(logging.ERROR, "sourced"):
        assert app.execute(Note("a"), to="p").events
    assert "mail server" in caplog.text
    assert app.load(Notes, "p").state.texts == ["a"]


class Mute(LocalNotifier):
    def notify(self, types=None):
        raise ConnectionError("nobody listens")


def test_a_notifier_that_fails_costs_nobody_a_decision(app, notes, caplog):
    """Wake-ups are hints: what is committed is not made undone, or done twice, by one that cannot be sent."""
    app._engine.notifier = Mute()
    with caplog.at_level(logging.ERROR, "sourced"):
        result = app.execute(Note("a"), to="p")
    assert [*result.events] == app.history("p")[1:]
    assert "nobody listens" in caplog.text


def test_a_cancelled_decision_leaves_nothing_behind(app, notes):
    """The caller gave up while an async `@sync` method was at work."""

    async def main():
        cart = await app.aio.load(Notes, "p")
        await cart.execute(Note("a"))
        reached, never = asyncio.Event(), asyncio.Event()

        async def hang():
            reached.set()
            await never.wait()

        notes.on_sync = lambda text: hang()
        task = asyncio.create_task(cart.execute(Note("leak")))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (cart.seq, cart.state.texts) == (2, ["a"])
        notes.on_sync = nothing
        assert [e.seq for e in (await cart.execute(Note("b"))).events] == [4]
        assert cart.state.texts == ["a", "b"]

    asyncio.run(main())


def test_an_executed_command_survives_a_crash_at_any_statement_whole_or_not_at_all():
    def scenario(store):
        app = Sourced(store, clock=VirtualClock())
        app.register(Notes)
        app.execute(Note("a"), to="p")
        app.load(Notes, "p").execute(Note("b"))

    def check(store):
        app = Sourced(store, clock=VirtualClock())
        app.register(Notes)
        texts = app.load(Notes, "p").state.texts
        assert texts == ["a", "b"][: len(texts)]
        assert len(app.history("p")) == 2 * len(texts)
        assert store.table("pads").get("p", ()) == tuple(texts)
        app.execute(Note("c"), to="p")
        assert app.load(Notes, "p").state.texts == [*texts, "c"]

    assert crash_everywhere(MemoryStore, scenario, check) >= 5
