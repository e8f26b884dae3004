"""Workflows: ordinary Python that survives its process, made of steps that are each remembered once they are done."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from inspect import iscoroutinefunction, unwrap
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, TypeVar, overload

from sourced.actions import Actions
from sourced.annotations import names_around
from sourced.clock import as_delta
from sourced.errors import DefinitionError
from sourced.ids import new_stream_id
from sourced.messages import Payload, is_payload_class, snake
from sourced.reactor import Delivery, Reactor
from sourced.workflow import events as e
from sourced.workflow.attending import Attending, RunMemo
from sourced.workflow.definition import Definition
from sourced.workflow.promises import Child as _Child
from sourced.workflow.run import Run
from sourced.workflow.undo import Undo

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
E = TypeVar("E", bound=Payload)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Runs(Protocol[P, R_co]):
    """Anything with a `run`: what it takes and gives back is taken from there."""

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


@dataclass(frozen=True, slots=True)
class Named(Generic[P, R]):
    """A workflow to be started as a run with an id of its own."""

    workflow: type[Runs[P, R]]
    id: str
    metadata: Mapping[str, Any] | None = None


class Workflow(Reactor):
    """Subclass it, write `async def run(self, …)`, and mark what touches the world with `@step`.

    `run` is taken through its history whenever it has to go on, so it may do nothing but compute, call steps and wait.
    """

    version: ClassVar[int] = 1  # of the code; in `run`, of the code this run was begun with
    stored_name: ClassVar[str] = "workflow"

    Started: ClassVar[type[e.Started]] = e.Started
    StepStarted: ClassVar[type[e.StepStarted]] = e.StepStarted
    StepCompleted: ClassVar[type[e.StepCompleted]] = e.StepCompleted
    StepFailed: ClassVar[type[e.StepFailed]] = e.StepFailed
    StepInterrupted: ClassVar[type[e.StepInterrupted]] = e.StepInterrupted
    TimerSet: ClassVar[type[e.TimerSet]] = e.TimerSet
    TimerFired: ClassVar[type[e.TimerFired]] = e.TimerFired
    Waiting: ClassVar[type[e.Waiting]] = e.Waiting
    SignalCopied: ClassVar[type[e.SignalCopied]] = e.SignalCopied
    ChildStarted: ClassVar[type[e.ChildStarted]] = e.ChildStarted
    ContextChanged: ClassVar[type[e.ContextChanged]] = e.ContextChanged
    Forked: ClassVar[type[e.Forked]] = e.Forked
    Completed: ClassVar[type[e.Completed]] = e.Completed
    Failed: ClassVar[type[e.Failed]] = e.Failed
    Cancelled: ClassVar[type[e.Cancelled]] = e.Cancelled

    _run: Run | None = None  # of the instance that `run` is called on
    _attempt: Any = None  # of one that carries out a step
    _names: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, *, version: int | None = None, name: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.stored_name = name or snake(cls.__qualname__.rpartition("<locals>.")[2].replace(".", "_"))
        if version is not None:
            cls.version = version
        for kind, own in e.own_kinds(cls, cls.stored_name).items():
            if kind in vars(cls):
                raise DefinitionError(f"{cls.__qualname__}.{kind}: this name is taken by what every run writes down")
            setattr(cls, kind, own)
        run = vars(cls).get("run")
        if run is not None and not iscoroutinefunction(unwrap(run)):
            raise DefinitionError(f"{cls.__qualname__}.run: expected `async def run(self, …)`, found a plain one")
        cls._names = names_around()

    @classmethod
    def named(cls: type[Runs[P, R]], id: str, *, metadata: Mapping[str, Any] | None = None) -> Named[P, R]:
        """`app.start(BookHoliday.named("trip-42"), trip)`: begun once, however often it is asked for."""
        return Named(cls, id, metadata)

    async def run(self, *args: Any, **kwargs: Any) -> Any:
        """What is to be done, from beginning to end."""
        raise DefinitionError(f"{type(self).__qualname__}: expected `async def run(self, …)`")

    # -- what `run` may do besides calling steps ----------------------------------------------------------------------

    async def sleep(self, duration: timedelta | float) -> None:
        """Goes on after that time, however often the process is restarted meanwhile."""
        await self._within("sleep").sleep(as_delta(duration))

    @overload
    async def wait_for(self, message: type[A], /, *, timeout: timedelta | float | None = None) -> A: ...
    @overload
    async def wait_for(
        self, message: type[A], other: type[B], /, *, timeout: timedelta | float | None = None
    ) -> A | B: ...
    @overload
    async def wait_for(
        self, message: type[A], other: type[B], third: type[C], /, *, timeout: timedelta | float | None = None
    ) -> A | B | C: ...
    @overload
    async def wait_for(self, *messages: type[E], timeout: timedelta | float | None = None) -> E: ...
    async def wait_for(self, *messages: Any, timeout: timedelta | float | None = None) -> Any:
        """The first message of these types in the run's stream that was not taken yet, also one that came before.

        Raises `TimeoutError` when none has come in time; what is first in the log, message or timer, decides.
        """
        run = self._within("wait_for")
        for message in messages:
            self._check_signal(message)
        return await run.listen(messages, None if timeout is None else as_delta(timeout))

    @overload
    async def gather(self, a: Awaitable[A], b: Awaitable[B], /) -> tuple[A, B]: ...
    @overload
    async def gather(self, a: Awaitable[A], b: Awaitable[B], c: Awaitable[C], /) -> tuple[A, B, C]: ...
    @overload
    async def gather(self, *awaitables: Awaitable[R]) -> tuple[R, ...]: ...
    @overload
    async def gather(self, *awaitables: Awaitable[R], return_exceptions: bool) -> tuple[R | BaseException, ...]: ...
    async def gather(self, *awaitables: Awaitable[Any], return_exceptions: bool = False) -> tuple[Any, ...]:
        """Side by side: all results, in order. It waits for every one of them, and then raises what failed first."""
        return tuple(await self._within("gather").gather(awaitables, return_exceptions=return_exceptions))

    async def start(self, workflow: type[Runs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> Child[R]:
        """Starts a run of another workflow, which goes its own way; `await child.result()` waits for its end."""
        run = self._within("start")
        return Child(run, await run.start(_definition_of(workflow), args, kwargs))

    async def call(self, workflow: type[Runs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Starts a run of another workflow and waits for its result; when this one is cancelled, so is that one."""
        child = await self.start(workflow, *args, **kwargs)
        return await child.result()

    def undoing(self) -> Undo:
        """`async with self.undoing() as undo:` … what `undo(step, …)` was told is done if the block fails."""
        self._within("undoing")
        return Undo()

    def now(self) -> datetime:
        """The time of what `run` has heard of last: the same whenever it is taken through its history."""
        return self._within("now").now

    @property
    def random(self) -> random.Random:
        """Luck that is the same whenever `run` is taken through its history."""
        return self._within("random").random

    @property
    def context(self) -> dict[str, Any]:
        """What the run keeps at hand, as JSON can hold it; steps see it, and what they change in it is stored."""
        if self._attempt is not None:
            context: dict[str, Any] = self._attempt.context
            return context
        return self._within("context").context

    @property
    def id(self) -> str:
        """The run: the name of its stream."""
        return str(self._attempt.run) if self._attempt is not None else self._within("id").stream

    @property
    def step_id(self) -> str:
        """In a step: the same for every attempt, and of no other step; an idempotency key for the outside world."""
        return str(self._in_step("step_id").id)

    @property
    def attempt(self) -> int:
        """In a step: 1 for the first attempt."""
        return int(self._in_step("attempt").number)

    def _within(self, what: str) -> Run:
        if self._run is None:
            raise DefinitionError(
                f"{type(self).__qualname__}.{what} belongs into `run`, and is not there outside of it"
            )
        return self._run

    def _in_step(self, what: str) -> Any:
        if self._attempt is None:
            raise DefinitionError(f"{type(self).__qualname__}.{what} belongs into a step that a run has called")
        return self._attempt

    def _check_signal(self, message: Any) -> None:
        if not is_payload_class(message):
            raise DefinitionError(f"{type(self).__qualname__}: wait_for takes message classes, found {message!r}")
        run = self._within("wait_for")
        if not any(issubclass(each, message) for each in run.definition.signals):
            raise DefinitionError(
                f"{type(self).__qualname__} waits for {message.__qualname__}, and would not be woken: its own code has "
                f"to name it, so write `self.wait_for({message.__qualname__})` in one of its methods"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if self._run is not None or self._attempt is not None:
            where = "run" if self._run is not None else "a step"
            raise DefinitionError(
                f"{type(self).__qualname__}: {where} set self.{name}, which nothing else would ever see; "
                f"keep it in a variable, give it back as a result, or put it into self.context"
            )
        super().__setattr__(name, value)

    # -- the reactor ------------------------------------------------------------------------------------------------

    @functools.cached_property
    def definition(self) -> Definition:
        cls = type(self)
        if cls.run is Workflow.run:
            raise DefinitionError(f"{cls.__qualname__}: expected `async def run(self, …)`")
        return Definition(self, {kind.__name__: getattr(cls, kind.__name__) for kind in e.KINDS}, cls._names)

    @functools.cached_property
    def attending(self) -> Attending:
        return Attending(self.definition, self.group)

    @functools.cached_property
    def handles(self) -> tuple[type[Payload], ...]:  # type: ignore[override]
        own = (e.Started, e.StepStarted, e.StepCompleted, e.StepFailed, e.StepInterrupted, e.TimerFired, e.Forked)
        return (*(getattr(type(self), kind.__name__) for kind in own), *e.SHARED, *self.definition.signals)

    def messages(self) -> Iterable[type[Payload]]:
        return (*self.definition.kinds, *self.definition.signals)

    def memo(self, stream: str) -> RunMemo:
        return RunMemo(self.attending, stream)

    def handle(self, delivery: Delivery) -> Actions:
        memo = delivery.memo
        assert isinstance(memo, RunMemo)
        return () if delivery.replaying else memo.attend(delivery)

    @classmethod
    def new_stream(cls) -> str:
        return new_stream_id(cls.stored_name)


class Child(Generic[R]):
    """A run that this one has started."""

    def __init__(self, run: Run, child: _Child) -> None:
        self._run, self._child = run, child

    @property
    def id(self) -> str:
        return self._child.run

    async def result(self) -> R:
        """Its result, once there is one; raises `RunFailed` if there is none."""
        return await self._run.outcome(self._child)


def _definition_of(workflow: Any) -> Definition:
    if not (isinstance(workflow, type) and issubclass(workflow, Workflow)):
        raise DefinitionError(f"expected a workflow's class, found {workflow!r}")
    if workflow not in _elsewhere:  # it may be at home in another process: only its signature is asked for
        _elsewhere[workflow] = workflow.__new__(workflow).definition
    return _elsewhere[workflow]


_elsewhere: dict[type[Workflow], Definition] = {}
