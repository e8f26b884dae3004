"""Rows of read models that the store keeps beside the log: what they are made of, written and read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, Never, TypeAlias, TypeVar, cast

import msgspec
from msgspec.structs import fields as struct_fields

from sourced.errors import DefinitionError, Invalid, Unreadable
from sourced.structs import StructType, check_fields

V = TypeVar("V", bound="View")

Scalar: TypeAlias = str | int | float | bool | None


class View(msgspec.Struct, metaclass=StructType):
    """A row of a read model: a mutable struct whose fields have defaults, so that there is a first one."""


class _Deleted:
    def __repr__(self) -> str:
        return "Deleted"


Deleted: Never = cast("Never", _Deleted())
"""What an `@evolve` method of a projector returns when there is to be no such row any more."""


class ViewRow(msgspec.Struct, frozen=True):
    """A row as a store keeps it, and as it is handed over to be kept."""

    key: str
    body: str | None  # JSON; None: there is to be none
    revision: int = 0  # changes with every write; 0: never written
    position: int = 0  # the last message in it
    updated_at: datetime | None = None


def first_revision() -> int:
    """Not one: who made his row of one that was deleted meanwhile, and is there again, is to notice it."""
    return secrets.randbelow(2**31) + 1


class Equal(msgspec.Struct, frozen=True):
    """A field holds a value; a row that was written before there was such a field counts as well, if `or_missing`."""

    field: str
    value: Scalar
    or_missing: bool = False


NOTHING = "null"  # the body of a row that only says how often its key was written to


class Shape(Generic[V]):
    """How the rows of one view are written and read."""

    def __init__(self, owner: str, view: type[V]) -> None:
        check_fields(view.__qualname__, view)
        self.owner = owner
        self.view = view
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(view).decode

    def write(self, key: str, row: V) -> str:
        """The row as JSON; what could not be read back is refused now."""
        try:
            text = self._encode(row)
            self._decode(text)
        except (TypeError, UnicodeEncodeError, msgspec.ValidationError) as error:
            raise self._refused(key, str(error)) from error
        if rb"\u0000" in text and "\0" in _texts(msgspec.json.decode(text)):
            raise self._refused(key, "text with a NUL character in it, which databases cannot look into")
        return text.decode()

    def read(self, key: str, body: str) -> V:
        try:
            return self._decode(body)
        except msgspec.MsgspecError as error:
            raise Unreadable(self.owner, key, self.view.__qualname__, str(error)) from error

    def equal(self, fields: Mapping[str, Any]) -> tuple[Equal, ...]:
        """What `find(status="open")` asks of the store."""
        known = {field.name: field for field in struct_fields(self.view)}
        wanted: list[Equal] = []
        for name, value in fields.items():
            if name not in known:
                raise Invalid(self.view.__qualname__, {name: f"expected one of its fields: {', '.join(known)}"})
            plain = msgspec.to_builtins(value)
            if not isinstance(plain, str | int | float | bool | None):
                raise Invalid(self.view.__qualname__, {name: f"expected text, a number or None, found {value!r}"})
            field = known[name]
            default = field.default if field.default is not msgspec.NODEFAULT else _made(field.default_factory)
            wanted.append(Equal(field.encode_name, plain, or_missing=type(default) is type(value) and default == value))
        return tuple(wanted)

    def _refused(self, key: str, why: str) -> Invalid:
        return Invalid(self.view.__qualname__, {"": f"the row {key!r} of {self.owner} cannot be stored: {why}"})


def check_view(where: str, view: type[View]) -> None:
    """A row begins as `Listing()`, so each of its fields has a default."""
    without = [field.name for field in struct_fields(view) if field.required]
    if without:
        raise DefinitionError(
            f"{where}: the first row is {view.__qualname__}(), so give {', '.join(without)} a default, "
            f"or override `initial(self, key)`"
        )


def is_view(made_of: Any) -> bool:
    return isinstance(made_of, type) and issubclass(made_of, View)


def _made(factory: Any) -> Any:
    return None if factory is msgspec.NODEFAULT else factory()


def _texts(data: Any) -> str:
    """All the text in it."""
    if isinstance(data, dict):
        return "".join(map(_texts, (*data, *data.values())))
    return "".join(map(_texts, data)) if isinstance(data, list) else data if isinstance(data, str) else ""
