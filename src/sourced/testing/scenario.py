"""Given these messages, when that one comes, then these follow: tests of actors, projectors and whole cascades."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NoReturn, overload

from sourced.actor import Actor
from sourced.app import Sourced
from sourced.envelope import Message, Outgoing, address
from sourced.errors import SourcedError
from sourced.ids import new_id
from sourced.messages import Payload
from sourced.ops import run
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.runtime.programs import perform
from sourced.runtime.rounds.round import Round
from sourced.runtime.transacting import transacting
from sourced.store import Entry, Scheduled
from sourced.testing.clock import VirtualClock
from sourced.testing.saying import Said, enveloped
from sourced.testing.story import Story, is_told_of
from sourced.view import View
from sourced.workflow.workflow import Workflow


class FinishedScenario(SourcedError):
    """What was given cannot change any more once it has been acted upon."""


@overload
def given(  # type: ignore[overload-overlap]  # a workflow is a reactor, and without a stream it is told as a story
    workflow: type[Workflow] | Workflow, /, *others: type[Reactor] | Reactor
) -> Story: ...
@overload
def given(*things: type[Reactor] | Reactor | str | Said) -> Scenario: ...
def given(*things: Any) -> Scenario | Story:
    """`given(Cart, "c1", CartOpened(), …)`: reactors first, then the stream, then what had happened in it.

    Messages of other streams are given as `dispatch(message, to="other")`. A workflow comes without a stream, and
    perhaps with other reactors: `given(BookHoliday).when_started(trip)`.
    """
    if is_told_of(things):
        return Story(things)
    reactors: list[type[Reactor] | Reactor] = []
    rest = list(things)
    while rest and (isinstance(rest[0], Reactor) or (isinstance(rest[0], type) and issubclass(rest[0], Reactor))):
        reactors.append(rest.pop(0))
    if not reactors or not rest or not isinstance(rest[0], str):
        raise TypeError(f"given: expected one or more reactors, then a stream's name, then messages, found {things!r}")
    stream, *messages = rest
    assert isinstance(stream, str)
    return Scenario(reactors, stream).given(*messages)


class Scenario:
    """Reactors on a memory store of their own, and what happened before."""

    def __init__(self, reactors: Sequence[type[Reactor] | Reactor], stream: str) -> None:
        self.clock = VirtualClock()
        self.app = Sourced(clock=self.clock)
        self.app.register(*reactors)
        self.stream = stream
        self.finished = False

    def given(self, *messages: Said) -> Scenario:
        """More of what happened before; none of it is handled again."""
        if self.finished:
            raise FinishedScenario("expected no more givens after when; start a new scenario with given(…)")
        engine = self.app._engine
        groups = tuple(reactor.group for reactor in engine.router)
        for said in messages:
            message = enveloped(said, self.stream, self.clock.now())
            record = engine.codec.encode(message, settled_by=groups)
            with self.app.store.transaction() as connection:
                (outcome,) = run(self.app.store.append([Entry(message.stream, (record,))]), connection)
            if isinstance(outcome, Exception):
                raise outcome
        return self

    def when(self, *messages: Said) -> Outcome:
        """What happens now. One reactor handles it alone; several answer each other until nothing is left to do."""
        self.finished = True
        return Outcome(self, [enveloped(said, self.stream, self.clock.now()) for said in messages])


class Outcome:
    """What followed. It is worked out once, when it is first asked for."""

    def __init__(self, scenario: Scenario, messages: Sequence[Message[Any]]) -> None:
        self._scenario = scenario
        self._messages = messages
        self.app = scenario.app
        self.error: Exception | None = None

    def given(self, *messages: Said) -> NoReturn:
        self._scenario.given(*messages)
        raise AssertionError("unreachable: a finished scenario refuses")

    @functools.cached_property
    def new_messages(self) -> list[Message[Any]]:
        """Everything stored since the givens, what was acted upon included, in order."""
        self._project_the_givens()
        before = self.app.status().position
        try:
            for message in self._messages:
                self._act(message)
        except Exception as error:
            self.error = error
        return self.app.read_all(after=before)

    def _project_the_givens(self) -> None:
        """Read models have seen what was given, as a replay: nothing reacts to it."""
        for reactor in self.app._engine.router:
            if isinstance(reactor, Projector):
                self.app.groups.reset(reactor)
                while self._round(reactor) is not None:
                    pass

    def _round(self, reactor: Reactor) -> int | None:
        program = Round(self.app._engine, reactor, new_id(), raise_errors=True).program()
        return perform(program, transacting(self.app.store))

    def _act(self, message: Message[Any]) -> None:
        reactors = list(self.app._engine.router)
        only = reactors[0] if len(reactors) == 1 else None
        if isinstance(only, Actor) and type(message.payload) in only.decides():
            self.app.execute(message)
            return
        self.app.dispatch(message)
        if only is None:
            self.app.drain(raise_errors=True)
        else:
            self._round(only)

    @property
    def followed(self) -> list[Message[Any]]:
        """What was stored or scheduled in consequence."""
        acted = {message.id for message in self._messages}
        later = [self.app._engine.codec.decode(each.record) for each in self.scheduled]
        return [message for message in (*self.new_messages, *later) if message.id not in acted]

    @property
    def scheduled(self) -> list[Scheduled]:
        """What waits for its time, afterwards."""
        assert self.new_messages is not None
        return self.app.scheduled.list()

    @property
    def state(self) -> Any:
        """The state of the stream's actor, afterwards."""
        actors = [type(reactor) for reactor in self.app._engine.router if isinstance(reactor, Actor)]
        if not actors:
            raise TypeError("state: expected an actor among what was given; a projector has then_view(…) and table(…)")
        assert self.new_messages is not None
        return self.app.load(actors[0], self._scenario.stream).state

    def table(self, name: str) -> dict[Any, Any]:
        """What `@sync` methods wrote to `tx.table(name)`."""
        assert self.new_messages is not None
        return dict(self.app.store.table(name))  # type: ignore[attr-defined]

    def then(self, *expected: Said) -> Outcome:
        """Exactly these followed, in this order; a `dispatch(…)` also says to which stream, and when."""
        for each in expected:
            if not isinstance(each, Payload | Outgoing | Message):
                raise TypeError(f"then: expected messages, one by one, found {each!r}")
        followed = self.followed
        if self.error is not None:
            raise AssertionError(f"expected {_listed(expected)}, but it failed: {self.error!r}") from self.error
        matches = len(followed) == len(expected) and all(map(self._matches, expected, followed))
        assert matches, f"expected {_listed(expected)}\n   found {_listed(followed)}"
        return self

    def then_view(
        self, expected: View | None, *, key: str | None = None, of: type[Projector[Any]] | str | None = None
    ) -> Outcome:  # fmt: skip
        """This is the row now, by the stream's name unless you say another `key`; None: there is none.

        `of` names the projector, where several keep rows of the same class or there is to be no row.
        """
        if not (expected is None or isinstance(expected, View)):
            raise TypeError(f"then_view: expected a row, or None for no row, found {expected!r}")
        assert self.new_messages is not None
        if self.error is not None:
            raise AssertionError(f"expected {expected!r}, but it failed: {self.error!r}") from self.error
        rows = self.app.views(self._viewing(expected, of))
        key = self._scenario.stream if key is None else key
        found = rows.get(key)
        if expected != found:
            others = f"; there are rows by: {', '.join(map(repr, rows.all())) or 'none'}" if found is None else ""
            raise AssertionError(f"expected {expected!r}\n   found {found!r} by {key!r}{others}")
        return self

    def _viewing(self, expected: View | None, of: type[Projector[Any]] | str | None) -> Any:
        """The projector whose rows these are."""
        if of is not None:
            return of
        kept = [each for each in self.app._engine.router if isinstance(each, Projector) and each._shape]
        fitting = [each for each in kept if expected is None or each.made_of is type(expected)]
        if len(fitting) != 1:
            names = ", ".join(each.group for each in kept) or "none"
            raise TypeError(f"then_view: say whose row it is, of=…; projectors with rows kept for them are: {names}")
        return fitting[0].group

    def then_raises(self, expected: type[Exception] | Exception) -> Outcome:
        """It was refused, or failed, in this way; an instance is compared by its message too."""
        followed, error = self.followed, self.error
        wanted, name = (
            (expected, expected.__qualname__) if isinstance(expected, type) else (type(expected), repr(expected))
        )
        if error is None:
            raise AssertionError(f"expected {name}, but this followed: {_listed(followed)}")
        same = isinstance(error, wanted) and (isinstance(expected, type) or str(error) == str(expected))
        if not same:
            raise AssertionError(f"expected {name}, found {error!r}") from error
        return self

    def _matches(self, expected: Said, found: Message[Any]) -> bool:
        if isinstance(expected, Payload):
            return bool(expected == found.payload)
        if isinstance(expected, Message):
            return (expected.stream, expected.payload) == (found.stream, found.payload)
        due = expected.due(self._scenario.clock.now())
        at = next((each.at for each in self.scheduled if each.record.id == found.id), None)
        streams = expected.to is None or _goes_to(expected.to, found.stream)
        return expected.payload == found.payload and streams and due == at


def _goes_to(to: Any, stream: str) -> bool:
    """To an actor's class means: to a new stream of that actor, named like any other but for the id at its end."""
    name, end = address(to), len(new_id())
    if isinstance(to, type):
        return (len(name), name[:-end]) == (len(stream), stream[:-end])
    return name == stream


def _listed(messages: Sequence[Said]) -> str:
    shown = [m.payload if isinstance(m, Message) else m for m in messages]
    return ", ".join(map(repr, shown)) or "nothing"
