"""Small reactors: plain functions, and classes of them, that are handed a message and what else they ask for."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from inspect import Parameter, signature
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar, get_args, overload

from sourced.actions import Action, Actions, Policy, Schedule, Send
from sourced.annotations import mentioned, messages_in, names_around, resolved
from sourced.codec import Codec, Record
from sourced.envelope import Message, Outgoing
from sourced.errors import DefinitionError
from sourced.messages import Payload, is_family, is_payload_class
from sourced.reactor import Delivery, Memo, Reactor, StartFrom, Want

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class History(Sequence[Message[Any]]):
    """A stream's messages, commands included, up to and with the one that is being handled."""

    __slots__ = ("_length", "_messages")

    def __init__(self, messages: Sequence[Message[Any]], length: int | None = None) -> None:
        self._messages = messages
        self._length = len(messages) if length is None else length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Message[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Message[Any]]: ...
    def __getitem__(self, index: Any) -> Any:
        places = range(self._length)[index]
        return self._messages[places] if isinstance(places, int) else [self._messages[place] for place in places]

    def __repr__(self) -> str:
        return f"History({list(self)!r})"


def on(method: F) -> F:
    """`(self, message, …)` on a class of `Handlers`: registered by the annotation of the message's parameter."""
    method.__sourced_on__ = True  # type: ignore[attr-defined]
    return method


ASKED = {"history": History, "replaying": bool, "log": logging.Logger, "now": datetime}
_TELLING = (History, logging.Logger)  # types that say enough; of the others there may be several


@dataclass(frozen=True, slots=True)
class Handling:
    """A function, the messages it is for, and what it is called with."""

    where: str
    function: Callable[..., Any]
    messages: tuple[type[Payload], ...]
    envelope: bool
    asked: Mapping[str, str]  # parameter → what it is given

    def __call__(self, owner: HandlerReactor, delivery: Delivery) -> Any:
        message = delivery.message if self.envelope else delivery.message.payload
        return self.function(message, **{name: owner.given(what, delivery) for name, what in self.asked.items()})


class HandlerReactor(Reactor):
    """What functions and classes of handlers have in common: from a delivery to a call, from its answer to actions."""

    table: Mapping[type[Payload], Handling] = {}

    def handle(self, delivery: Delivery) -> Actions:
        """One that does not ask whether it is `replaying` is not called for what it has handled before."""
        handling = self.table[type(delivery.message.payload)]
        if delivery.replaying and "replaying" not in handling.asked.values():
            return ()
        answer = handling(self, delivery)
        if inspect.isawaitable(answer) or isinstance(answer, AsyncIterable):
            return self._asked_async(handling.where, answer, delivery)
        return self._asked(handling.where, answer, delivery)

    def memo(self, stream: str) -> Memo:
        reading = any("history" in handling.asked.values() for handling in self.table.values())
        return HistoryMemo(stream) if reading else Memo(stream)

    def messages(self) -> Iterable[type[Payload]]:
        named = (message for handling in self.table.values() for message in mentioned(handling.function))
        return dict.fromkeys((*self.handles, *(message for message in named if not is_family(message))))

    def given(self, what: str, delivery: Delivery) -> Any:
        if what == "history":
            assert isinstance(delivery.memo, HistoryMemo)
            return History(delivery.memo.history, delivery.message.seq)
        if what == "log":
            return logging.getLogger(f"sourced.{self.group}")
        return getattr(delivery, what)

    async def _asked_async(self, where: str, answer: Any, delivery: Delivery) -> list[Action]:
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, AsyncIterable):
            answer = [each async for each in answer]
        return self._asked(where, answer, delivery)

    def _asked(self, where: str, answer: Any, delivery: Delivery) -> list[Action]:
        asked = [*_several(where, answer)]
        if delivery.replaying:  # what it says was said the first time
            asked = [each for each in asked if not isinstance(each, Payload | Outgoing | Message)]
        return [self._action(where, each, delivery) for each in asked]

    def _action(self, where: str, asked: Any, delivery: Delivery) -> Action:
        if isinstance(asked, Payload):
            asked = Outgoing(asked)
        if isinstance(asked, Outgoing):
            message = asked.following(delivery.message, delivery.now, producer=self.group)
            at = asked.due(delivery.now)
            return Send((message,)) if at is None else Schedule((message,), at)
        if isinstance(asked, Message):
            return Send((asked,))
        if isinstance(asked, get_args(Action)):
            return asked
        raise TypeError(f"{where} answered {asked!r}; {_EXPECTED}")


_EXPECTED = "a handler yields or returns messages, dispatch(…) and actions, or nothing"


class HandlerFunction(HandlerReactor, Generic[P, R]):
    """A function as a reactor, made by `@app.on(…)`; it can still be called as the function it is."""

    __name__: str

    def __init__(
        self,
        function: Callable[P, R],
        messages: Sequence[type[Payload]],
        *,
        group: str | None = None,
        errors: Policy | None = None,
        start_from: StartFrom = "beginning",
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.group = group or _group_of(function)
        self.errors = errors
        self.start_from = start_from
        handling = _handling(self.group, function, names_around(), messages)
        self.table = dict.fromkeys(handling.messages, handling)
        self.handles = handling.messages

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<handler {self.group!r}>"


class Handlers(HandlerReactor):
    """Several of them in a class, as one group: each method marked `@on` is for the message it is annotated with."""

    _marked: ClassVar[dict[str, tuple[tuple[type[Payload], ...], bool, Mapping[str, str]]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        inherited = cls._marked
        names = names_around()
        cls._marked = {name: marked for name, marked in inherited.items() if name not in vars(cls)}
        own: dict[type[Payload], str] = {}
        for name, method in vars(cls).items():
            if not hasattr(method, "__sourced_on__"):
                continue
            where = f"{cls.__qualname__}.{name}"
            handling = _handling(where, method, {**names, **vars(cls)}, method=True)
            for message in handling.messages:
                if message in own:
                    raise DefinitionError(f"{where}: {message.__qualname__} is handled by {own[message]} already")
                own[message] = where
            cls._marked[name] = handling.messages, handling.envelope, handling.asked

    @functools.cached_property
    def table(self) -> Mapping[type[Payload], Handling]:  # type: ignore[override]
        """What a subclass declares stands before what it inherits."""
        return {
            message: Handling(f"{type(self).__qualname__}.{name}", getattr(self, name), messages, envelope, asked)
            for name, (messages, envelope, asked) in self._marked.items()
            for message in messages
        }

    @functools.cached_property
    def handles(self) -> tuple[type[Payload], ...]:  # type: ignore[override]
        return tuple(self.table)


class HistoryMemo(Memo):
    """A stream's messages, read for those that look at them."""

    __slots__ = ("history",)

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.history: list[Message[Any]] = []

    def wants(self, deliveries: Sequence[Delivery]) -> Iterable[Want]:
        if deliveries and deliveries[-1].message.seq > len(self.history):
            yield Want(self.stream, len(self.history), deliveries[-1].message.seq, self._take)

    def _take(self, records: Sequence[Record], codec: Codec) -> None:
        self.history += codec.decode_all(records)


def _handling(
    where: str,
    function: Callable[..., Any],
    names: dict[str, Any],
    messages: Sequence[type[Payload]] | None = None,
    *,
    method: bool = False,
) -> Handling:
    """What a function declares: what it is for, by its first parameter or as it is told, and what else it asks for."""
    if not callable(function) or isinstance(function, type):
        raise DefinitionError(f"{where}: expected a function, found {function!r}")
    parameters = list(signature(function).parameters.values())[1 if method else 0 :]
    if not parameters or parameters[0].kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
        raise DefinitionError(f"{where}: expected the message as its first parameter, and what else it asks for after")
    first, *others = parameters
    annotation = resolved(where, function, first.annotation, names)
    wanted, envelope = _wanted(where, first, annotation, messages)
    for message in wanted:
        if not is_payload_class(message):
            raise DefinitionError(f"{where}: expected message classes, one by one, found {message!r}")
        if is_family(message):
            raise DefinitionError(f"{where}: {message.__qualname__} is a family of messages; name each one (A, B)")
    asked = {each.name: what for each in others if (what := _asked_for(where, function, each, names))}
    return Handling(where, function, tuple(dict.fromkeys(wanted)), envelope, asked)


def _wanted(
    where: str, first: Parameter, annotation: Any, messages: Sequence[type[Payload]] | None
) -> tuple[Sequence[type[Payload]], bool]:
    if messages is not None and not messages:
        raise DefinitionError(f"{where}: expected the messages it is for, as in @app.on(OrderPlaced, OrderStarted)")
    if annotation is Parameter.empty:
        if messages is None:
            raise DefinitionError(f"{where}: annotate {first.name!r} with the message it is for")
        return messages, False
    if messages is not None and annotation in (Message, Any):
        return messages, annotation is Message
    annotated, envelope = messages_in(where, annotation)
    for message in messages or ():
        if not any(isinstance(message, type) and issubclass(message, each) for each in annotated):
            name = getattr(message, "__qualname__", repr(message))
            raise DefinitionError(f"{where}: it is for {name}, which {first.name!r} is not annotated for")
    return annotated if messages is None else messages, envelope


def _asked_for(where: str, function: Callable[..., Any], parameter: Parameter, names: dict[str, Any]) -> str | None:
    """What a parameter is to be given: told by its annotation, or by its name when that says too little."""
    kind = resolved(where, function, parameter.annotation, names)
    named = parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    for name, type_ in ASKED.items():
        fits = kind is type_ and (type_ in _TELLING or parameter.name == name)
        if named and (fits or (kind is Parameter.empty and parameter.name == name)):
            return name
    optional = parameter.default is not Parameter.empty
    if optional or parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return None
    there = ", ".join(f"{name}: {type_.__name__}" for name, type_ in ASKED.items())
    raise DefinitionError(
        f"{where}: there is nothing to give to its parameter {str(parameter)!r}; there are {there}; "
        f"for anything else use a closure, or a class of Handlers"
    )


def _group_of(function: Any) -> str:
    name: str = getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    if not name or name == "<lambda>":
        raise DefinitionError(f"@app.on: {function!r} has no name of its own; say group=…, the name it is known by")
    return name


def _several(where: str, answer: Any) -> Iterator[Any]:
    if answer is None:
        return
    if isinstance(answer, list | tuple | Generator):
        yield from answer
    elif isinstance(answer, (Payload, Outgoing, Message, *get_args(Action))):
        yield answer
    else:
        raise TypeError(f"{where} answered {answer!r}; {_EXPECTED}")
