"""Given a workflow, when it is started and things happen, then this becomes of it: a run, told from its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sourced.app import Sourced
from sourced.clock import as_delta
from sourced.envelope import Message
from sourced.messages import Payload
from sourced.reactor import Reactor
from sourced.testing.clock import VirtualClock
from sourced.testing.saying import Said, enveloped
from sourced.workflow import events as e
from sourced.workflow.info import RunInfo
from sourced.workflow.workflow import Workflow
from sourced.workflows import Run


class Story:
    """A run on a memory store of its own. Nobody remembers it: all that happens takes it through its history again."""

    def __init__(self, reactors: Sequence[type[Reactor] | Reactor]) -> None:
        first = reactors[0]
        self.workflow: Any = first if isinstance(first, type) else type(first)
        self.clock = VirtualClock()
        self.app = Sourced(clock=self.clock, cache=0)
        self.app.register(*reactors)
        self._run: Run[Any] | None = None

    # -- what happens ------------------------------------------------------------------------------------------------

    def when_started(self, *args: Any, **kwargs: Any) -> Story:
        """It is started with these arguments, and gets as far as it gets."""
        if self._run is not None:
            raise TypeError("when_started: this run has begun already; a story is told of one run")
        self._run = self.app.start(self.workflow, *args, **kwargs)
        return self._drained()

    def when(self, *messages: Said) -> Story:
        """These are sent to it; or elsewhere, as `dispatch(message, to=…)`."""
        for said in messages:
            self.app.append((message := enveloped(said, self.run.id, self.clock.now())).stream, message)
        return self._drained()

    def after(self, duration: timedelta | float) -> Story:
        """So much time passes; what comes due on the way happens when it is due."""
        end = self.clock.now() + as_delta(duration)
        while due := [each.at for each in self.app.scheduled.list() if each.at <= end]:
            self.clock.advance(max(min(due) - self.clock.now(), timedelta()))
            self._drained()
        self.clock.advance(end - self.clock.now())
        return self._drained()

    def when_cancelled(self, reason: str = "") -> Story:
        """Somebody asks it to end."""
        self.run.cancel(reason)
        return self._drained()

    def _drained(self) -> Story:
        self.app.drain(raise_errors=True)
        return self

    # -- what became of it -------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run[Any]:
        if self._run is None:
            raise TypeError("expected when_started(…) first: there is no run yet")
        return self._run

    @property
    def info(self) -> RunInfo:
        return self.run.info()

    @property
    def history(self) -> list[Message[Any]]:
        return self.run.history()

    def then_result(self, expected: object) -> Story:
        """It has returned this."""
        self._is("completed", f"expected the result {expected!r}")
        found = self.run.result()
        assert found == expected, f"expected the result {expected!r}\n   found {found!r}"
        return self

    def then_raises(self, expected: type[Exception] | Exception) -> Story:
        """It has failed with this; an instance is compared by its message too."""
        name = expected.__qualname__ if isinstance(expected, type) else repr(expected)
        self._is("failed", f"expected {name}")
        try:
            self.run.result()
        except Exception as error:
            wanted = expected if isinstance(expected, type) else type(expected)
            same = isinstance(error, wanted) and (isinstance(expected, type) or str(error) == str(expected))
            if not same:
                raise AssertionError(f"expected {name}, found {self.info.error}") from error
        return self

    def then_cancelled(self) -> Story:
        self._is("cancelled", "expected it to be cancelled")
        return self

    def then_waits_for(self, *expected: type[Payload] | str) -> Story:
        """It waits, among others, for these: messages, or the beginning of what `info.waiting_for` says."""
        self._is("running", f"expected it to wait for {', '.join(map(_named, expected)) or 'something'}")
        found = self.info.waiting_for
        for each in map(_named, expected):
            assert any(each in waiting for waiting in found), f"expected it to wait for {each}\n   found {found}"
        return self

    def then_steps(self, *expected: str) -> Story:
        """These steps were called so far, in this order, however often each was tried."""
        started = [each.payload for each in self.history if isinstance(each.payload, e.StepStarted)]
        found = tuple(each.key.partition("#")[0].partition(":")[0] for each in started if each.attempt == 1)
        assert found == expected, f"expected the steps {', '.join(expected)}\n   found {', '.join(found) or 'none'}"
        return self

    def _is(self, status: str, otherwise: str) -> None:
        info = self.info
        assert not info.parked, f"{otherwise}, but it cannot go on: {info.parked}"
        why = (
            f": {info.error}" if info.error else f", waiting for {', '.join(info.waiting_for)}" * bool(info.waiting_for)
        )
        assert info.status == status, f"{otherwise}, but it is {info.status}{why}"


def is_told_of(things: Sequence[Any]) -> bool:
    """Reactors and nothing else, the first of them a workflow."""
    first = things[0] if things else None
    workflow = isinstance(first, Workflow) or (isinstance(first, type) and issubclass(first, Workflow))
    return workflow and not any(isinstance(each, str | Payload | Message) for each in things)


def _named(thing: type[Payload] | str) -> str:
    return thing if isinstance(thing, str) else thing.__sourced__.name
