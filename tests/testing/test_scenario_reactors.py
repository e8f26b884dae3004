"""What a scenario runs: one reactor alone, or several that answer each other until nothing is left to do."""

from datetime import timedelta

import pytest

from sourced import Command, Event, EventSourced, Message, Projector, Reactor, Rejected, Send, dispatch, evolve, react
from sourced.testing import given
from sourced.testing.shop import AddItem, Cart, Closed, ItemAdded, Reserve, Reserved, Sales, Stock
from tests.notepad import Echo, Note, Noted, Notes, failing


class Reward(Command):
    total: int


class Rewards:
    def initial(self, stream):
        return []

    @evolve
    def added(self, row: list[int], event: ItemAdded):
        row.append(event.quantity)

    @react
    def reward(self, row: list[int], event: ItemAdded):
        yield Reward(len(row))


class Points(Rewards, Projector[list[int]]): ...


class PointsOfHistory(Rewards, EventSourced[list[int]]): ...


class TestOneReactor:
    def test_an_actor_that_is_given_an_event_reacts_to_it(self):
        outcome = given(Cart, "c1").when(ItemAdded("tea", 2))
        outcome.then(dispatch(Reserve("tea", 2), to="stock-tea"))
        with pytest.raises(AssertionError):
            outcome.then(dispatch(Reserve("tea", 2), to="elsewhere"))

    def test_its_reactions_are_its_own_scenario(self):
        """One reactor alone is not run in circles: what it sends itself is what followed."""
        given(Notes, "p").when(Noted("a")).then(dispatch(Echo("a"), to="p"))

    def test_a_projector_has_seen_the_givens(self):
        """N229. What `@sync` methods did is there, once; of what was given, as a replay."""
        outcome = given(Sales, "c1", ItemAdded("tea", 1), ItemAdded("milk", 2)).when(ItemAdded("honey", 4))
        outcome.then()
        assert outcome.table("sales") == {"c1": {"items": 7}}
        assert given(Sales, "c1", ItemAdded("tea", 1)).when().table("sales") == {"c1": {"items": 1}}

    def test_a_projector_reacts_to_what_happens_and_not_to_the_givens(self):
        """H138, H139 as a newcomer tests them. One that loads no row starts from the first state each time."""
        given(Points, "c1", ItemAdded("tea", 1)).when(ItemAdded("tea", 1)).then(Reward(1))
        given(PointsOfHistory, "c1", ItemAdded("tea", 1)).when(ItemAdded("tea", 1)).then(Reward(2))

    def test_a_reactor_of_ones_own(self):
        class Doubling(Reactor):
            handles = (ItemAdded,)

            def handle(self, delivery):
                return [Send((Message.new(Closed(), stream="other", now=delivery.now),))]

        given(Doubling, "c1", ItemAdded("a", 1)).when(ItemAdded("b", 1)).then(dispatch(Closed(), to="other"))

    def test_the_state_afterwards_can_be_looked_at(self):
        assert given(Cart, "c1", ItemAdded("tea", 1)).when(AddItem("tea")).state.items == {"tea": 2}
        with pytest.raises(TypeError, match="expected an actor among what was given"):
            _ = given(Sales, "c1").when(ItemAdded("tea", 1)).state


class Remind(Command):
    text: str


class Asked(Event): ...


class Timid(Cart, group="timid"):
    @react
    def asked(self, cart, event: Asked):
        yield dispatch(Remind("now"), to=Stock)
        yield dispatch(Remind("later"), after=timedelta(minutes=5))


class TestDirections:
    def test_what_is_to_happen_later_is_compared_with_its_time(self):
        outcome = given(Timid, "c1").when(Asked())
        outcome.then(dispatch(Remind("now"), to=Stock), dispatch(Remind("later"), to="c1", after=300))
        for wrong in (
            dispatch(Remind("later"), after=299),
            dispatch(Remind("later")),
            dispatch(Remind("later"), to="c2", after=300),
        ):
            with pytest.raises(AssertionError):
                outcome.then(dispatch(Remind("now"), to=Stock), wrong)

    def test_to_a_class_is_to_a_new_stream_of_its_own(self):
        outcome = given(Timid, "c1").when(Asked())
        later = dispatch(Remind("later"), after=300)
        for wrong in (Cart, "stock", "c1"):
            with pytest.raises(AssertionError):
                outcome.then(dispatch(Remind("now"), to=wrong), later)

    def test_to_a_class_is_not_to_a_stream_with_a_name_of_its_own(self):
        with pytest.raises(AssertionError):
            given(Cart, "c1").when(ItemAdded("tea", 1)).then(dispatch(Reserve("tea", 1), to=Stock))

    def test_a_message_that_was_caused_can_be_acted_upon(self):
        """What was put in is never what followed."""
        cause = Message.new(AddItem("tea"), stream="c1")
        event = cause.follow(ItemAdded("tea", 1))
        given(Cart, "c1").when(event).then(dispatch(Reserve("tea", 1), to="stock-tea"))


class TestSeveralReactors:
    """N230."""

    def test_they_answer_each_other_until_nothing_is_left_to_do(self):
        outcome = given(Cart, Stock, "c1").when(AddItem("tea", 2))
        outcome.then(ItemAdded("tea", 2), Reserve("tea", 2), Reserved(2))

    def test_the_new_messages_are_exactly_those_after_the_givens(self):
        outcome = given(Cart, Stock, "c1", ItemAdded("milk", 1)).when(AddItem("tea"))
        trail = [AddItem("tea"), ItemAdded("tea", 1), Reserve("tea", 1), Reserved(1)]
        assert [m.payload for m in outcome.new_messages] == trail
        assert [m.payload for m in outcome.followed] == trail[1:]
        assert len({m.correlation_id for m in outcome.new_messages}) == 1

    def test_without_givens_too(self):
        assert len(given(Cart, Stock, "c1").when(AddItem("tea")).new_messages) == 4

    def test_and_when_nothing_happens(self):
        outcome = given(Cart, Stock, "c1", ItemAdded("milk", 1)).when()
        assert outcome.then().new_messages == []

    def test_read_models_stand_beside_them(self):
        outcome = given(Cart, Stock, Sales, "c1", ItemAdded("milk", 1)).when(AddItem("tea", 2))
        outcome.then(ItemAdded("tea", 2), Reserve("tea", 2), Reserved(2))
        assert outcome.table("sales") == {"c1": {"items": 3}}

    def test_a_command_for_another_stream_is_addressed(self):
        outcome = given(Cart, Stock, "c1").when(dispatch(Reserve("tea", 3), to="stock-tea"))
        outcome.then(Message.new(Reserved(3), stream="stock-tea"))

    def test_among_several_a_rejection_is_recorded_as_it_is_by_workers(self):
        outcome = given(Cart, Stock, "c1", Closed()).when(AddItem("tea"))
        (rejected,) = outcome.followed
        assert isinstance(rejected.payload, Rejected)
        assert rejected.payload.reason == "cart_closed"

    def test_any_other_error_is_raised(self):
        notes = Notes()
        notes.on_decide = failing(ValueError("broken"))
        given(notes, Cart, "p").when(Note("a")).then_raises(ValueError("broken"))
