"""Forms made from messages: a field for each of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sourced.messages import Payload


class Field(NamedTuple):
    name: str
    kind: str  # text, number, choice or json
    required: bool
    default: str
    choices: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """In a form, which has fields of its own: any name is the message's."""
        return f"field.{self.name}"


def fields_of(message: type[Payload]) -> tuple[Field, ...]:
    return tuple(map(_field, msgspec.inspect.type_info(message).fields))  # type: ignore[attr-defined]


def _field(field: msgspec.inspect.Field) -> Field:
    kind, choices = _kind(field.type)
    default = "" if field.default is msgspec.NODEFAULT else _said(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        default = _said(field.default_factory())
    return Field(field.name, kind, field.required, default, choices)


def _kind(type: msgspec.inspect.Type) -> tuple[str, tuple[str, ...]]:
    inspect = msgspec.inspect
    if isinstance(type, inspect.UnionType):
        rest = [each for each in type.types if not isinstance(each, inspect.NoneType)]
        kind, choices = _kind(rest[0]) if len(rest) == 1 else ("json", ())
        return kind, ("", *choices) if choices else ()
    if isinstance(type, inspect.EnumType):
        return "choice", tuple(str(each.value) for each in type.cls)
    if isinstance(type, inspect.LiteralType):
        return "choice", tuple(map(str, type.values))
    if isinstance(type, inspect.BoolType):
        return "choice", ("true", "false")
    if isinstance(type, inspect.IntType | inspect.FloatType | inspect.DecimalType):
        return "number", ()
    plain = inspect.StrType | inspect.DateTimeType | inspect.DateType | inspect.TimeType | inspect.UUIDType
    return ("text" if isinstance(type, plain) else "json"), ()


def _said(value: Any) -> str:
    """Nothing is what is left empty: “null” would be a text like any other."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()


def given_fields(fields: Sequence[Field], said: Mapping[str, str]) -> dict[str, Any]:
    """What a form says, ready to be parsed: what was left empty is left out, what is JSON is read."""
    given: dict[str, Any] = {}
    for field in fields:
        value = said.get(field.called, "")
        if field.kind == "json" and value:
            try:
                given[field.name] = msgspec.json.decode(value)
            except msgspec.DecodeError:
                given[field.name] = value  # which `parse` will complain about in its own words
        elif value or (field.kind == "text" and field.required):
            given[field.name] = value
    return given
