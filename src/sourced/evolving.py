"""What actors and projectors share: a state that messages are folded into, and reactions to them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from sourced.actions import Action, Actions, AfterCommit, Batch, Schedule, Send, Sync
from sourced.annotations import mentioned
from sourced.envelope import Message, Outgoing
from sourced.errors import DefinitionError
from sourced.fold import check_first_state, first_state, state_class
from sourced.handlers import Tables, collect
from sourced.messages import Command, Payload, is_family, is_payload_class
from sourced.reactor import Delivery, Reactor

_NO_STATE = (inspect.Parameter.empty, None, "None", Any, "Any", "typing.Any", object, "object")


class Evolving(Reactor):
    """A reactor with `@evolve` and `@react` methods and a state for each stream."""

    roles: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[Tables] = Tables()
    made_of: ClassVar[Any] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.tables = collect(cls, cls.roles)
        cls.made_of = state_class(cls, Evolving)
        if cls.made_of is None and cls.initial is Evolving.initial:
            cls._check_stateless()
        if cls.initial is Evolving.initial:
            check_first_state(cls.__qualname__, cls.made_of)

    @classmethod
    def _check_stateless(cls) -> None:
        """`class Cart(Actor)` has no state; whose methods are annotated with one has forgotten to say so."""
        for handler in (*cls.tables.decide.values(), *cls.tables.evolve.values(), *cls.tables.react.values()):
            state = [*inspect.signature(getattr(cls, handler.name)).parameters.values()][1].annotation
            if state not in _NO_STATE:
                named, kind = getattr(state, "__qualname__", state), cls.__mro__[1].__name__
                raise DefinitionError(
                    f"{cls.__qualname__}.{handler.name}: its state is a {named}, and the class has none; "
                    f"write class {cls.__name__}({kind}[{named}])"
                )

    def initial(self, stream: str, /) -> Any:
        """The first state of a stream: by default the state class called with the stream's id."""
        return first_state(type(self).__qualname__, self.made_of, stream)

    def before_evolve(self, state: Any, message: Message[Any], /) -> None:
        """Runs before each message that has an `@evolve` method."""

    @property
    def evolvers(self) -> Mapping[str, tuple[Callable[[Any, Any], Any], bool]]:
        return self._evolvers

    @functools.cached_property
    def _evolvers(self) -> Mapping[str, tuple[Callable[[Any, Any], Any], bool]]:
        return {
            name: self._evolver(handler.name, handler.envelope)
            for message, handler in self.tables.evolve.items()
            for name in message.__sourced__.names
        }

    def _evolver(self, name: str, envelope: bool) -> tuple[Callable[[Any, Any], Any], bool]:
        method = getattr(self, name)
        if type(self).before_evolve is Evolving.before_evolve:
            return method, envelope

        def hooked(state: Any, message: Message[Any]) -> Any:
            self.before_evolve(state, message)
            return method(state, message if envelope else message.payload)

        return hooked, True

    @functools.cached_property
    def reactions(self) -> Mapping[type[Payload], Any]:
        return self.tables.reactions()

    def messages(self) -> Iterable[type[Payload]]:
        tables = self.tables
        declared = (*tables.decide, *tables.evolve, *self.reactions)
        handlers = {h.name for table in (tables.decide, tables.evolve, self.reactions) for h in table.values()}
        nested = (thing for base in type(self).__mro__ for thing in vars(base).values() if is_payload_class(thing))
        named = (message for name in handlers for message in mentioned(getattr(self, name)))
        return dict.fromkeys((*declared, *(message for message in (*nested, *named) if not is_family(message))))

    def react_to(self, state: Any, delivery: Delivery) -> Actions:
        """The commands a reaction yields, as actions; a coroutine of them when the reaction is async."""
        handler = self.reactions.get(type(delivery.message.payload))
        if handler is None:
            return ()
        where = f"{type(self).__qualname__}.{handler.name}"
        yielded = handler.call(self, state, delivery.message)
        if inspect.isawaitable(yielded) or isinstance(yielded, AsyncIterable):
            return self._sent_async(where, yielded, delivery)
        return self._sent(where, yielded, delivery)

    async def _sent_async(self, where: str, yielded: Any, delivery: Delivery) -> list[Action]:
        if inspect.isawaitable(yielded):
            return self._sent(where, await yielded, delivery)
        return self._sent(where, iter([each async for each in yielded]), delivery)

    def _sent(self, where: str, yielded: Any, delivery: Delivery) -> list[Action]:
        now: list[Message[Any]] = []
        later: dict[datetime, list[Message[Any]]] = {}
        for outgoing in _each(where, yielded):
            if not isinstance(outgoing.payload, Command):
                raise TypeError(
                    f"{where} yielded {outgoing.payload!r}; a reaction yields commands or dispatch(command, …)"
                )
            at = outgoing.due(delivery.now)
            message = outgoing.following(delivery.message, delivery.now, producer=self.group)
            (now if at is None else later.setdefault(at, [])).append(message)
        sends: list[Action] = [Send(tuple(now))] if now else []
        return sends + [Schedule(tuple(messages), at) for at, messages in later.items()]

    def closing_with(self, state: Any, batch: Batch) -> Sequence[Action]:
        sync, after = self.tables.sync, self.tables.after_commit
        if not (sync or after) or not (batch.commands or batch.events):
            return ()
        return (
            *(Sync(functools.partial(getattr(self, name), state, batch)) for name in sync),
            *(AfterCommit(functools.partial(getattr(self, name), state, batch)) for name in after),
        )


def _each(where: str, yielded: Any) -> Iterator[Outgoing[Any]]:
    if yielded is None:
        return
    if not isinstance(yielded, Iterator):
        raise TypeError(f"{where} returned {yielded!r}; a reaction yields its commands")
    for each in yielded:
        if isinstance(each, Outgoing):
            yield each
        elif isinstance(each, Payload):
            yield Outgoing(each)
        else:
            raise TypeError(f"{where} yielded {each!r}; a reaction yields commands or dispatch(command, …)")
