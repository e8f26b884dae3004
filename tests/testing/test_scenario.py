"""`given(…).when(…).then(…)` says what follows from what, and explains itself when it was something else."""

import pytest

from sourced import Message, dispatch
from sourced.errors import Conflict, Duplicate, Invalid
from sourced.testing import Outcome, given
from sourced.testing.scenario import FinishedScenario
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, Closed, ItemAdded, Reserved, Stock
from tests.notepad import Note, Noted, Notes, failing


class TestGiven:
    def test_several_givens_are_put_in_sequence(self):
        """N227."""
        given(Cart, "c1", ItemAdded("tea", 1), ItemAdded("milk", 2)).when(Close()).then(Closed())
        given(Cart, "c1").given(ItemAdded("tea", 1)).given(Closed()).when(AddItem("tea")).then_raises(CartClosed)

    def test_givens_have_happened_and_are_not_handled_again(self):
        outcome = given(Cart, Stock, "c1", ItemAdded("tea", 1), AddItem("milk")).when(Close())
        outcome.then(Closed())

    def test_givens_of_other_streams_are_addressed(self):
        scenario = given(Cart, Stock, "c1", dispatch(Reserved(5), to="stock-tea"))
        assert scenario.app.load(Stock, "stock-tea").state.reserved == 5

    def test_givens_can_be_whole_messages(self):
        message = Message.new(ItemAdded("tea", 1), stream="c1", metadata={"user": 7})
        scenario = given(Cart, "c1", message)
        assert [m.id for m in scenario.app.history("c1")] == [message.id]
        with pytest.raises(Duplicate):
            scenario.given(message)

    def test_nothing_more_can_be_given_once_it_was_acted_upon(self):
        """N228."""
        scenario = given(Cart, "c1")
        outcome = scenario.when(AddItem("tea")).then(ItemAdded("tea", 1))
        for finished in (scenario, outcome):
            with pytest.raises(FinishedScenario, match="expected no more givens after when"):
                finished.given(Closed())

    @pytest.mark.parametrize(
        "things", [(), (Cart,), ("c1",), ("c1", Cart), (Cart, Closed()), (Closed(), "c1"), (Cart, 5)]
    )
    def test_its_order_is_reactors_stream_messages(self, things):
        with pytest.raises(
            TypeError, match="expected one or more reactors, then a stream's name, then messages, found"
        ):
            given(*things)

    @pytest.mark.parametrize("wrong", [ItemAdded, [Closed()], {"type": "closed"}, None, "c2", Cart])
    def test_what_is_no_message_is_refused_where_it_is_written(self, wrong):
        with pytest.raises(Invalid, match="expected a command or an event, found"):
            given(Cart, "c1", wrong)
        with pytest.raises(Invalid, match="expected a command or an event, found"):
            given(Cart, "c1").when(wrong)

    def test_what_has_not_happened_yet_is_refused(self):
        later = dispatch(AddItem("tea"), after=60)
        for write in (lambda: given(Cart, "c1", later), lambda: given(Cart, "c1").when(later)):
            with pytest.raises(TypeError, match="move the clock"):
                write()


class TestThen:
    """N228."""

    def test_nothing_followed(self):
        given(Cart, "c1", Closed()).when(Close()).then()

    def test_messages_are_compared_by_class_and_content(self):
        outcome = given(Cart, "c1").when(AddItem("tea", 2))
        outcome.then(ItemAdded("tea", 2))
        for wrong in (ItemAdded("tea", 3), Closed(), AddItem("tea", 2)):
            with pytest.raises(AssertionError):
                outcome.then(wrong)

    def test_whole_messages_are_compared_by_their_stream_too(self):
        outcome = given(Cart, "c1").when(AddItem("tea"))
        outcome.then(Message.new(ItemAdded("tea", 1), stream="c1"))
        with pytest.raises(AssertionError):
            outcome.then(Message.new(ItemAdded("tea", 1), stream="c2"))

    def test_all_of_it_and_in_order(self):
        outcome = given(Cart, "c1").when(AddItem("tea"), AddItem("milk"))
        outcome.then(ItemAdded("tea", 1), ItemAdded("milk", 1))
        for wrong in ((ItemAdded("milk", 1), ItemAdded("tea", 1)), (ItemAdded("tea", 1),), ()):
            with pytest.raises(AssertionError):
                outcome.then(*wrong)

    def test_a_failure_shows_what_was_expected_and_what_was_found(self):
        with pytest.raises(AssertionError) as failed:
            given(Cart, "c1").when(AddItem("tea")).then(Closed(), Closed())
        assert str(failed.value) == "expected Closed(), Closed()\n   found ItemAdded(product='tea', quantity=1)"
        with pytest.raises(AssertionError, match="expected nothing\n   found ItemAdded"):
            given(Cart, "c1").when(AddItem("tea")).then()

    def test_an_error_where_none_was_expected_is_shown_with_its_cause(self):
        with pytest.raises(AssertionError, match=r"expected Closed\(\), but it failed: CartClosed\('c1'\)") as failed:
            given(Cart, "c1", Closed()).when(AddItem("tea")).then(Closed())
        assert isinstance(failed.value.__cause__, CartClosed)

    @pytest.mark.parametrize("wrong", [ItemAdded, [ItemAdded("tea", 1)], CartClosed, None, "item_added"])
    def test_what_cannot_be_expected_is_refused(self, wrong):
        with pytest.raises(TypeError, match="then: expected messages, one by one, found"):
            given(Cart, "c1").when(AddItem("tea")).then(wrong)

    def test_it_may_be_asked_again_and_happens_once(self):
        notes = Notes()
        outcome = given(notes, "p").when(Note("a"))
        assert outcome.then(Noted("a")).then(Noted("a")) is outcome
        assert notes.calls == [("sync", [Note("a"), Noted("a")]), ("after_commit", [Noted("a")])]


class TestThenRaises:
    """N228."""

    def test_by_class_and_by_instance(self):
        outcome = given(Cart, "c1", Closed()).when(AddItem("tea"))
        outcome.then_raises(CartClosed).then_raises(Exception).then_raises(CartClosed("c1"))
        for wrong in (ValueError, CartClosed("c2"), Conflict):
            with pytest.raises(AssertionError, match="found CartClosed"):
                outcome.then_raises(wrong)

    def test_a_refusal_that_did_not_come_shows_what_came_instead(self):
        with pytest.raises(AssertionError, match=r"expected CartClosed, but this followed: ItemAdded\(product='tea'"):
            given(Cart, "c1").when(AddItem("tea")).then_raises(CartClosed)
        with pytest.raises(AssertionError, match="expected CartClosed, but this followed: nothing"):
            given(Cart, "c1", Closed()).when(Close()).then_raises(CartClosed)

    def test_nothing_of_what_failed_was_stored(self):
        notes = Notes()
        notes.on_sync = failing(OSError("disk full"))
        outcome = given(notes, "p").when(Note("a")).then_raises(OSError("disk full"))
        assert outcome.new_messages == []
        assert outcome.table("pads") == {}

    def test_input_that_is_wrong_is_raised_too(self):
        given(Cart, "c1").when(AddItem("tea", "many")).then_raises(Invalid)  # type: ignore[arg-type]


def test_scenarios_are_apart():
    outcomes = [given(Cart, "c1").when(AddItem("tea")) for _ in range(2)]
    for outcome in outcomes:
        assert isinstance(outcome, Outcome)
        assert outcome.then(ItemAdded("tea", 1)).state.items == {"tea": 1}
