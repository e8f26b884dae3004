"""What people say to the system and what happened in it: typed, immutable commands and events with stored names.

The class statement takes what is about storage (`type`, `namespace`, `version`, `aliases`); the class body is
all yours: a message has no methods and no reserved field names.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from math import isfinite
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)
from uuid import UUID

import msgspec
from msgspec.structs import astuple
from msgspec.structs import fields as struct_fields
from typing_extensions import TypeIs

from sourced.errors import DefinitionError, Invalid
from sourced.structs import StructType

P = TypeVar("P", bound="Payload")
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

BROKEN_TEXT = "Expected text, got half a character"


@dataclass(frozen=True, slots=True)
class Spec:
    """How a message class is stored."""

    name: str
    namespace: str | None
    version: int = 1
    aliases: tuple[str, ...] = ()
    family: bool = False
    upcasters: dict[int, Upcaster] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


def snake(name: str) -> str:
    """`AddItem` → `add_item`, `HTTPCall` → `http_call`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _stored_name(cls: type, namespace: str | None) -> str:
    """Under the family's namespace; nested in a class: under its name. Never the import path."""
    own = cls.__qualname__.rpartition("<locals>.")[2].split(".")
    parts = [namespace, snake(own[-1])] if namespace else [snake(part) for part in own]
    return ".".join(parts)


class MessageType(StructType):
    """Makes message classes: frozen, out of the garbage collector's way, their `Spec` read from the class statement."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        body: dict[str, Any],
        *,
        type: str | None = None,
        namespace: str | None = None,
        version: int = 1,
        aliases: Iterable[str] = (),
        **config: Any,
    ) -> Any:
        if not config.get("frozen", True):
            raise DefinitionError(f"{body['__qualname__']}: messages are immutable; leave out frozen=False")
        defaults: Any = {"frozen": True, "gc": False}
        cls = super().__new__(mcls, name, bases, body, **(defaults | config))
        inherited = next((base.__sourced__.namespace for base in bases if hasattr(base, "__sourced__")), None)
        within = inherited if namespace is None else namespace
        aliases = (aliases,) if isinstance(aliases, str) else tuple(aliases)
        spec = Spec(type or _stored_name(cls, within), within, version, aliases, family=namespace is not None)
        cls.__sourced__ = spec
        if not (isinstance(version, int) and version >= 1):
            raise DefinitionError(
                f"{cls.__qualname__}: expected version to be a whole number from 1, found {version!r}"
            )
        return cls


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Payload(msgspec.Struct, metaclass=MessageType, namespace="", frozen=True):
    """What commands and events have in common."""

    __sourced__: ClassVar[Spec]


class Command(Payload, namespace=""):
    """Something somebody wants: an actor decides it."""


class Event(Payload, namespace=""):
    """Something that happened: actors and projectors evolve by it, others react to it."""


class Unknown(Payload, type="sourced.unknown"):
    """A stored message whose class this app does not have; its data is untouched."""

    name: str
    data: Any


class Rejected(Event, type="sourced.rejected"):
    """A command handled in the background was refused: who refused, which command, and why."""

    actor: str
    command: str
    command_id: str
    reason: str
    message: str
    details: list[Any] = []


def is_payload_class(thing: object) -> TypeIs[type[Payload]]:
    return isinstance(thing, MessageType)


def is_family(cls: type[Payload]) -> bool:
    """Families name a group of messages; they are never stored themselves."""
    return cls.__sourced__.family


def members(family: type[Payload]) -> Iterator[type[Payload]]:
    """The messages of a family, and of the families in it, that there are by now."""
    for each in family.__subclasses__():
        if is_family(each):
            yield from members(each)
        else:
            yield each


def upcast(cls: type[Payload], *, version: int) -> Callable[[Upcaster], Upcaster]:
    """Reads data stored as `version` of `cls` as the version after it; pure, and chained up to the present one."""
    spec = cls.__sourced__
    if not 1 <= version < spec.version:
        raise DefinitionError(
            f"upcast({cls.__qualname__}, version={version}): expected a version from 1 to {spec.version - 1}, "
            f"the class is at version {spec.version}"
        )
    if version in spec.upcasters:
        raise DefinitionError(f"{cls.__qualname__} already has an upcaster from version {version}")

    def register(upcaster: Upcaster) -> Upcaster:
        spec.upcasters[version] = upcaster
        return upcaster

    return register


def parse(cls: type[P], data: Mapping[str, Any]) -> P:
    """A message from untrusted input such as an HTML form: lax (`"3"` → 3), and with every field's error at once.

    Keys the class does not declare are dropped.
    """
    if type(data) is not dict and isinstance(data, Mapping):
        data = {key: data[key] for key in data}  # a form of Flask's or Django's is a dict of lists inside
    try:
        return msgspec.convert(data, cls, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        if not isinstance(data, Mapping):
            raise Invalid(cls.__qualname__, {"": _plain(error)}) from None
        raise Invalid(cls.__qualname__, _field_errors(cls, data, strict=False) or {"": _plain(error)}) from None


def check(payload: Payload, error: msgspec.ValidationError | None = None) -> None:
    """Raises `Invalid` when a payload that was built in code holds something its fields do not allow."""
    data = {f.encode_name: getattr(payload, f.name) for f in struct_fields(type(payload))}
    found = _field_errors(type(payload), msgspec.to_builtins(data), strict=True)
    if found or error:
        raise Invalid(type(payload).__qualname__, found or {"": _plain(error)})  # type: ignore[arg-type]


def detached(payload: P) -> P:
    """The payload as it is read from the log: each value of the type that its field has, a date that was written as
    text too, and with lists of its own, so that whoever changes one does not change what was said."""
    cls: Any = type(payload)
    if cls is Unknown:
        return copy.deepcopy(payload)
    kinds, decode = cls.__dict__.get("__stored__") or _as_stored(cls)
    for value, plain in zip(astuple(payload), kinds, strict=True):
        kind = type(value)
        if kind not in plain or (kind in _SOME_OF_THEM and not _is_stored_whole(value)):
            try:
                read: P = decode(encode(payload))
            except (TypeError, UnicodeEncodeError, msgspec.ValidationError) as error:
                refuse(payload, error)
            return read
    return payload


def _is_stored_whole(value: Any) -> bool:
    """JSON has no infinity, and of a time the hours that it is ahead, not the place that says when these change."""
    if type(value) is float:
        return isfinite(value)
    return value.tzinfo is None or type(value.tzinfo) is timezone


def refuse(payload: Payload, error: Exception) -> NoReturn:
    """What could not be read back is not stored: says which fields are wrong."""
    if isinstance(error, msgspec.ValidationError):
        check(payload, error)
    if isinstance(error, UnicodeEncodeError):
        broken = [name for name in payload.__struct_fields__ if not _is_text(getattr(payload, name))]
        raise Invalid(type(payload).__qualname__, dict.fromkeys(broken, BROKEN_TEXT))
    raise DefinitionError(f"{type(payload).__qualname__} cannot be stored as JSON: {error}") from error


def _is_text(value: Any) -> bool:
    try:
        encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _as_stored(cls: Any) -> tuple[tuple[frozenset[type], ...], Callable[[bytes], Any]]:
    """For each field the types of values that are read as they were written; and what reads all of them."""
    found = tuple(_kinds(each.type) for each in struct_fields(cls)), msgspec.json.Decoder(cls).decode
    cls.__stored__ = found
    return found


def _kinds(annotation: Any) -> frozenset[type]:
    annotation = getattr(annotation, "__supertype__", annotation)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return frozenset[type]().union(*map(_kinds, get_args(annotation)))
    if annotation is Any:
        return frozenset({str, int, float, bool, type(None)})
    if origin is Literal:
        return frozenset(type(value) for value in get_args(annotation))
    whole = annotation in _IMMUTABLE or (isinstance(annotation, type) and issubclass(annotation, Enum))
    return frozenset({annotation}) if whole else frozenset()


encode = msgspec.json.Encoder().encode

_IMMUTABLE = frozenset({str, int, float, bool, type(None), bytes, datetime, date, time, timedelta, Decimal, UUID})
_SOME_OF_THEM = frozenset({float, datetime, time})  # of these, not every value


def _field_errors(cls: type[Payload], data: Mapping[str, Any], *, strict: bool) -> dict[str, str]:
    errors: dict[str, str] = {}
    for each in struct_fields(cls):
        if each.encode_name not in data:
            if each.required:
                errors[each.name] = "Required"
            continue
        try:
            msgspec.convert(data[each.encode_name], each.type, strict=strict)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            errors[each.name] = _plain(error)
    return errors


def _plain(error: Exception) -> str:
    """msgspec's sentence without its markup; the path stays where it says more than the field's own name."""
    if isinstance(error, UnicodeEncodeError):
        return BROKEN_TEXT
    sentence, _, path = str(error).replace("`", "").partition(" - at $")
    return f"{sentence} at {path}" if path else sentence
