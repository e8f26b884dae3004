"""Builds commands from what a web request sends: only allowed types, only the client's own fields, trust last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, ClassVar, TypeVar, overload

from sourced.annotations import annotated
from sourced.app import Sourced
from sourced.envelope import Message, To
from sourced.errors import DefinitionError, Invalid
from sourced.messages import Command, Payload, is_family, parse

C = TypeVar("C", bound=Command)
H = TypeVar("H", bound=Callable[[Any, Message[Any]], Message[Any]])


def on(hook: H) -> H:
    """`(self, message)`: returns the message, changed or not; registered by the annotation of its parameter.

    `Message[AddItem | RemoveItem]` runs for both; `Message[Command]`, or a family, for all of it, after the others.
    """
    hook.__sourced_on__ = True  # type: ignore[attr-defined]
    return hook


class CommandContext:
    """Subclass it to add hooks; make one per request with what is known of the caller."""

    scope: type[Payload] | tuple[type[Payload], ...] = Command  # the types, or families of types, a client may send
    hooks: ClassVar[dict[str, tuple[type[Payload], ...]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        declared = [vars(each).get("hooks") or _declared(cls, each) for each in reversed(cls.__mro__)]
        cls.hooks = {name: messages for hooks in declared for name, messages in hooks.items()}

    def __init__(
        self,
        app: Sourced,
        *,
        stream: To | None = None,
        metadata: Mapping[str, Any] | None = None,
        scope: type[Payload] | tuple[type[Payload], ...] | None = None,
    ) -> None:
        self.app = app
        self.stream = stream
        self.metadata = dict(metadata or {})
        self.scope = self.scope if scope is None else scope

    @overload
    def build(self, data: Mapping[str, Any], command: type[C]) -> Message[C]: ...
    @overload
    def build(self, data: Mapping[str, Any]) -> Message[Any]: ...
    def build(self, data: Mapping[str, Any], command: type[Command] | None = None) -> Message[Any]:
        """A command from `{"type": …, "stream": …, "payload": {…}}`; nothing else the client says is listened to.

        Raises `UnknownMessage` outside the scope and `Invalid` with every wrong field.
        """
        engine = self.app._engine
        said = _given("command", "", data, Mapping)
        name = command.__sourced__.name if command else _given("command", "type", said.get("type"), str)
        cls = engine.codec.find(name, within=self.scope)
        stream = self.stream if self.stream is not None else _given(name, "stream", said.get("stream") or None, str)
        fields = said.get("payload")
        payload = parse(cls, {} if fields is None else _given(name, "payload", fields, Mapping))
        built = Message.new(payload, stream=stream, now=engine.clock.now())
        for hook in self._hooks_for(cls):
            built = hook(built)
            if not isinstance(built, Message):
                where = f"{type(self).__qualname__}.{hook.__name__}"
                raise DefinitionError(f"{where} returned {built!r}; a hook returns the message, changed or not")
        return built.with_metadata(self.metadata)

    def _hooks_for(self, cls: type[Payload]) -> list[Callable[[Message[Any]], Message[Any]]]:
        exact = [name for name, messages in self.hooks.items() if cls in messages]
        wide = [
            name for name, messages in self.hooks.items() if any(is_family(m) and issubclass(cls, m) for m in messages)
        ]
        return [getattr(self, name) for name in (*exact, *wide)]


def _declared(cls: type, body: type) -> dict[str, tuple[type[Payload], ...]]:
    """The hooks in the body of one class, and the messages each of them is for."""
    hooks: dict[str, tuple[type[Payload], ...]] = {}
    for name, hook in vars(body).items():
        if not hasattr(hook, "__sourced_on__"):
            continue
        where = f"{body.__qualname__}.{name}"
        messages, envelope = annotated(cls, hook)
        if not envelope:
            names = " | ".join(each.__qualname__ for each in messages)
            raise DefinitionError(f"{where}: a hook gets the whole message; annotate it Message[{names}]")
        if iscoroutinefunction(hook):
            raise DefinitionError(f"{where}: a hook cannot be async; fetch what it needs before you make the context")
        hooks[name] = messages
    return hooks


def _given(subject: str, field: str, found: Any, kind: type) -> Any:
    """What a client sent, if it is of the kind it has to be."""
    if found is None:
        raise Invalid(subject, {field: "Required"})
    if not isinstance(found, kind):
        expected = "str" if kind is str else "object"
        raise Invalid(subject, {field: f"Expected {expected}, got {type(found).__name__}"})
    return found
