"""What the code of a run asks for: it is planned until the journal has it, and answered when its time has come."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

from sourced.envelope import Message
from sourced.messages import Payload
from sourced.workflow import events as e
from sourced.workflow.definition import Definition
from sourced.workflow.promises import Call, Child, Listener, Promise, Timer, attempt_id, child_id, timer_id
from sourced.workflow.step import Step
from sourced.workflow.strands import Loom, Strand, Wait

Plan: TypeAlias = Callable[[datetime], e.Journal]
"""What will be written down, given the time."""


class Asking:
    """One run, as its code sees it."""

    def __init__(self, definition: Definition, stream: str) -> None:
        self.definition = definition
        self.own = definition.own
        self.stream = stream
        self.loom = Loom()
        self.started: Message[Any] | None = None
        self.cause: Message[Any] | None = None  # what was heard last, and led to what is planned
        self.context: dict[str, Any] = {}
        self.planned: dict[str, Plan] = {}  # asked for by the code, and not in the journal yet
        self.obsolete: list[tuple[str, datetime]] = []  # messages on the schedule that nobody waits for any more
        self.stopped: list[Call] = []  # steps under way that nobody waits for any more
        self.forsaken: list[str] = []  # runs it has started and does not wait for any more
        self.calls: dict[str, Call] = {}
        self.promises: dict[str, Promise] = {}  # the others
        self._ordinals: dict[str, int] = {}
        self._inbox: list[Payload] = []  # signals that nobody has waited for so far
        self._listeners: list[Listener] = []
        self._random: random.Random | None = None

    def step(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Wait:
        return Wait(self.loom, partial(self._begin_step, step, args, kwargs))

    def _begin_step(self, step: Step[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any], strand: Strand) -> None:
        arguments, digest = self.definition.shapes[step.name].pack(args, kwargs)
        key = f"{step.name}:{digest}" if step.terms.once else f"{self._next(step.name)}:{digest}"
        call = self.calls.get(key)
        if call is None or call.given_up:
            call = self.calls[key] = Call(key, step, arguments)
            self.plan(key, lambda now: self.own[e.StepStarted](key, arguments))
        self._wait(call, strand, partial(self._leave, call))

    def sleep(self, duration: timedelta) -> Wait:
        def begin(strand: Strand) -> None:
            timer = self._new_timer(self._next("sleep"), duration)
            self._wait(timer, strand, partial(self._leave, timer))

        return Wait(self.loom, begin)

    def listen(self, wanted: tuple[type[Payload], ...], timeout: timedelta | None) -> Wait:
        def begin(strand: Strand) -> None:
            key = self._next("wait_for")
            for signal in self._inbox:
                if isinstance(signal, wanted):
                    self._inbox.remove(signal)
                    return self.loom.answer(strand, signal)
            names = [each.__sourced__.name for each in wanted]
            listener = Listener(key, strand, wanted)
            listener.error = TimeoutError(f"{' or '.join(names)} did not come within {timeout}")
            listener.waiting.append(strand)
            self._listeners.append(listener)
            self.promises[key] = listener
            self.plan(key, lambda now: self.own[e.Waiting](key, names, None if timeout is None else now + timeout))
            strand.leave = partial(self._stop_listening, listener)
            return None

        return Wait(self.loom, begin)

    def start(self, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Wait:
        def begin(strand: Strand) -> None:
            arguments, digest = definition.shape.pack(args, kwargs)
            ordinal = self._next(definition.name)
            run = child_id(definition.prefix, self.stream, ordinal)
            child = Child(f"{ordinal}:{digest}", definition, run)
            self.promises[child.key] = child
            self.plan(child.key, lambda now: self.own[e.ChildStarted](child.key, run, arguments))
            self.loom.answer(strand, child)

        return Wait(self.loom, begin)

    def outcome(self, child: Child) -> Wait:
        def begin(strand: Strand) -> None:
            self._wait(child, strand, partial(self._forsake, child))

        return Wait(self.loom, begin)

    def gather(self, awaitables: Sequence[Awaitable[Any]], *, return_exceptions: bool) -> Wait:
        return self.loom.gather(awaitables, return_exceptions=return_exceptions)

    def child(self, key: str) -> Child:
        child = self.promises[key]
        assert isinstance(child, Child)
        return child

    @property
    def now(self) -> datetime:
        assert self.cause is not None
        return self.cause.created_at

    @property
    def random(self) -> random.Random:
        if self._random is None:
            self._random = random.Random(self.stream)
        return self._random

    @property
    def version(self) -> int:
        assert self.started is not None
        return int(self.started.payload.version)

    # -- promises ------------------------------------------------------------------------------------------------------

    def _next(self, name: str) -> str:
        number = self._ordinals[name] = self._ordinals.get(name, 0) + 1
        return f"{name}#{number}"

    def plan(self, key: str, plan: Plan) -> None:
        self.planned[key] = plan

    def _new_timer(self, key: str, duration: timedelta) -> Timer:
        timer = Timer(key)
        self.promises[key] = timer
        self.plan(key, lambda now: self.own[e.TimerSet](key, now + duration))
        return timer

    def timer(self, key: str) -> Timer:
        timer = self.promises[key]
        assert isinstance(timer, Timer)
        return timer

    def _wait(self, promise: Promise, strand: Strand, leave: Callable[[Strand], None]) -> None:
        if promise.settled:
            self._answer(strand, promise)
        else:
            promise.waiting.append(strand)
            strand.leave = partial(leave, strand)

    def settle(self, promise: Promise, value: Any = None, error: BaseException | None = None) -> None:
        if promise.settled:
            return
        promise.settled, promise.value, promise.error = True, value, error or promise.error
        if isinstance(promise, Listener):
            self._listeners.remove(promise)
        for strand in promise.waiting:
            self._answer(strand, promise)
        promise.waiting.clear()

    def _answer(self, strand: Strand, promise: Promise) -> None:
        if promise.error is not None:
            self.loom.fail(strand, promise.error)
        else:
            self.loom.answer(strand, promise.value)

    def _leave(self, promise: Promise, strand: Strand) -> None:
        promise.waiting.remove(strand)
        if promise.waiting:
            return
        promise.given_up = True
        if isinstance(promise, Timer):
            self._give_up_timer(promise)
        elif isinstance(promise, Call):
            if self.planned.pop(promise.key, None) is not None:
                del self.calls[promise.key]
            elif promise.retry_at is not None:
                self.obsolete.append((attempt_id(self.stream, promise.key, promise.attempt + 1), promise.retry_at))
            else:
                self.stopped.append(promise)

    def _give_up_timer(self, timer: Timer) -> None:
        timer.waiting.clear()
        timer.settled = timer.given_up = True
        if self.planned.pop(timer.key, None) is None and timer.at is not None:
            self.obsolete.append((timer_id(self.stream, timer.key), timer.at))

    def _stop_listening(self, listener: Listener) -> None:
        self._listeners.remove(listener)
        self._give_up_timer(listener)

    def _forsake(self, child: Child, strand: Strand) -> None:
        child.waiting.remove(strand)
        child.given_up = True
        if self.planned.pop(child.key, None) is None:
            self.forsaken.append(child.run)

    def arrived(self, signal: Payload) -> None:
        for listener in self._listeners:
            if isinstance(signal, listener.wanted):
                self._stop_listening(listener)
                self.loom.answer(listener.strand, signal)
                return
        self._inbox.append(signal)
