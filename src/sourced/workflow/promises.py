"""What a run waits for: steps, timers, messages and other runs, each under the key that its journal has for it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from sourced.envelope import Message
from sourced.messages import Payload
from sourced.workflow.definition import Definition
from sourced.workflow.step import Step
from sourced.workflow.strands import Strand

LONG = 100  # letters


class Promise:
    """Something that is to come: strands that need it wait for it."""

    __slots__ = ("error", "given_up", "key", "settled", "value", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        self.settled = False
        self.given_up = False  # nobody waits for it any more
        self.value: Any = None
        self.error: BaseException | None = None
        self.waiting: list[Strand] = []


class Call(Promise):
    """A step that was called."""

    __slots__ = ("arguments", "attempt", "interrupted", "lost", "retry_at", "started", "step")

    def __init__(self, key: str, step: Step[Any, Any], arguments: dict[str, Any]) -> None:
        super().__init__(key)
        self.step = step
        self.arguments = arguments
        self.attempt = 0
        self.started: Message[Any] | None = None  # the attempt under way
        self.retry_at: datetime | None = None
        self.interrupted = 0
        self.lost = False  # the attempt was interrupted, and nobody has begun another


class Timer(Promise):
    __slots__ = ("at",)

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.at: datetime | None = None  # the journal tells


class Child(Promise):
    __slots__ = ("definition", "run")

    def __init__(self, key: str, definition: Definition, run: str) -> None:
        super().__init__(key)
        self.definition = definition
        self.run = run

    def starting(self, written: Message[Any]) -> Message[Any]:
        """Its first message, because of what its parent has written down."""
        arguments, parent = written.payload.arguments, written.stream
        payload = self.definition.starting(arguments, parent=parent, parent_key=self.key)
        return written.follow(payload, stream=self.run, now=written.created_at)


class Listener(Timer):
    """A strand that waits for a signal, and perhaps not for ever."""

    __slots__ = ("strand", "wanted")

    def __init__(self, key: str, strand: Strand, wanted: tuple[type[Payload], ...]) -> None:
        super().__init__(key)
        self.strand, self.wanted = strand, wanted


def child_id(prefix: str, parent: str, ordinal: str) -> str:
    """The run that a run starts: named after it, unless that would get longer from generation to generation."""
    name = f"{parent}/{ordinal.rpartition('#')[2]}"
    short = name if len(name) < LONG else hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return f"{prefix}{short}"


def attempt_key(key: str, attempt: int) -> str:
    """A later attempt, as it is planned."""
    return f"{key}@{attempt}"


def attempt_id(run: str, key: str, attempt: int) -> str:
    """The id of the message that begins a later attempt."""
    return f"{run}:{attempt_key(key, attempt)}"


def watchdog_id(run: str, key: str, attempt: int) -> str:
    """The id of the message that comes when nobody is heard of who makes an attempt."""
    return f"{attempt_id(run, key, attempt)}!"


def timer_id(run: str, key: str) -> str:
    """The id of the message that comes when the time is up."""
    return f"{run}:{key}"
