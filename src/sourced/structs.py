"""What messages and rows of views are declared as: structs whose fields can be written as JSON and read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import msgspec
from msgspec import inspect
from msgspec.structs import fields as struct_fields

from sourced.errors import DefinitionError


class StructType(msgspec.StructMeta):
    """Makes struct classes, and tells whoever declares one as if it were a dataclass."""

    def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, Any], **config: Any) -> Any:
        where = body.get("__qualname__", name)
        for field, given in body.items():
            if isinstance(given, dataclasses.Field):
                raise DefinitionError(
                    f"{where}.{field}: dataclasses.field(…) means nothing here; write the default itself, such as "
                    f"`= []`, which each one gets of its own, or msgspec.field(default_factory=…)"
                )
        if "__init__" in body:
            raise DefinitionError(f"{where}: its fields make its __init__; leave that out")
        return super().__new__(mcls, name, bases, body, **config)

    def __setattr__(cls, name: str, value: Any) -> None:
        if name == "__dataclass_params__":
            raise DefinitionError(f"{cls.__qualname__} is a typed class as it stands; leave @dataclass away")
        super().__setattr__(name, value)


_well: WeakSet[type] = WeakSet()  # looked at before


def check_fields(where: str, cls: type[msgspec.Struct]) -> None:
    """Refuses fields that could not be written as JSON, or not be read back."""
    if cls in _well:
        return
    try:
        types = {field.name: field.type for field in struct_fields(cls)}
    except NameError as error:
        raise DefinitionError(
            f"{where}: the annotation of a field cannot be resolved: {error}; it is needed at run time: import it "
            f"above the class, and not under `if TYPE_CHECKING:`"
        ) from None
    for name, kept in types.items():
        try:
            msgspec.json.Decoder(kept)
        except TypeError as error:
            raise DefinitionError(f"{where}.{name} cannot be kept as JSON: {error}") from None
        wrong = foreign(kept)
        if wrong is not None:
            raise DefinitionError(
                f"{where}.{name}: {wrong.__module__}.{wrong.__qualname__} cannot be kept as JSON; make it a dataclass "
                f"or a struct of plain values, or keep what names it"
            )

    _well.add(cls)


def foreign(annotation: Any) -> type | None:
    """A class in an annotation that nothing which is read from JSON is an instance of."""
    return next(_foreign_in(inspect.type_info(annotation), set()), None)


_PLAIN = (str, int, float, bool, type(None), list, dict)


def _foreign_in(info: Any, seen: set[int]) -> Iterator[type]:
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, inspect.CustomType):
        if not any(issubclass(plain, info.cls) for plain in _PLAIN):
            yield info.cls
    elif isinstance(info, inspect.Type | inspect.Field):
        for name in info.__struct_fields__:
            yield from _foreign_in(getattr(info, name), seen)
    elif isinstance(info, tuple):
        for each in info:
            yield from _foreign_in(each, seen)
