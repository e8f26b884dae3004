"""What a run's history says of it, without its code: for people who look after runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.envelope import Message
from sourced.workflow import events as e

Status: TypeAlias = Literal["running", "completed", "failed", "cancelled"]
StepStatus: TypeAlias = Literal["running", "retrying", "completed", "failed"]


class StepInfo(msgspec.Struct, frozen=True):
    """One step of a run, as far as it has come."""

    key: str
    status: StepStatus
    attempts: int
    started_at: datetime
    ended_at: datetime | None = None
    arguments: dict[str, Any] = {}
    result: Any = None
    error: e.Trouble | None = None
    retry_at: datetime | None = None

    @property
    def name(self) -> str:
        return self.key.partition(":")[0]


class RunInfo(msgspec.Struct, frozen=True):
    """A run as its history tells it."""

    id: str
    workflow: str
    status: Status
    started_at: datetime
    arguments: dict[str, Any]
    version: int = 1
    ended_at: datetime | None = None
    result: Any = None
    error: e.Trouble | None = None
    reason: str = ""  # why it was cancelled
    parked: str = ""  # why it waits for a person
    parent: str = ""
    forked_from: str = ""
    steps: tuple[StepInfo, ...] = ()
    waiting_for: tuple[str, ...] = ()

    @classmethod
    def of(cls, history: Sequence[Message[Any]]) -> RunInfo | None:
        """None when it is not the history of a run."""
        if not history or not isinstance(history[0].payload, e.Started):
            return None
        first, started = history[0], history[0].payload
        info = cls(
            first.stream, first.type.rpartition(".")[0], "running", first.created_at, started.arguments,
            started.version, parent=started.parent, forked_from=started.forked_from,
        )  # fmt: skip
        ending = next((each for each in history if isinstance(each.payload, e.ENDINGS)), None)
        steps = tuple(_steps(history))
        if ending is None:
            return replace(info, steps=steps, waiting_for=tuple(_waiting(steps, history)))
        info = replace(info, steps=steps, ended_at=ending.created_at)
        if isinstance(ending.payload, e.Completed):
            return replace(info, status="completed", result=ending.payload.result)
        if isinstance(ending.payload, e.Failed):
            return replace(info, status="failed", error=ending.payload.error)
        return replace(info, status="cancelled", reason=ending.payload.reason)


def _steps(history: Iterable[Message[Any]]) -> Iterable[StepInfo]:
    steps: dict[str, StepInfo] = {}
    for message in history:
        said, at = message.payload, message.created_at
        if isinstance(said, e.StepStarted):
            known = steps.get(said.key) or StepInfo(said.key, "running", said.attempt, at, arguments=said.arguments)
            steps[said.key] = replace(known, status="running", attempts=said.attempt, retry_at=None)
        elif isinstance(said, e.StepCompleted) and said.key in steps:
            steps[said.key] = replace(steps[said.key], status="completed", ended_at=at, result=said.result)
        elif isinstance(said, e.StepFailed) and said.key in steps:
            status: StepStatus = "retrying" if said.retry_at else "failed"
            known = replace(steps[said.key], status=status, error=said.error, retry_at=said.retry_at)
            steps[said.key] = known if said.retry_at else replace(known, ended_at=at)
    return steps.values()


def _waiting(steps: Iterable[StepInfo], history: Iterable[Message[Any]]) -> Iterable[str]:
    for step in steps:
        if step.status == "running":
            yield f"step {step.name}, attempt {step.attempts}"
        elif step.status == "retrying" and step.retry_at:
            yield f"step {step.name}, to be tried again at {step.retry_at:%Y-%m-%d %H:%M:%S}"
    yield from _open(history).values()


def _open(history: Iterable[Message[Any]]) -> dict[str, str]:
    """Timers, messages and other runs that it may still be waiting for."""
    waiting: dict[str, str] = {}
    awaited: dict[str, list[str]] = {}
    for message in history:
        said = message.payload
        if isinstance(said, e.TimerSet):
            waiting[said.key] = f"{said.at:%Y-%m-%d %H:%M:%S}"
        elif isinstance(said, e.Waiting):
            until = f" until {said.until:%Y-%m-%d %H:%M:%S}" if said.until else ""
            waiting[said.key] = f"{' or '.join(said.messages)}{until}"
            awaited[said.key] = said.messages
        elif isinstance(said, e.ChildStarted):
            waiting[said.key] = f"run {said.run}"
        elif isinstance(said, e.TimerFired | e.ChildCompleted | e.ChildFailed):
            waiting.pop(said.key, None)
        else:
            for key in [key for key, names in awaited.items() if message.type in names][:1]:
                waiting.pop(key, None)
                del awaited[key]
    return waiting
