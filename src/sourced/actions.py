"""What handling a message may ask for, as frozen values; only a round carries them out, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from sourced.codec import Record
from sourced.envelope import Message, zoned


@dataclass(frozen=True, slots=True)
class Append:
    """Store messages in one stream, at exactly this place; if the stream has moved on, the handling is done anew.

    With `heeds`, messages of other types may have come between: they would have changed nothing. Groups in `settled_by`
    have seen to these messages already: they are not handed to them.
    """

    messages: tuple[Message[Any], ...]
    expected_seq: int
    heeds: frozenset[str] | None = None
    settled_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Store messages at the end of their streams, whatever that is by then."""

    messages: tuple[Message[Any], ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Store messages at the end of their streams once the time has come."""

    messages: tuple[Message[Any], ...]
    at: datetime

    def __post_init__(self) -> None:
        zoned("Schedule", self.at)


@dataclass(frozen=True, slots=True)
class Unschedule:
    """Take messages off the schedule, by their ids; those that have gone from it already are past it."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Run work inside the settling transaction, after what its stream appends; it is handed the transaction."""

    work: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class AfterCommit:
    """Run work once the transaction is durable; what it raises is logged and changes nothing."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything of this stream through `message` is done: it will not be delivered to this group."""

    message: Message[Any]


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Not now: this message, and what follows it in its stream, is handled again at that time."""

    at: datetime

    def __post_init__(self) -> None:
        zoned("RetryAt", self.at)


@dataclass(frozen=True, slots=True)
class Park:
    """The stream waits, in order, until a person retries or skips; other streams go on."""

    reason: str = ""

    def __call__(self, failure: Failure) -> Park:
        return self


@dataclass(frozen=True, slots=True)
class Stop:
    """The whole group stops until a person starts it again."""

    reason: str = ""

    def __call__(self, failure: Failure) -> Stop:
        return self


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error policy gets to see: which message failed, for whom, how often by now, and when."""

    group: str
    message: Message[Any]
    error: BaseException
    attempts: int
    now: datetime


Verdict: TypeAlias = RetryAt | Park | Stop
Policy: TypeAlias = Callable[[Failure], Verdict]
PolicyMethod: TypeAlias = Callable[[Any, Failure], Verdict]
"""`def errors(self, failure)`, as a class has it."""
Action: TypeAlias = Append | Send | Schedule | Unschedule | Sync | AfterCommit | Ack | Verdict
Actions: TypeAlias = Iterable[Action] | Awaitable[Iterable[Action] | None] | None


@dataclass(slots=True)
class Batch:
    """What one stream, or one row, got in one round, as `@sync` and `@after_commit` methods see it."""

    stream: str  # of a row that is keyed by something else: empty
    commands: list[Message[Any]] = field(default_factory=list)  # decided just now; projectors have none
    events: list[Message[Any]] = field(default_factory=list)  # an actor: appended just now; a projector: evolved
    replaying: bool = False  # all of it had been handled before, so this is a rebuild
    key: str = ""  # what the row is found by; the stream, unless the projector says otherwise
    deleted: bool = False  # there is to be no such row any more

    def __post_init__(self) -> None:
        self.key = self.key or self.stream

    def evolved(self, message: Message[Any], replaying: bool) -> None:
        self.replaying = replaying and (self.replaying or not self.events)
        self.events.append(message)

    def placed(self, records: Sequence[Record]) -> None:
        """Its messages with the places the store gave them."""
        places = {record.id: record for record in records}
        for messages in (self.commands, self.events):
            messages[:] = [m.placed(r.seq, r.position) if (r := places.get(m.id)) else m for m in messages]

    def mark(self) -> tuple[int, int]:
        return len(self.commands), len(self.events)

    def back_to(self, mark: tuple[int, int]) -> None:
        """Forgets what was added since the mark."""
        del self.commands[mark[0] :], self.events[mark[1] :]
