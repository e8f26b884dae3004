"""A piece of a history: read after a seq and up to another, and time travel with it."""

import pytest

from sourced import Conflict, Invalid, Sourced
from sourced.testing.shop import AddItem, Cart, Close, ItemAdded


def shop(*products):
    app = Sourced()
    app.register(Cart)
    app.append("c1", [ItemAdded(product, 1) for product in products])
    return app


def seqs(messages):
    return [message.seq for message in messages]


def test_a_history_is_read_after_a_seq_and_up_to_another():
    """C55."""
    app = shop("a", "b", "c")
    assert seqs(app.history("c1", after=1)) == [2, 3]
    assert seqs(app.history("c1", upto=2)) == [1, 2]
    assert seqs(app.history("c1", after=1, upto=2)) == [2]
    assert seqs(app.history("c1", after=2, upto=1)) == seqs(app.history("c1", after=3)) == []


@pytest.mark.parametrize(("upto", "items"), [(0, ""), (1, "a"), (2, "ab"), (3, "abc"), (9999, "abc")])
def test_an_actor_is_loaded_as_of_a_seq(upto, items):
    """C57. Its history is what its state is made of."""
    cart = shop("a", "b", "c").load(Cart, "c1", upto=upto)
    assert (list(cart.state.items), cart.seq) == (list(items), len(items))
    assert [m.payload for m in cart.history()] == [ItemAdded(product, 1) for product in items]


def test_a_seq_below_0_is_refused():
    app = shop("a", "b")
    for read in (lambda: app.history("c1", after=-1), lambda: app.load(Cart, "c1", upto=-1)):
        with pytest.raises(Invalid, match="expected 0 or more"):
            read()


def test_one_loaded_as_of_earlier_cannot_decide_over_what_came_since():
    """C58. It conflicts, stays where it is, and goes on once it has read the rest."""
    app = shop("a", "b", "c")
    cart = app.load(Cart, "c1", upto=2)
    for command in (Close(), AddItem("d")):
        with pytest.raises(Conflict) as conflict:
            cart.execute(command)
        assert (conflict.value.expected, conflict.value.actual) == (2, 3)
        assert (list(cart.state.items), cart.seq, len(app.history("c1"))) == (["a", "b"], 2, 3)
    assert seqs(cart.refresh()) == [3]
    assert cart.execute(AddItem("d")).command.seq == 4


def test_one_loaded_as_of_the_last_message_decides():
    """C58. Nothing was left out, so there is nothing to conflict with."""
    app = shop("a", "b")
    cart = app.load(Cart, "c1", upto=2)
    cart.execute(AddItem("c"))
    assert list(cart.state.items) == ["a", "b", "c"]
    app.append("c1", ItemAdded("d", 1))
    with pytest.raises(Conflict):
        cart.execute(AddItem("e"))


def test_thinking_ahead_from_earlier_stays_there():
    """Time travel with a question: what would have followed?"""
    app = shop("a", "b", "c")
    cart = app.load(Cart, "c1", upto=1)
    assert [(e.seq, e.payload) for e in cart.decide(AddItem("x")).events] == [(2, ItemAdded("x", 1))]
    assert list(cart.state.items) == ["a", "x"]
    with pytest.raises(Conflict) as conflict:
        cart.execute(AddItem("y"))
    assert (conflict.value.expected, conflict.value.actual) == (1, 3)
    assert (list(cart.state.items), cart.seq) == (["a"], 1)
