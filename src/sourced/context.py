"""Builds commands from what a web request sends: only allowed types, only the client's own fields, trust last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from sourced.app import Sourced
from sourced.envelope import Message, To, address
from sourced.errors import DefinitionError, Invalid
from sourced.handlers import annotated
from sourced.messages import Command, Payload, is_family, parse

F = TypeVar("F", bound=Callable[..., Any])


def on(hook: F) -> F:
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
        own = {name: annotated(cls, hook)[0] for name, hook in vars(cls).items() if hasattr(hook, "__sourced_on__")}
        cls.hooks = {**cls.hooks, **own}

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

    def build(self, data: Mapping[str, Any], command: type[Command] | None = None) -> Message[Any]:
        """A command from `{"type": …, "stream": …, "payload": {…}}`; nothing else the client says is listened to.

        Raises `UnknownMessage` outside the scope and `Invalid` with every wrong field.
        """
        engine = self.app._engine
        cls = engine.codec.find(command.__sourced__.name if command else str(data.get("type", "")), within=self.scope)
        stream = self.stream if self.stream is not None else data.get("stream")
        if not stream:
            raise Invalid(cls.__qualname__, {"stream": "Required"})
        payload = parse(cls, data.get("payload") or {})
        built = Message.new(payload, stream=address(stream), now=engine.clock.now())
        for hook in self._hooks_for(cls):
            built = hook(built)
            if not isinstance(built, Message):
                raise DefinitionError(f"{type(self).__qualname__}: a hook returned {built!r}; expected the message")
        return built.with_metadata(self.metadata)

    def _hooks_for(self, cls: type[Payload]) -> list[Callable[[Message[Any]], Message[Any]]]:
        exact = [name for name, messages in self.hooks.items() if cls in messages]
        wide = [
            name for name, messages in self.hooks.items() if any(is_family(m) and issubclass(cls, m) for m in messages)
        ]
        return [getattr(self, name) for name in (*exact, *wide)]
