"""A state, the stream it comes from, and how far that stream has been read into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin

from sourced.codec import Codec, Content, Record
from sourced.envelope import Message
from sourced.errors import DefinitionError, DifferentStream, SmallerSequence
from sourced.messages import detached
from sourced.purity import evolving
from sourced.view import Deleted, check_view, is_view

S = TypeVar("S")


class Evolves(Protocol):
    """An actor or a projector, as far as its states are concerned."""

    @property
    def evolvers(self) -> Mapping[str, tuple[Callable[[Any, Any], Any], bool]]:
        """By stored name: the method, and whether it wants the envelope."""
        ...

    def initial(self, stream: str, /) -> Any: ...


class Fold(Generic[S]):
    """One stream's messages folded into one state."""

    __slots__ = ("_ahead", "_codec", "_next", "gone", "owner", "seq", "state", "stream")

    def __init__(self, owner: Evolves, stream: str) -> None:
        self.owner = owner
        self.stream = stream
        self.restart()

    def restart(self) -> None:
        """Back to the first state, with nothing read."""
        self.seq = 0
        self.state: S = self.owner.initial(self.stream)
        self.gone = False  # the last one deleted it: what comes next begins with a new one
        self._ahead: Sequence[Record] = ()  # history that is at hand, applied up to `_next`
        self._next = 0
        self._codec: Codec | None = None

    def resume(self, state: S, seq: int) -> None:
        """Goes on from a state that was made of everything up to a seq."""
        self.restart()
        self.state, self.seq = state, seq

    def evolve(self, *messages: Message[Any]) -> S:
        """Applies messages that follow what was read so far; those without an `@evolve` method only move `seq` on."""
        for message in messages:
            if message.stream != self.stream:
                raise DifferentStream(self.stream, message.stream)
            if message.seq <= self.seq:
                raise SmallerSequence(self.stream, at=self.seq, found=message.seq)
            self.apply(message)
            self.seq = message.seq
        return self.state

    def apply(self, message: Message[Any]) -> None:
        """One message into the state, wherever it comes from."""
        evolver = self.owner.evolvers.get(message.type)
        if evolver is not None:
            method, envelope = evolver
            following = method(self.state, message.detached() if envelope else detached(message.payload))
            self.gone = following is Deleted
            if following is not None:
                self.state = self.owner.initial(self.stream) if self.gone else following

    def feed(self, records: Iterable[Record], codec: Codec) -> None:
        """Applies what is stored in bulk; what no method evolves by is not decoded, what was read is passed over."""
        evolvers, state, seq, gone = self.owner.evolvers, self.state, self.seq, self.gone
        with evolving(self.owner):
            for record in records:
                if record.seq <= seq:
                    continue
                evolver = evolvers.get(record.type)
                if evolver is not None:
                    method, envelope = evolver
                    following = method(state, codec.decode(record) if envelope else codec.payload(record))
                    gone = following is Deleted
                    if following is not None:
                        state = self.owner.initial(self.stream) if gone else following
                seq = record.seq
        self.state, self.seq, self.gone = state, seq, gone

    def contents(self, records: Iterable[Record], codec: Codec) -> list[Content]:
        """What is taken of each."""
        asked = {name: envelope for name, (_, envelope) in self.owner.evolvers.items()}
        read: dict[bool | None, Callable[[Record], Any]]
        read = {True: codec.decode, False: codec.payload, None: lambda record: None}
        return [Content(each.seq, each.type, read[asked.get(each.type)](each)) for each in records]

    def take(self, contents: Iterable[Content]) -> None:
        """Applies what was read together; what another reading has applied meanwhile is passed over."""
        evolvers, state, seq, gone = self.owner.evolvers, self.state, self.seq, self.gone
        with evolving(self.owner):
            for each in contents:
                if each.seq <= seq:
                    continue
                seq = each.seq
                evolver = evolvers.get(each.type)
                if evolver is not None:
                    following = evolver[0](state, each.said)
                    gone = following is Deleted
                    if following is not None:
                        state = self.owner.initial(self.stream) if gone else following
        self.state, self.seq, self.gone = state, seq, gone

    def hold(self, records: Sequence[Record], codec: Codec) -> None:
        """Takes history without applying it, so that `as_of` can go through it step by step."""
        self._ahead, self._next, self._codec = records, 0, codec

    def as_of(self, seq: int) -> S:
        """The state as of a message: applies what is held up to it, and nothing later."""
        start = stop = self._next
        while stop < len(self._ahead) and self._ahead[stop].seq <= seq:
            stop += 1
        if stop > start and self._codec is not None:
            self._next = stop
            self.feed(self._ahead[start:stop], self._codec)
        return self.state


def state_class(cls: type, base: type) -> Any:
    """The `S` of `class Cart(Actor[S])`, or None when it was left out."""
    for ancestor in cls.__mro__:
        for generic in getattr(ancestor, "__orig_bases__", ()):
            origin = get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, base):
                return get_args(generic)[0]
    return None


def check_first_state(where: str, made_of: Any) -> None:
    """A first field that has a default would take the stream's id for something else, and nobody would notice."""
    if is_view(made_of):
        return check_view(where, made_of)
    try:
        first = next(iter(signature(made_of).parameters.values()), None)
    except (TypeError, ValueError):
        return  # it does not say what it takes
    if first is None or first.default is first.empty or re.search(r"(^|_)(id|key|name|stream)$", first.name):
        return
    raise DefinitionError(
        f"{where}: the first state is {made_of.__qualname__}(stream), and its first field is {first.name!r}; "
        f"put `id: str` before it, or override `initial(self, stream)`"
    )


def first_state(where: str, made_of: Any, stream: str) -> Any:
    """The default first state: the state class, called with the stream's id."""
    if made_of is None or made_of is type(None):
        return None
    if is_view(made_of):
        return made_of()
    kind = made_of if isinstance(made_of, type) else get_origin(made_of) or made_of  # of dict[str, int] it is dict
    if kind.__module__ == "builtins":  # a list would take the stream's id letter by letter
        raise DefinitionError(f"{where}: override `initial(self, stream)` to say what the first {made_of} holds")
    try:
        return made_of(stream)
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            f"{where}: the first state is {getattr(made_of, '__qualname__', made_of)}(stream), which failed: {error}; "
            f"override `initial(self, stream)`"
        ) from error
