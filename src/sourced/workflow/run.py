"""A run: its journal, and the code that is taken through it again and again, each time to exactly where it was.

Messages are fed in the order of the log; after each the code goes on until it waits. What the code asks for on the way
is *planned* until the journal has it. Since one append stores all that is planned at that place, code that asks for
something else than its history says is found out at once.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import msgspec

from sourced.envelope import Message
from sourced.errors import (
    DefinitionError,
    Diverged,
    Invalid,
    Recalled,
    RunFailed,
    SourcedError,
    StepFailed,
    UnknownMessage,
)
from sourced.workflow import events as e
from sourced.workflow.asking import Asking
from sourced.workflow.definition import Definition
from sourced.workflow.failures import again, trouble_of
from sourced.workflow.promises import Call, Child, attempt_key
from sourced.workflow.strands import Strand

END = "the end"
MOST_INTERRUPTIONS = 5  # of one step: then it, and not its worker, is to blame


class Run(Asking):
    """One run of a workflow, as of a message of its stream."""

    def __init__(self, definition: Definition, stream: str) -> None:
        super().__init__(definition, stream)
        self.seq = 0
        self.ended: e.Journal | None = None
        self.stuck: SourcedError | None = None  # it cannot go on before a person has looked at it
        self._main: Strand | None = None
        self._noted = False  # the last message fed was one that had been planned
        self._cancelled = False
        self._copied = False  # this part of the history comes from another run

    # -- what its stream says ----------------------------------------------------------------------------------------

    def feed(self, message: Message[Any]) -> None:
        """Takes the next message of the stream, and the code as far as it gets with it."""
        self.seq = message.seq
        if self.ended or self.stuck:
            return
        try:
            self._take(message)
            self.loom.turn()
        except (Diverged, DefinitionError, UnknownMessage) as error:
            self.stuck = error

    def _take(self, message: Message[Any]) -> None:
        payload = message.payload
        kind = self.definition.kinds.get(type(payload))
        planned = kind in _PLANNED
        if kind is e.StepStarted and payload.attempt > 1:
            planned = attempt_key(payload.key, payload.attempt) in self.planned
        if self._noted and not planned and self.planned and not self._copied:
            extra = ", ".join(map(repr, self.planned))
            self._diverged(f"before seq {message.seq} this code asks for {extra}, of which its history knows nothing")
        self._noted = planned
        if not planned:
            self.cause = message
        if kind is not None:
            _TAKERS[kind](self, message, payload)
        elif isinstance(payload, e.Journal):
            raise UnknownMessage(message.type, within=self.definition.where)
        elif self.started is not None:
            self._signalled(message)

    def _started(self, message: Message[Any], payload: e.Started) -> None:
        self.started = message
        self._copied = bool(payload.forked_from)
        workflow = self.definition.in_run(self)
        try:
            args, kwargs = self.definition.shape.unpack(payload.arguments)
        except Invalid as wrong:
            self._diverged(f"what it was started with does not fit `run` any more: {wrong}")
        self._main = self.loom.spawn(self.definition.method(workflow, *args, **kwargs), self._run_ended)

    def _step_started(self, message: Message[Any], payload: e.StepStarted) -> None:
        call = self.calls.get(payload.key)
        if payload.attempt == 1:
            self._note(payload.key, f"step {payload.key!r} was started", message)
        elif call is not None:
            self.planned.pop(attempt_key(payload.key, payload.attempt), None)
        call = self.calls[payload.key] if call is None else call
        if payload.attempt > call.attempt:
            call.attempt, call.started, call.retry_at, call.lost = payload.attempt, message, None, False

    def _step_completed(self, message: Message[Any], payload: e.StepCompleted) -> None:
        call = self._call(message, payload.key)
        try:
            value = self.definition.shapes[call.step.name].unpack_result(payload.result)
        except msgspec.ValidationError as wrong:
            self._diverged(f"the stored result of step {call.key!r} does not fit its annotation any more: {wrong}")
        self.settle(call, value)

    def _step_failed(self, message: Message[Any], payload: e.StepFailed) -> None:
        call = self._call(message, payload.key)
        call.retry_at = payload.retry_at
        call.lost = False
        if payload.retry_at is None:
            attempts = f"{payload.attempt} attempt" + "s" * (payload.attempt != 1)
            where = f"step {call.key.partition(':')[0]} failed after {attempts}"
            self.settle(call, error=again(StepFailed, where, payload.error, self.definition.exceptions))

    def _step_interrupted(self, message: Message[Any], payload: e.StepInterrupted) -> None:
        call = self._call(message, payload.key)
        if payload.attempt == call.attempt and not call.settled and call.retry_at is None:
            call.interrupted += 1
            call.lost = True
            if call.interrupted < MOST_INTERRUPTIONS and not call.given_up:
                following = self.own[e.StepStarted](call.key, call.arguments, call.attempt + 1)
                self.plan(attempt_key(call.key, call.attempt + 1), lambda now: following)

    def _timer_set(self, message: Message[Any], payload: e.TimerSet) -> None:
        self._note(payload.key, f"timer {payload.key!r} was set", message)
        self.timer(payload.key).at = payload.at

    def _waiting(self, message: Message[Any], payload: e.Waiting) -> None:
        self._note(payload.key, f"{payload.key!r} began", message)
        self.timer(payload.key).at = payload.until

    def _timer_fired(self, message: Message[Any], payload: e.TimerFired) -> None:
        timer = self.promises.get(payload.key)
        if timer is None:
            self._diverged(f"at seq {message.seq} timer {payload.key!r} fired, which this code has not set")
        self.settle(timer)

    def _child_started(self, message: Message[Any], payload: e.ChildStarted) -> None:
        self._note(payload.key, f"{payload.run!r} was started", message)

    def _child_ended(self, message: Message[Any], payload: e.ChildCompleted | e.ChildFailed) -> None:
        child = self.promises.get(payload.key)
        if not isinstance(child, Child):
            self._diverged(f"at seq {message.seq} run {payload.key!r} ended, which this code has not started")
        if isinstance(payload, e.ChildCompleted):
            self.settle(child, child.definition.shape.unpack_result(payload.result))
        else:
            known = self.definition.exceptions
            self.settle(child, error=again(RunFailed, f"{child.run!r} failed", payload.error, known))

    def _context_changed(self, message: Message[Any], payload: e.ContextChanged) -> None:
        self.context.update(copy.deepcopy(payload.changed))
        for key in payload.removed:
            self.context.pop(key, None)

    def _cancel_requested(self, message: Message[Any], payload: e.CancelRequested) -> None:
        if self._main is not None and not self._cancelled:
            self._cancelled = True  # once: what it does about it is not disturbed again
            self.loom.cancel(self._main, payload.reason)

    def _forked(self, message: Message[Any], payload: e.Forked) -> None:
        self._copied = False

    def _over(self, message: Message[Any], payload: e.Journal) -> None:
        self.end(payload)

    def end(self, payload: e.Journal) -> None:
        self.ended = payload
        self.planned.clear()
        self.loom.closed = True

    def _signalled(self, message: Message[Any]) -> None:
        self.arrived(message.payload)

    def _signal_copied(self, message: Message[Any], payload: e.SignalCopied) -> None:
        cls = next((each for each in self.definition.signals if payload.type in each.__sourced__.names), None)
        if cls is not None:
            self.arrived(msgspec.convert(payload.payload, cls, str_keys=True))

    # -- what is to be done ------------------------------------------------------------------------------------------

    def due(self, started: Sequence[Message[Any]]) -> list[Call]:
        """The steps whose attempts begin with these messages, as far as anybody still waits for them."""
        return [
            call
            for message in started
            if self.definition.kinds.get(type(message.payload)) is e.StepStarted
            and (call := self.calls.get(message.payload.key)) is not None
            and (call.attempt, call.settled, call.given_up) == (message.payload.attempt, False, False)
            and not call.lost
            and call.retry_at is None
        ]

    def exhausted(self) -> Iterator[Call]:
        """Steps that were interrupted so often that they count as failed."""
        for call in self.calls.values():
            if call.lost and call.interrupted >= MOST_INTERRUPTIONS and not call.settled and not call.given_up:
                yield call

    # -- the history and the code -------------------------------------------------------------------------------------

    def _note(self, key: str, what: str, message: Message[Any]) -> None:
        """What was planned is in the journal now; what was not planned should not be there."""
        if self.planned.pop(key, None) is None:
            name = key.partition(":")[0]
            instead = next((each for each in self.planned if each.partition(":")[0] == name), None)
            asked = ", ".join(map(repr, self.planned)) or "nothing"
            why = f"with other arguments here: {instead!r}" if instead else f"where this code asks for {asked}"
            self._diverged(f"by its history {what} at seq {message.seq}, {why}")

    def _diverged(self, why: str) -> NoReturn:
        raise Diverged(self.stream, why)

    def _call(self, message: Message[Any], key: str) -> Call:
        call = self.calls.get(key)
        if call is None:
            self._diverged(f"at seq {message.seq} step {key!r} came to an end, which this code has not called")
        return call

    def _run_ended(self, result: Any, error: BaseException | None) -> None:
        if isinstance(error, DefinitionError | Diverged) and not isinstance(error, Recalled):
            raise error
        if error is None:
            ending = self.own[e.Completed](self.definition.shape.pack_result(result))
        elif isinstance(error, asyncio.CancelledError):
            ending = self.own[e.Cancelled](str(error))
        else:
            ending = self.own[e.Failed](trouble_of(error))
        self.plan(END, lambda now: ending)


_PLANNED = frozenset({e.StepStarted, e.TimerSet, e.Waiting, e.ChildStarted, e.Completed, e.Failed, e.Cancelled})
_TAKERS: dict[type[Any], Callable[[Run, Message[Any], Any], None]] = {
    e.Started: Run._started,
    e.StepStarted: Run._step_started,
    e.StepCompleted: Run._step_completed,
    e.StepFailed: Run._step_failed,
    e.StepInterrupted: Run._step_interrupted,
    e.TimerSet: Run._timer_set,
    e.TimerFired: Run._timer_fired,
    e.Waiting: Run._waiting,
    e.SignalCopied: Run._signal_copied,
    e.ChildStarted: Run._child_started,
    e.ChildCompleted: Run._child_ended,
    e.ChildFailed: Run._child_ended,
    e.ContextChanged: Run._context_changed,
    e.CancelRequested: Run._cancel_requested,
    e.Forked: Run._forked,
    e.Completed: Run._over,
    e.Failed: Run._over,
    e.Cancelled: Run._over,
}
