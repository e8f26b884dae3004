"""One try at a step: what it is called with, and what its result or its failure means for the run."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Awaitable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.actions import Schedule
from sourced.envelope import Message
from sourced.errors import DefinitionError
from sourced.workflow import events as e
from sourced.workflow.definition import Definition
from sourced.workflow.failures import trouble_of
from sourced.workflow.promises import Call, attempt_id, watchdog_id
from sourced.workflow.run import Run

CANCELLED = "the step awaited something that was cancelled"

Ref: TypeAlias = tuple[str, str, int]


class Result(NamedTuple):
    """How an attempt ended."""

    value: Any = None
    error: BaseException | None = None


class Attempt:
    """An attempt that is to be made now."""

    def __init__(self, definition: Definition, run: Run, call: Call) -> None:
        assert call.started is not None
        self.definition = definition
        self.run = run.stream
        self.version = run.version
        self.step = call.step
        self.key = call.key
        self.number = call.attempt
        self.started = call.started
        self.arguments = call.arguments
        self.context = copy.deepcopy(run.context) if run.context else {}  # the step's own: it may change it
        self._before = copy.deepcopy(run.context) if run.context else {}

    @property
    def id(self) -> str:
        return f"{self.run}/{self.key}"

    @property
    def ref(self) -> Ref:
        return self.run, self.key, self.number

    # -- making it ---------------------------------------------------------------------------------------------------

    def begin(self) -> Any:
        """Calls the step; what it returns may have to be awaited."""
        workflow = copy.copy(self.definition.workflow)
        vars(workflow).update(_attempt=self, version=self.version)
        args, kwargs = self.definition.shapes[self.step.name].unpack(self.arguments)
        return self.step.method(workflow, *args, **kwargs)

    def begun(self) -> Result | Awaitable[Any]:
        """The result of a plain step, or what the result of another one has to be awaited from."""
        try:
            value = self.begin()
        except Exception as error:
            return Result(error=error)
        return value if inspect.isawaitable(value) else Result(value)

    async def awaited(self, awaitable: Awaitable[Any]) -> Result:
        limit = self.step.terms.timeout
        clock = asyncio.timeout(None if limit is None else limit.total_seconds())
        try:
            async with clock:
                return Result(await awaitable)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # we are the ones who are cancelled
            return Result(error=RuntimeError(CANCELLED))
        except Exception as error:
            return Result(error=self.late() if clock.expired() else error)

    def late(self) -> TimeoutError:
        return TimeoutError(f"step {self.step.name} took longer than {self.step.terms.timeout}")

    # -- what became of it -------------------------------------------------------------------------------------------

    def events(self, result: Result, now: datetime) -> Iterator[e.Journal]:
        """What is to be written down."""
        own, error = self.definition.own, result.error
        packed: Any = None
        if error is None:
            try:
                packed = self.definition.shapes[self.step.name].pack_result(result.value)
            except DefinitionError as unfit:
                error = unfit
        try:
            if change := self._context_changed():
                yield own[e.ContextChanged](*change)
        except DefinitionError as unfit:
            error = unfit
        if error is None:
            yield own[e.StepCompleted](self.key, packed)
        else:
            retry_at = self.step.terms.retry_at(error, self.number, now)
            yield own[e.StepFailed](self.key, self.number, trouble_of(error), retry_at)

    def following(self, event: e.Journal) -> list[Schedule]:
        """What is to be done after one of these events: another attempt, when its time has come."""
        if not isinstance(event, e.StepFailed) or event.retry_at is None:
            return []
        payload = self.definition.own[e.StepStarted](self.key, self.arguments, self.number + 1)
        message = replace(self.started.follow(payload), id=attempt_id(self.run, self.key, self.number + 1))
        return [Schedule((message,), event.retry_at)]

    def watchdog(self, now: datetime) -> Message[Any]:
        """What comes if nobody is heard of who makes this attempt."""
        payload = self.definition.own[e.StepInterrupted](self.key, self.number)
        return replace(self.started.follow(payload, now=now), id=watchdog_id(self.run, self.key, self.number))

    def _context_changed(self) -> tuple[dict[str, Any], list[str]] | None:
        before, after = self._before, self.context
        changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
        removed = [key for key in before if key not in after]
        if not changed and not removed:
            return None
        try:
            return msgspec.json.decode(msgspec.json.encode(changed)), removed
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"{self.definition.where}.{self.step.name} put into the context what cannot be stored as JSON: {error}"
            ) from None


async def side_by_side(begun: Sequence[tuple[Attempt, Result | Awaitable[Any]]]) -> list[Result]:
    """The results of attempts that were begun."""

    async def finished(attempt: Attempt, result: Result | Awaitable[Any]) -> Result:
        return result if isinstance(result, Result) else await attempt.awaited(result)

    return await asyncio.gather(*(finished(attempt, result) for attempt, result in begun))
