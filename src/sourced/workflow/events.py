"""What is written down of a run: typed events in the run's own stream, stored under the name of its workflow."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from sourced.messages import Event, MessageType, snake


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as people can read it, and as `except` can still tell it from others."""

    type: str
    message: str
    kinds: list[str] = []  # its class and what that is made from, by name
    details: list[Any] = []
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Journal(Event, namespace="workflow"):
    """What a run writes down. The classes below are families: every workflow has members of its own."""


class Started(Journal, namespace="workflow", omit_defaults=True):
    arguments: dict[str, Any]
    version: int = 1
    parent: str = ""  # the run that started this one
    parent_key: str = ""  # and what it calls it
    forked_from: str = ""


class StepStarted(Journal, namespace="workflow", omit_defaults=True):
    """It is stored before the step is carried out, once for every attempt."""

    key: str
    arguments: dict[str, Any]
    attempt: int = 1


class StepCompleted(Journal, namespace="workflow"):
    key: str
    result: Any


class StepFailed(Journal, namespace="workflow", omit_defaults=True):
    key: str
    attempt: int
    error: Trouble
    retry_at: datetime | None = None


class StepInterrupted(Journal, namespace="workflow"):
    """The process that carried it out was not heard of any more."""

    key: str
    attempt: int


class TimerSet(Journal, namespace="workflow"):
    key: str
    at: datetime


class TimerFired(Journal, namespace="workflow"):
    key: str


class Waiting(Journal, namespace="workflow", omit_defaults=True):
    """For a message that others send to the run's stream."""

    key: str
    messages: list[str]
    until: datetime | None = None


class SignalCopied(Journal, namespace="workflow"):
    """What had been sent to the run that this one was forked from; it was not sent again."""

    type: str
    payload: Any


class ChildStarted(Journal, namespace="workflow"):
    key: str
    run: str
    arguments: dict[str, Any]


class ContextChanged(Journal, namespace="workflow", omit_defaults=True):
    changed: dict[str, Any]
    removed: list[str] = []


class Forked(Journal, namespace="workflow", omit_defaults=True):
    """What comes before it was copied from another run; from here on this one goes its own way."""

    run: str
    step: str
    by: str = ""
    reason: str = ""


class Completed(Journal, namespace="workflow"):
    result: Any


class Failed(Journal, namespace="workflow"):
    error: Trouble


class Cancelled(Journal, namespace="workflow", omit_defaults=True):
    reason: str = ""


class CancelRequested(Event, type="sourced.cancel_requested", omit_defaults=True):
    """Somebody wants a run to end; it may still take back what it has done."""

    reason: str = ""
    by: str = ""


class ChildCompleted(Event, type="sourced.child_completed"):
    key: str
    result: Any


class ChildFailed(Event, type="sourced.child_failed"):
    key: str
    error: Trouble


KINDS: tuple[type[Journal], ...] = (
    Started, StepStarted, StepCompleted, StepFailed, StepInterrupted, TimerSet, TimerFired, Waiting,
    SignalCopied, ChildStarted, ContextChanged, Forked, Completed, Failed, Cancelled,
)  # fmt: skip
ENDINGS = (Completed, Failed, Cancelled)
SHARED = (CancelRequested, ChildCompleted, ChildFailed)


def own_kinds(owner: type, name: str) -> dict[str, type[Journal]]:
    """One workflow's members of every family: `Started` of BookHoliday is stored as 'book_holiday.started'."""
    return {kind.__name__: _own(owner, name, kind) for kind in KINDS}


def _own(owner: type, name: str, kind: type[Journal]) -> type[Journal]:
    body = {
        "__module__": owner.__module__,
        "__qualname__": f"{owner.__qualname__}.{kind.__name__}",
        "__doc__": kind.__doc__,
    }
    return MessageType(kind.__name__, (kind,), body, type=f"{name}.{snake(kind.__name__)}")
