"""What happens, told to whoever listens, when it is true; while nobody listens it costs nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from sourced.envelope import Message
from sourced.store import Claim

C = TypeVar("C")

log = logging.getLogger("sourced")


class Happening(msgspec.Struct, frozen=True):
    """Something that happened. What is stored is told once it is durable, never before."""


class Doing(msgspec.Struct, frozen=True):
    """Something under way, for those who wrap it: messages on their way into the log, or in the hands of a group."""

    name: Literal["execute", "dispatch", "append", "handle"]
    messages: Sequence[Message[Any]]
    group: str = ""
    replaying: bool = False
    attempts: int = 1


# -- the foreground --------------------------------------------------------------------------------------------------


class Executed(Happening, frozen=True):
    """A command was decided here and now, and stored with its events."""

    command: Message[Any]
    events: Sequence[Message[Any]]
    seconds: float


class Dispatched(Happening, frozen=True):
    """A message was stored for the workers, or scheduled: then `at` says when it is due."""

    message: Message[Any]
    at: datetime | None
    seconds: float


class Appended(Happening, frozen=True):
    """Messages were stored in a stream as they are."""

    stream: str
    messages: Sequence[Message[Any]]
    seconds: float


class Refused(Happening, frozen=True):
    """An execute, dispatch or append ended in an error and stored nothing: a rejection, a conflict, bad input."""

    doing: Doing
    error: Exception
    seconds: float


# -- the background --------------------------------------------------------------------------------------------------


class Claimed(Happening, frozen=True):
    """A round got something to do: shards with news, streams that are due again."""

    claim: Claim
    owner: str


class Handled(Happening, frozen=True):
    """A reactor was handed a message, or a batch, and is through with it, or failed (`error`). Not yet settled."""

    group: str
    messages: Sequence[Message[Any]]
    replaying: bool
    attempts: int
    error: Exception | None
    seconds: float


class Settled(Happening, frozen=True):
    """A round was committed: so many messages are done with, and what they asked for is stored."""

    group: str
    owner: str
    messages: int
    streams: int
    seconds: float


class CommandRejected(Happening, frozen=True):
    """A command was refused in the background; `message` is the `Rejected` event that tells so."""

    group: str
    message: Message[Any]


class Retried(Happening, frozen=True):
    """A message failed, or asked for more time, and is handed over again at a later time."""

    group: str
    message: Message[Any]
    attempts: int
    error: BaseException | None
    at: datetime


class Parked(Happening, frozen=True):
    """A stream waits from this message on until a person retries or skips."""

    group: str
    message: Message[Any]
    attempts: int
    error: BaseException | None
    reason: str


class Stopped(Happening, frozen=True):
    """A failure stopped a whole group until a person starts it again."""

    group: str
    message: Message[Any]
    attempts: int
    error: BaseException | None
    reason: str


class LeaseLost(Happening, frozen=True):
    """A round was about to settle what somebody else had taken over meanwhile; it changed nothing."""

    group: str
    owner: str
    error: Exception


class LeasesRenewed(Happening, frozen=True):
    """A round takes its time, and its leases were prolonged."""

    claim: Claim
    owner: str
    until: datetime


class Promoted(Happening, frozen=True):
    """Scheduled messages came due and moved into the log."""

    messages: int


class Faltered(Happening, frozen=True):
    """A group's round, or a worker's housekeeping, broke off and is begun again: the store cannot be reached, …"""

    group: str
    error: Exception


# -- who hears of it -----------------------------------------------------------------------------------------------

Listener: TypeAlias = Callable[[Any], object]
Around: TypeAlias = Callable[[Doing], AbstractContextManager[Mapping[str, Any]]]
"""Wraps what is done; the metadata it gives is carried along by the messages, and by all that follows from them."""


class Telemetry:
    """One app's: `listen` to what happens, `wrap` what is done. No error in there ever harms the work."""

    def __init__(self) -> None:
        self.heard = False  # by anybody: all that is ever looked at while nobody listens
        self._listeners: tuple[_Harmless[Listener], ...] = ()
        self._arounds: tuple[_Harmless[Around], ...] = ()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Calls the listener with every `Happening`, in the thread it happens in; the answer ends that."""
        mine = _Harmless(listener)
        self._listeners = (*self._listeners, mine)
        return self._ending(mine)

    def wrap(self, around: Around) -> Callable[[], None]:
        """Enters a context around everything that is done; the answer ends that."""
        mine = _Harmless(around)
        self._arounds = (*self._arounds, mine)
        return self._ending(mine)

    def _ending(self, mine: Any) -> Callable[[], None]:
        def end() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not mine)
            self._arounds = tuple(each for each in self._arounds if each is not mine)
            self.heard = bool(self._listeners or self._arounds)

        self.heard = True
        return end

    def tell(self, happening: Happening) -> None:
        for each in self._listeners:
            with each:
                each.code(happening)

    @contextmanager
    def around(self, doing: Doing) -> Iterator[Mapping[str, Any]]:
        """What everybody who wraps it gives to carry along."""
        carried: dict[str, Any] = {}
        with ExitStack() as stack:
            for each in self._arounds:
                with each:
                    entered = each.code(doing)
                    carried.update(entered.__enter__())
                    stack.push(each.leaving(entered))
            yield carried


class _Harmless(Generic[C]):
    """Code of a listener's: what it raises is logged the first time, and goes no further."""

    def __init__(self, code: C) -> None:
        self.code = code
        self._failed = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if isinstance(error, Exception) and not self._failed:
            self._failed = True
            log.error(
                "telemetry: %r failed, and is called all the same; this is logged once", self.code, exc_info=error
            )
        return isinstance(error, Exception)

    def leaving(self, entered: AbstractContextManager[Any]) -> Callable[..., None]:
        def leave(*failure: Any) -> None:
            with self:
                entered.__exit__(*failure)

        return leave
