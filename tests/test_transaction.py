"""`app.transaction()`: many verbs, one transaction; all of it is there at its end, or nothing is."""

import contextlib

import pytest

from sourced import Conflict, Sourced
from sourced.errors import InTransaction, TransactionEnded
from sourced.store import Store
from sourced.testing import VirtualClock
from sourced.testing.shop import Reserve, Stock
from tests.every_store import told_by_nobody_else
from tests.notepad import Echo, Note, Noted, Notes, failing
from tests.rows import table


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def app(notes, store: Store):
    app = Sourced(store, clock=VirtualClock())
    app.register(notes)
    return app


@contextlib.contextmanager
def taken_back(app):
    """A transaction that an error leaves."""
    with contextlib.suppress(ZeroDivisionError), app.transaction() as tx:
        yield tx
        raise ZeroDivisionError


def test_everything_in_it_is_stored_together(app, notes):
    with app.transaction() as tx:
        tx.execute(Note("a"), to="p")
        cart = tx.load(Notes, "p")
        cart.execute(Note("b"))
        tx.dispatch(Note("c"), to="q")
        tx.append("r", Noted("d"))
        assert [m.seq for m in tx.history("p")] == [1, 2, 3, 4]
        assert cart.state.texts == ["a", "b"]
    assert [m.stream for m in app.read_all()] == ["p"] * 4 + ["q", "r"]
    app.drain()
    assert app.load(Notes, "q").state.texts == ["c"]


def test_an_error_that_leaves_it_takes_everything_back(app, notes):
    """D71."""

    def work():
        with app.transaction() as tx:
            tx.execute(Note("a"), to="p")
            tx.dispatch(Note("b"), to="p", after=5)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert app.status().position == app.status().scheduled == 0
    assert not table(app.store, "pads")
    app.execute(Note("c"), to="p")
    assert app.load(Notes, "p").state.texts == ["c"]


def test_a_group_that_began_in_what_was_taken_back_begins_again(app):
    with taken_back(app) as tx:
        app.register(Stock)
        assert len(tx.groups.list()) == 2
    app.dispatch(Reserve("tea", 1), to="s")
    assert app.drain() == 1
    assert app.load(Stock, "s").state.reserved == 1


@pytest.mark.parametrize("decided_by", ["the caller", "a worker"])
def test_what_was_taken_back_is_not_remembered(app, decided_by):
    """Other messages took the same places since: a decision must not be made on the ones that never were."""
    with taken_back(app) as tx:
        if decided_by == "the caller":
            tx.execute(Note("phantom"), to="p")
        else:
            tx.dispatch(Note("phantom"), to="p")
            tx.drain(limit=1)
        assert [m.seq for m in tx.history("p")] == [1, 2]
    other = Sourced(app.store)
    other.append("p", [Noted("a"), Noted("b")])
    assert app.execute(Note("c"), to="p").command.seq == 3
    assert table(app.store, "pads")["p"] == ("a", "b", "c")


def test_a_verb_that_fails_inside_stores_nothing_and_the_rest_goes_on(app, notes):
    """Each verb is all or nothing on its own, also where its error is caught."""
    notes.on_sync = failing(ValueError("the table is full"), at="leak")
    with app.transaction() as tx:
        tx.execute(Note("a"), to="p")
        with pytest.raises(ValueError, match="the table is full"):
            tx.execute(Note("leak"), to="p")
        with pytest.raises(Conflict):
            tx.append("p", Noted("leak"), expected_seq=0)
        tx.execute(Note("b"), to="p")
    assert [m.payload for m in app.history("p")] == [Note("a"), Noted("a"), Note("b"), Noted("b")]
    assert table(app.store, "pads")["p"] == ("a", "b")


def test_after_commit_waits_for_the_commit(app, notes):
    """H145 in the foreground."""
    seen = []
    notes.on_commit = lambda text: seen.append((text, app.status().position))
    with app.transaction() as tx:
        tx.execute(Note("a"), to="p")
        tx.execute(Note("b"), to="q")
        assert seen == []
    assert seen == [("a", 4), ("b", 4)]
    with taken_back(app) as tx:
        tx.execute(Note("c"), to="p")
    assert len(seen) == 2


def test_nobody_is_woken_up_before_the_commit_or_without_one(app):
    """J166."""
    told_by_nobody_else(app)
    with app._engine.notifier.listen() as listener:
        with app.transaction() as tx:
            tx.dispatch(Note("a"), to="p")
            assert not listener.wait(0)
        assert listener.wait(0)
        with taken_back(app) as tx:
            tx.dispatch(Note("b"), to="p")
            assert not listener.wait(0)


def test_a_transaction_inside_joins(app):
    """D71. The inner one's end is not a commit."""
    with taken_back(app) as outer:
        with outer.transaction() as inner:
            inner.execute(Note("a"), to="p")
        assert outer.load(Notes, "p").state.texts == ["a"]
        inner.execute(Note("b"), to="p")
    assert app.read_all() == []


def test_workers_can_be_run_inside_it(app):
    with app.transaction() as tx:
        tx.execute(Note("a"), to="p")
        assert tx.drain() == 2
        assert tx.drain() == 0
    assert app.drain() == 0
    assert [m.payload for m in app.history("p")] == [Note("a"), Noted("a"), Echo("a")]


class TestMistakes:
    def test_the_app_inside_its_own_transaction_is_told_to_use_the_client(self, app):
        with app.transaction() as tx:
            for forgotten in (app.read_all, app.status, lambda: app.execute(Note("a"), to="p")):
                with pytest.raises(InTransaction, match="use the one you were handed"):
                    forgotten()
            tx.execute(Note("a"), to="p")
        assert app.status().position == 2

    def test_a_sync_method_that_goes_behind_its_transactions_back_is_told_so(self, app, notes):
        notes.on_sync = lambda text: app.execute(Note("b"), to="q")
        with pytest.raises(InTransaction):
            app.execute(Note("a"), to="p")
        assert app.read_all() == []

    def test_an_after_commit_method_may_use_the_app(self, app, notes):
        notes.on_commit = lambda text: text == "a" and app.execute(Note("b"), to="q")
        app.execute(Note("a"), to="p")
        assert app.load(Notes, "q").state.texts == ["b"]

    def test_a_client_is_of_no_use_after_its_transaction(self, app):
        with app.transaction() as tx:
            cart = tx.load(Notes, "p")
            cart.execute(Note("a"))
        for late in (
            tx.read_all,
            tx.groups.list,
            lambda: tx.execute(Note("b"), to="p"),
            lambda: cart.execute(Note("b")),
        ):
            with pytest.raises(TransactionEnded, match="use the app"):
                late()
        assert (cart.seq, cart.state.texts) == (2, ["a"])
        assert app.status().position == 2

    def test_waiting_inside_for_what_nobody_can_see_yet_is_refused_at_once(self, app):
        with app.transaction() as tx:
            message = tx.dispatch(Note("a"), to="p")
            with pytest.raises(InTransaction, match="before it ends"):
                tx.wait_for(message)
        app.drain()
        app.wait_for(message, timeout=0)
