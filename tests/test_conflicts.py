"""When somebody else was first, a decision is made anew on fresh history: a few times, and never on old news."""

import threading
from dataclasses import dataclass
from functools import partial
from unittest.mock import Mock

import pytest

from sourced import Actor, Command, Conflict, Event, Rejection, Sourced, decide, evolve
from sourced.runtime.engine import Engine
from sourced.store import Store
from sourced.testing.shop import AddItem, Cart, CartClosed, Close, ItemAdded
from tests.facts import somebody_else
from tests.notepad import Note, Noted, Notes, failing, nothing
from tests.rows import table


class Claim(Command):
    by: str


class Claimed(Event):
    by: str


class Taken(Rejection):
    """The name is taken."""


@dataclass
class Owner:
    name: str
    by: str | None = None


class Names(Actor[Owner]):
    @decide
    def claim(self, owner: Owner, command: Claim):
        if owner.by:
            raise Taken(owner.name, owner.by)
        yield Claimed(command.by)

    @evolve
    def claimed(self, owner: Owner, event: Claimed):
        owner.by = event.by


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def app(notes, store: Store):
    app = Sourced(store)
    app.register(notes)
    return app


def another_process(app, *reactors):
    """The same store, and a memory of its own."""
    other = Sourced(app.store)
    other.register(*reactors)
    return other


class Interference:
    """Somebody else who writes to the stream while it is being decided on, `times` times."""

    def __init__(self, app, times):
        self.other = another_process(app)
        self.left = times
        self.tries = 0

    def __call__(self, text):
        self.tries += 1
        if self.left:
            self.left -= 1
            somebody_else(lambda: self.other.append("p", Noted(f"theirs {self.tries}")))


@pytest.mark.parametrize("everybody", ["one app", "an app each", "a loaded actor each"])
def test_of_many_first_commands_for_one_name_exactly_one_succeeds(everybody, store: Store):
    """K192. Streams settle what is unique: the name is the stream, and all the others are told who has it."""
    app = Sourced(store)
    app.register(Names)
    for name in map(str, range(20)):
        start = threading.Barrier(4)
        outcomes: list[str | Taken] = []

        def claim(by, name=name, start=start, outcomes=outcomes):
            mine = app if everybody == "one app" else another_process(app, Names)
            execute = mine.load(Names, name).execute if "loaded" in everybody else lambda c: mine.execute(c, to=name)
            start.wait()
            try:
                outcomes.append(execute(Claim(by)).events[0].payload.by)
            except Taken as taken:
                outcomes.append(taken)

        threads = [threading.Thread(target=claim, args=(by,)) for by in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = (each for each in outcomes if isinstance(each, str))
        assert [each.details for each in outcomes if isinstance(each, Taken)] == [(name, winner)] * 3
        assert [m.payload for m in app.history(name)] == [Claim(winner), Claimed(winner)]


@pytest.mark.parametrize("loaded", [True, False])
def test_a_conflict_is_decided_anew_on_fresh_history(app, notes, loaded):
    cart = app.load(Notes, "p")
    notes.on_decide = interference = Interference(app, times=3)
    result = cart.execute(Note("mine")) if loaded else app.execute(Note("mine"), to="p")
    assert interference.tries == 4
    assert [m.seq for m in (result.command, *result.events)] == [4, 5]
    assert app.load(Notes, "p").state.texts == ["theirs 1", "theirs 2", "theirs 3", "mine"]
    assert cart.state.texts == ([*app.load(Notes, "p").state.texts] if loaded else [])


class Waiting(Interference):
    """Somebody who gets in the way every time, and has to wait the last time: in a thread of his own."""

    def __call__(self, text):
        self.tries += 1
        note = partial(self.other.append, "p", Noted(f"theirs {self.tries}"))
        if self.tries < Engine.tries:
            somebody_else(note)
        else:
            self.waiting = threading.Thread(target=note)
            self.waiting.start()


@pytest.mark.parametrize("loaded", [True, False])
def test_who_is_overtaken_again_and_again_is_decided_while_the_others_wait(app, notes, loaded):
    """However busy a stream is, nobody loses for ever; and what his state was made of is what is stored."""
    cart = app.load(Notes, "p")
    notes.on_decide = others = Waiting(app, times=0)
    cart.execute(Note("mine")) if loaded else app.execute(Note("mine"), to="p")
    others.waiting.join()
    assert others.tries == Engine.tries
    theirs = [f"theirs {number}" for number in range(1, Engine.tries + 1)]
    assert app.load(Notes, "p").state.texts == [*theirs[:-1], "mine", theirs[-1]]
    assert notes.calls == [("sync", [Note("mine"), Noted("mine")]), ("after_commit", [Noted("mine")])]
    if loaded:
        assert cart.state.texts == [*theirs[:-1], "mine"]


@pytest.mark.parametrize("loaded", [True, False])
def test_a_no_that_is_given_while_the_others_wait_leaves_a_state_that_is_up_to_date(app, notes, loaded):
    cart = app.load(Notes, "p")
    interference = Interference(app, times=Engine.tries - 1)

    def refusing(text):
        interference(text)
        if interference.tries == Engine.tries:
            raise CartClosed("p")

    notes.on_decide = refusing
    with pytest.raises(CartClosed):
        cart.execute(Note("mine")) if loaded else app.execute(Note("mine"), to="p")
    notes.on_decide = nothing
    assert [m.payload.text for m in app.history("p")] == ["theirs 1", "theirs 2", "theirs 3", "theirs 4"]
    result = cart.execute(Note("mine")) if loaded else app.execute(Note("mine"), to="p")
    assert result.command.seq == 5
    if loaded:
        assert cart.state == app.load(Notes, "p").state


def test_hooks_of_tries_that_lost_leave_nothing(app, notes):
    """K191 under conflict: `@sync` and `@after_commit` took effect once, for the try that won."""
    notes.on_decide = Interference(app, times=2)
    app.execute(Note("mine"), to="p")
    assert notes.calls == [("sync", [Note("mine"), Noted("mine")]), ("after_commit", [Noted("mine")])]
    assert table(app.store, "pads")["p"] == ("theirs 1", "theirs 2", "mine")


class TestExpectedSeq:
    def test_it_stores_when_the_stream_is_there(self, app):
        """D75."""
        assert app.execute(Note("a"), to="p", expected_seq=0).command.seq == 1
        assert app.execute(Note("b"), to="p", expected_seq=2).command.seq == 3
        assert app.load(Notes, "p").execute(Note("c"), expected_seq=4).command.seq == 5

    @pytest.mark.parametrize("expected", [0, 1, 3, 99, -1])
    def test_anywhere_else_it_is_a_conflict_and_nobody_decides(self, app, notes, expected):
        """D75. The one who pins is asked to look again; nothing is tried on their behalf."""
        app.execute(Note("a"), to="p")
        notes.on_decide = failing(AssertionError("nobody decides"))
        cart = app.load(Notes, "p")
        for execute in (lambda: app.execute(Note("b"), to="p", expected_seq=expected),
                        lambda: cart.execute(Note("b"), expected_seq=expected)):  # fmt: skip
            with pytest.raises(Conflict) as refused:
                execute()
            assert (refused.value.expected, refused.value.actual) == (expected, 2)
        assert (cart.seq, cart.state.texts) == (2, ["a"])

    @pytest.mark.parametrize("loaded", [True, False])
    def test_it_is_not_tried_again(self, app, notes, loaded):
        cart = app.load(Notes, "p")
        notes.on_decide = interference = Interference(app, times=1)
        with pytest.raises(Conflict):
            cart.execute(Note("a"), expected_seq=0) if loaded else app.execute(Note("a"), to="p", expected_seq=0)
        assert interference.tries == 1
        assert [m.payload for m in app.history("p")] == [Noted("theirs 1")]

    def test_a_handle_that_was_pinned_once_can_be_used_without_a_pin(self, app, notes):
        cart = app.load(Notes, "p")
        notes.on_decide = Interference(app, times=1)
        with pytest.raises(Conflict):
            cart.execute(Note("a"), expected_seq=0)
        assert (cart.seq, cart.state.texts) == (0, [])
        cart.execute(Note("a"))
        assert cart.state.texts == ["theirs 1", "a"]

    def test_what_this_app_remembers_of_the_stream_does_not_hide_what_another_wrote(self, app):
        app.execute(Note("a"), to="p")
        another_process(app, Notes).execute(Note("b"), to="p")
        with pytest.raises(Conflict):
            app.execute(Note("c"), to="p", expected_seq=2)
        assert app.execute(Note("c"), to="p", expected_seq=4).command.seq == 5


class TestStaleHandles:
    def test_a_decision_on_old_news_is_made_anew(self, app):
        cart = app.load(Notes, "p")
        app.execute(Note("theirs"), to="p")
        assert cart.execute(Note("mine")).command.seq == 3
        assert cart.state.texts == ["theirs", "mine"]

    @pytest.mark.parametrize("remembered", [True, False])
    def test_a_rejection_decided_on_old_news_is_decided_anew(self, remembered, store: Store):
        """The cart was closed when this one last looked, and somebody has opened it since."""

        class Open(Event): ...

        class Door(Cart, group="doors"):
            @evolve
            def opened(self, cart, event: Open):
                cart.open = True

        app = Sourced(store)
        app.register(Door)
        app.execute(Close(), to="c1")
        cart = app.load(Door, "c1")
        another_process(app).append("c1", Open())
        result = app.execute(AddItem("tea"), to="c1") if remembered else cart.execute(AddItem("tea"))
        assert [e.payload for e in result.events] == [ItemAdded("tea", 1)]

    @pytest.mark.parametrize("remembered", [True, False])
    def test_a_rejection_that_came_with_the_news_is_given(self, remembered, store: Store):
        app = Sourced(store)
        app.register(Cart)
        app.execute(AddItem("tea"), to="c1")
        cart = app.load(Cart, "c1")
        another_process(app, Cart).execute(Close(), to="c1")
        with pytest.raises(CartClosed):
            app.execute(AddItem("milk"), to="c1") if remembered else cart.execute(AddItem("milk"))
        assert len(app.history("c1")) == 4
        if not remembered:
            assert (cart.seq, cart.state.open) == (4, False)

    def test_a_rejection_on_a_state_that_is_up_to_date_is_asked_for_once(self, app, notes):
        notes.on_decide = asked = Mock(side_effect=ValueError("no"))
        with pytest.raises(ValueError, match="no"):
            app.load(Notes, "p").execute(Note("a"))
        asked.assert_called_once_with("a")

    def test_a_handle_of_an_earlier_time_decides_on_that_time_and_conflicts(self, app, notes):
        """Time travel is for looking: `refresh` brings the handle to the present, and then it decides."""
        app.execute(Note("a"), to="p")
        app.execute(Note("b"), to="p")
        past = app.load(Notes, "p", upto=2)
        with pytest.raises(Conflict):
            past.execute(Note("c"))
        assert (past.seq, past.state.texts) == (2, ["a"])
        assert [m.payload for m in past.refresh()] == [Note("b"), Noted("b")]
        past.execute(Note("c"))
        assert past.state.texts == ["a", "b", "c"]

    def test_a_handle_loaded_upto_the_present_seq_decides_as_long_as_nothing_came(self, app):
        app.execute(Note("a"), to="p")
        assert app.load(Notes, "p", upto=2).execute(Note("b")).command.seq == 3

    def test_news_that_cannot_be_folded_leave_no_half_of_themselves(self, app, notes):
        """The state starts over; once the code is mended it is read again from the beginning, each message once."""
        cart = app.load(Notes, "p")
        app.execute(Note("a"), to="p")
        app.append("p", [Noted("b"), Noted("broken"), Noted("c")])
        notes.on_evolve = failing(ValueError("no such text"), at="broken")
        with pytest.raises(ValueError, match="no such text"):
            cart.refresh()
        assert (cart.seq, cart.state.texts) == (0, [])
        notes.on_evolve = nothing
        cart.refresh()
        assert cart.state.texts == ["a", "b", "broken", "c"]


def test_what_the_actor_does_not_evolve_by_stands_in_nobodys_way(app, notes):
    """K191. A stream to which others queue commands all the time is decided on all the same."""
    app.execute(Note("a"), to="n")
    handle = app.load(Notes, "n")
    app.dispatch(Note("queued"), to="n")
    decision = handle.execute(Note("b"))
    assert (decision.command.seq, [e.seq for e in decision.events], handle.seq) == (4, [5], 5)
    assert [m.seq for m in app.history("n")] == [1, 2, 3, 4, 5]
    with pytest.raises(Conflict):
        app.execute(Note("c"), to="n", expected_seq=4)
    assert handle.execute(Note("d")).events[0].seq == 7


class Deciding(Names):
    """Notes who it thought was first."""

    def __init__(self) -> None:
        self.thought: list[str | None] = []

    @decide
    def claim(self, owner: Owner, command: Claim):
        self.thought.append(owner.by)
        yield from super().claim(owner, command)


def test_a_round_trusts_what_is_delivered_and_the_append_heeds_what_came_behind_it(store: Store):
    """Nothing is read of a stream whose messages go on where the state is; what it has got since is not overlooked."""
    app, names = Sourced(store), Deciding()
    app.register(names)
    app.dispatch(Claim("queued"), to="ada")
    another_process(app, names).execute(Claim("quick"), to="ada")
    app.drain()
    assert names.thought == [None, None, "quick"]
    assert [m.type for m in app.history("ada")] == ["claim", "claim", "claimed", "sourced.rejected"]
    app.dispatch(Claim("late"), to="ada")
    app.drain()
    assert names.thought == [None, None, "quick", "quick"]
    assert app.load(Deciding, "ada").state.by == "quick"


class Counting(Actor[int]):
    """Two commands of one stream, and the events of both."""

    def initial(self, stream: str) -> int:
        return 0

    @decide
    def claim(self, claims: int, command: Claim):
        yield Claimed(f"{command.by}, {claims} before")

    @evolve
    def claimed(self, claims: int, event: Claimed) -> int:
        return claims + 1


def test_commands_that_follow_on_a_state_are_decided_on_it_one_after_the_other(store: Store):
    app = Sourced(store)
    app.register(Counting)
    said = []
    for round in range(3):  # from nothing, then from what is remembered
        for by in ("a", "b"):
            app.dispatch(Claim(f"{by}{round}"), to="ada")
        app.drain()
        said = [m.payload.by for m in app.history("ada") if isinstance(m.payload, Claimed)]
    assert said == ["a0, 0 before", "b0, 1 before", "a1, 2 before", "b1, 3 before", "a2, 4 before", "b2, 5 before"]
