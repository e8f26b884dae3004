"""Who handles what in an app, and what is refused when it is registered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sourced.actor import Actor
from sourced.codec import Codec, Record
from sourced.errors import DefinitionError, NotKnown, UnknownGroup
from sourced.evolving import Evolving
from sourced.messages import Event, Payload, is_family
from sourced.policy import check_policy
from sourced.projector import Projector
from sourced.reactor import Reactor
from sourced.view import is_view


class Router:
    """Who handles what."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._reactors: dict[str, Reactor] = {}
        self._deciders: dict[type[Payload], Actor[Any]] = {}
        self.starts: dict[str, Any] = {}  # group → "beginning", "now" or a time
        self.inline: dict[str, Projector[Any]] = {}  # group → those that are projected with the append
        self._inline_by_type: dict[str, list[Projector[Any]]] = {}

    def add(self, thing: type[Reactor] | Reactor, *, inline: bool = False) -> None:
        """Takes a reactor, or a class to make one of; the same again changes nothing."""
        if inline and not (issubclass(thing, Projector) if isinstance(thing, type) else isinstance(thing, Projector)):
            raise DefinitionError(f"register(inline=True): expected projectors, found {_where(thing)}")
        known = self._reactors.get(thing.group)
        if known is not None and (thing is known or thing is type(known)):
            if inline != (thing.group in self.inline):
                raise DefinitionError(
                    f"{_where(known)} is registered already, {'not ' * inline}inline; say it once, and in one way"
                )
            return
        reactor = _made(thing) if isinstance(thing, type) else thing
        self._refuse_taken(reactor)
        _refuse_unfit(reactor)
        start = _pinned(reactor)
        self._codec.learn(*reactor.messages())
        self.starts[reactor.group] = start
        self._reactors[reactor.group] = reactor
        if isinstance(reactor, Actor):
            self._deciders |= dict.fromkeys(reactor.decides(), reactor)
        if inline and isinstance(reactor, Projector):
            self._project_inline(reactor)

    def _refuse_taken(self, reactor: Reactor) -> None:
        """A group is one reactor's, and a command one actor's."""
        if known := self._reactors.get(reactor.group):
            raise DefinitionError(
                f"two reactors share the group {reactor.group!r}: {_where(known)} and {_where(reactor)}; "
                f"give one of them a name of its own with group=…"
            )
        for command in reactor.decides() if isinstance(reactor, Actor) else ():
            if command in self._deciders:
                raise DefinitionError(
                    f"{command.__qualname__} is decided by {_where(self._deciders[command])} and by {_where(reactor)}; "
                    f"a command has one actor"
                )

    def _project_inline(self, projector: Projector[Any]) -> None:
        self.inline[projector.group] = projector
        for name in types_of(projector):
            self._inline_by_type[name] = [*self._inline_by_type.get(name, ()), projector]

    def __iter__(self) -> Iterator[Reactor]:
        return iter(tuple(self._reactors.values()))

    def inline_for(self, records: Iterable[Record]) -> dict[Projector[Any], list[Record]]:
        """Who projects any of these with their append, and which; what he has settled already he does not."""
        wanted: dict[Projector[Any], list[Record]] = {}
        if self.inline:
            for record in records:
                for projector in self._inline_by_type.get(record.type, ()):
                    if projector.group not in record.settled_by:
                        wanted.setdefault(projector, []).append(record)
        return wanted

    def group(self, reactor: str | type[Reactor] | Reactor) -> Reactor:
        """A registered reactor by its group's name, its class or itself."""
        name = reactor if isinstance(reactor, str) else getattr(reactor, "group", None)
        if not isinstance(name, str):
            mine = ", ".join(group for group, each in self._reactors.items() if getattr(each, "made_of", 0) is reactor)
            hint = f"; its rows are kept by {mine}: name that" if mine else ""
            raise NotKnown(f"expected a group's name or the class of a registered reactor, found {reactor!r}{hint}")
        if name not in self._reactors:
            raise UnknownGroup(name, tuple(self._reactors))
        return self._reactors[name]

    def actor(self, cls: type[Actor[Any]]) -> Actor[Any]:
        if not (isinstance(cls, type) and issubclass(cls, Actor)):
            rows = isinstance(cls, type) and issubclass(cls, Projector) and is_view(cls.made_of)
            hint = f"; a projector's rows are read with app.views({cls.__qualname__})" if rows else ""
            raise NotKnown(f"expected the class of a registered actor, found {cls!r}{hint}")
        for reactor in self._reactors.values():
            if type(reactor) is cls:
                return reactor
        raise NotKnown(f"{cls.__qualname__} is not registered here; call app.register({cls.__qualname__}) first")

    def decider(self, command: type[Payload]) -> Actor[Any]:
        actor = self._deciders.get(command)
        if actor is None:
            known = ", ".join(sorted(each.__qualname__ for each in self._deciders)) or "none"
            hint = "register the actor with a @decide method for it"
            if issubclass(command, Event):
                hint = "an event is nobody's to decide: store it with app.append(…) or app.dispatch(…)"
            raise NotKnown(f"no registered actor decides {command.__qualname__}; {hint}; decided here are: {known}")
        return actor


def types_of(reactor: Reactor) -> frozenset[str]:
    """The names that what it handles is stored under."""
    return frozenset(name for message in reactor.handles for name in message.__sourced__.names)


def _refuse_unfit(reactor: Reactor) -> None:
    """What could not be handed messages, or not those it is meant for."""
    if not reactor.handles and isinstance(reactor, Actor) and reactor.tables.evolve:
        raise DefinitionError(
            f"{_where(reactor)} only evolves, so there is nothing to hand to it; give it a @decide or a @react method, "
            f"or make it a Projector"
        )
    if not reactor.handles:
        raise DefinitionError(f"{_where(reactor)} handles no messages; give it methods or `handles`")
    if type(reactor).handle is Reactor.handle and not reactor.in_batches:
        raise DefinitionError(f"{_where(reactor)}: expected a method handle(self, delivery)")
    if isinstance(reactor, Evolving) and (late := next(reactor.tables.left_out(), None)):
        raise DefinitionError(
            f"{_where(reactor)} evolves by all messages of a family, but {late.__qualname__} was made after it; "
            f"import it before"
        )
    family = next((message for message in reactor.handles if is_family(message)), None)
    if family is not None:
        raise DefinitionError(f"{_where(reactor)} handles the family {family.__qualname__}; name each message of it")
    if reactor.errors is not None:
        check_policy(f"{_where(reactor)}.errors", reactor.errors)
    if isinstance(reactor, Actor):
        _ = reactor.snapshots  # refuses a policy that cannot be carried out
    if isinstance(reactor, Projector):
        _ = reactor._shape  # refuses rows that cannot be kept


def _made(cls: type[Reactor]) -> Reactor:
    try:
        return cls()
    except TypeError as error:
        name = cls.__qualname__
        raise DefinitionError(
            f"{name}() failed: {error}; register one that you made: app.register({name}(…))"
        ) from error


def _pinned(reactor: Reactor) -> Any:
    """Where a reactor starts, asked once, when it is registered."""
    wanted = reactor.start_from() if callable(reactor.start_from) else reactor.start_from
    if wanted in ("beginning", "now") or (isinstance(wanted, datetime) and wanted.tzinfo):
        return wanted
    raise DefinitionError(
        f"{_where(reactor)}.start_from: expected 'beginning', 'now' or a time with a zone, found {wanted!r}"
    )


def _where(reactor: Reactor | type[Reactor]) -> str:
    its_own = isinstance(reactor, type) or "__qualname__" in vars(reactor)  # it may be made of a function
    named: Any = reactor if its_own else type(reactor)
    return f"{named.__module__}.{named.__qualname__}"
