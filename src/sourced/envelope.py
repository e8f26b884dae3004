"""The envelope around every payload: who it is, where it stands, what caused it, and what it carries along."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from sourced.clock import SystemClock, as_delta
from sourced.errors import Invalid, PastDate
from sourced.ids import new_id
from sourced.messages import Payload, Unknown, detached, is_payload_class

T = TypeVar("T", covariant=True)
Q = TypeVar("Q", bound=Payload)
D = TypeVar("D", bound=Payload, covariant=True)

_clock = SystemClock()


@runtime_checkable
class HasStream(Protocol):
    """A message, a loaded actor: anything that stands for one stream."""

    @property
    def stream(self) -> str: ...


@runtime_checkable
class NewStream(Protocol):
    """An actor class: sending to it means sending to a new stream of its own."""

    def new_stream(self) -> str: ...


To: TypeAlias = str | HasStream | NewStream


class Message(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A payload with its identity. `seq` and `position` are 0 until it is stored; times are UTC, to the microsecond."""

    id: str
    stream: str
    seq: int
    position: int
    type: str
    version: int
    payload: T
    metadata: dict[str, Any]
    causation_id: str
    correlation_id: str
    created_at: datetime

    @staticmethod
    def new(
        payload: Q,
        *,
        stream: To,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        now: datetime | None = None,
    ) -> Message[Q]:
        """A root message: it causes itself and starts a story of its own."""
        spec, own = _spec(payload), id or new_id()
        return Message(
            own, address(stream), 0, 0, spec.name, spec.version, payload,
            _facts(metadata), own, own, zoned(spec.name, now or _clock.now()),
        )  # fmt: skip

    def follow(self, payload: Q, *, stream: To | None = None, seq: int = 0, now: datetime | None = None) -> Message[Q]:
        """A new message caused by this one, in the same story, with its metadata."""
        spec = _spec(payload)
        return Message(
            new_id(), self.stream if stream is None else address(stream), seq, 0, spec.name, spec.version, payload,
            self.metadata, self.id, self.correlation_id, now or _clock.now(),
        )  # fmt: skip

    def correlate(self, other: Message[Q]) -> Message[Q]:
        """A copy of `other` as caused by this message; where both have a metadata key, the other's own wins."""
        metadata = {**self.metadata, **other.metadata}
        return _replace(other, causation_id=self.id, correlation_id=self.correlation_id, metadata=metadata)

    def with_metadata(self, metadata: Mapping[str, Any]) -> Message[T]:
        return _replace(self, metadata={**self.metadata, **_facts(metadata)}) if metadata else self

    def with_payload(self, **changes: Any) -> Message[T]:
        return _replace(self, payload=_replace(self.payload, **changes))

    def detached(self) -> Message[T]:
        """This message as it is read from the log, for one who may change the lists in its payload."""
        said: Any = self.payload
        payload = detached(said)
        return self if payload is said else _replace(self, payload=payload)

    def placed(self, seq: int, position: int) -> Message[T]:
        """The same, at the place the store gave it."""
        return Message(
            self.id, self.stream, seq, position, self.type, self.version, self.payload,
            self.metadata, self.causation_id, self.correlation_id, self.created_at,
        )  # fmt: skip

    def to(self, stream: To) -> Message[T]:
        return _replace(self, stream=address(stream))

    def at(self, time: datetime) -> Message[T]:
        if zoned(self.type, time) < self.created_at:
            raise PastDate(self.type, self.created_at, time)
        return _replace(self, created_at=time)


_replace: Any = msgspec.structs.replace


class Outgoing(msgspec.Struct, Generic[D], frozen=True, gc=False):
    """A payload with directions: where it goes and when; made by `dispatch(…)`."""

    payload: D
    to: Any = None
    at: datetime | None = None
    after: timedelta | None = None
    metadata: dict[str, Any] = {}

    def due(self, now: datetime) -> datetime | None:
        """When it is due, if that is later than now."""
        at = self.at if self.after is None else now + self.after
        return at if at is not None and at > now else None

    def following(self, source: Message[Any], now: datetime, **own: Any) -> Message[Any]:
        """The message itself, as caused by `source`; by default it goes to the source's own stream."""
        message = source.follow(self.payload, stream=self.to, now=now)
        metadata = {**source.metadata, **own, **self.metadata}
        return _replace(message, metadata=metadata)


def dispatch(
    payload: Q,
    *,
    to: To | type[NewStream] | None = None,
    at: datetime | None = None,
    after: timedelta | float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Outgoing[Q]:
    """Directions for a message that a reaction yields: another stream, a later time, metadata of its own."""
    _spec(payload)
    if at is not None and after is not None:
        raise Invalid("dispatch", {"after": "expected either `at` or `after`, found both"})
    if at is not None:
        zoned("dispatch", at)
    return Outgoing(payload, to, at, None if after is None else as_delta(after), _facts(metadata))


def address(to: Any) -> str:
    """The stream that `to` stands for: its name, a thing that has a stream, or an actor's next new one."""
    if isinstance(to, str):
        stream = to
    elif isinstance(to, HasStream) and not isinstance(to, type):
        stream = to.stream  # asked first: a loaded actor may decide a command called `NewStream`
    elif isinstance(to, NewStream):
        stream = to.new_stream()
    else:
        raise Invalid(
            "Message", {"stream": f"expected a stream's name, an actor class or a loaded actor, found {to!r}"}
        )
    if not stream:
        raise Invalid("Message", {"stream": "expected a stream's name, found an empty one"})
    if not is_text(stream) or "\0" in stream:
        raise Invalid("Message", {"stream": f"expected a stream's name in plain text, found {stream!r}"})
    return stream


def is_text(text: str) -> bool:
    """Whether every store can hold it: half a surrogate pair, as broken input may contain, is not text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def zoned(subject: str, at: Any) -> datetime:
    """Refuses a time without a zone: once stored it could be compared with nothing, and all that is due would wait."""
    if not (isinstance(at, datetime) and at.tzinfo):
        raise Invalid(subject, {"at": f"expected a datetime with a zone, found {at!r}"})
    return at


def _facts(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise Invalid("Message", {"metadata": f"expected a mapping, found {metadata!r}"})
    return dict(metadata or {})


def _spec(payload: Any) -> Any:
    if isinstance(payload, Payload):
        spec = payload.__sourced__
        if not spec.family and type(payload) is not Unknown:
            return spec
    _refuse_payload(payload)


def _refuse_payload(payload: Any) -> NoReturn:
    expected = "expected a command or an event"
    if is_payload_class(payload):
        name = payload.__qualname__
        raise Invalid("Message", {"payload": f"{expected}, found the class {name}; make a {name}(…)"})
    if type(payload) is Unknown:
        raise Invalid("Message", {"payload": f"{expected}; {payload.name!r} has no class here"})
    if isinstance(payload, Payload):
        name = type(payload).__qualname__
        raise Invalid(name, {"payload": f"{name} is a family of messages; make one of its members"})
    raise Invalid("Message", {"payload": f"{expected}, found {payload!r}"})
