"""What a method takes and gives back, and how that is kept as JSON: by annotation, the same in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from inspect import BoundArguments, Parameter, signature, unwrap
from typing import Any, NoReturn, get_type_hints

import msgspec

from sourced.annotations import closed_over
from sourced.errors import DefinitionError, Invalid

Arguments = dict[str, Any]

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode


class Shape:
    """A method's parameters and result."""

    def __init__(self, where: str, method: Callable[..., Any], names: Mapping[str, Any]) -> None:
        self.where = where
        self.signature = signature(method)
        self.owner, *self.parameters = self.signature.parameters.values()
        hints = _hints(where, method, names)
        self.types = {each.name: _kept_as(each, hints.get(each.name, Any)) for each in self.parameters}
        self.result: Any = hints.get("return", Any)
        self.required = sum(each.default is Parameter.empty for each in self.parameters)
        self.simple = all(each.kind is Parameter.POSITIONAL_OR_KEYWORD for each in self.parameters)

    def pack(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Arguments, str]:
        """A call's arguments as JSON keeps them, by parameter, and their digest."""
        given = self._given(args, kwargs)
        try:
            text = _encode(given)
        except (TypeError, ValueError) as error:
            self._blame(given, error)
        packed: Arguments = _decode(text)
        self._read(packed)
        return packed, hashlib.blake2b(text, digest_size=4).hexdigest()

    def _given(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.simple and not kwargs and self.required <= len(args) <= len(self.types):
            return dict(zip(self.types, args, strict=False))  # as most calls are; `bind` takes its time
        try:
            given = self.signature.bind(None, *args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.where}{self.signature}: {error}") from None
        del given[self.owner.name]
        return given

    def unpack(self, packed: Arguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments again, each as its annotation says."""
        if self.simple:
            return (), self._read(packed)
        return self._called(self._read(packed))

    def _called(self, given: Arguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
        bound = BoundArguments(self.signature, {self.owner.name: None, **given})
        return bound.args[1:], bound.kwargs

    def parsed(self, given: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments from untrusted input, by parameter: lax (`"3"` → 3), and with every parameter's error at once."""
        errors = {name: "there is no such parameter" for name in given if name not in self.types}
        found: Arguments = {}
        for each in self.parameters:
            if each.name in given:
                try:
                    found[each.name] = _read(given[each.name], self.types[each.name], strict=False)
                except msgspec.ValidationError as error:
                    errors[each.name] = str(error).replace("`", "")
            elif each.default is Parameter.empty and each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
                errors[each.name] = "Required"
        if errors:
            raise Invalid(self.where, errors)
        return self._called(found)

    def pack_result(self, value: Any) -> Any:
        try:
            packed = _decode(_encode(value))
        except (TypeError, ValueError) as error:
            raise DefinitionError(f"{self.where} returned {value!r}, which cannot be stored as JSON: {error}") from None
        try:
            self.unpack_result(packed)
        except msgspec.ValidationError as error:
            raise DefinitionError(
                f"{self.where} returned {value!r}, and not what it is annotated with: {error}"
            ) from None
        return packed

    def unpack_result(self, packed: Any) -> Any:
        return _read(packed, self.result)

    def _read(self, packed: Arguments) -> Arguments:
        """In the order of the parameters: a call is made of it."""
        for name in packed:
            if name not in self.types:
                raise Invalid(self.where, {name: "there is no such parameter"})
        found: Arguments = {}
        for name, wanted in self.types.items():
            if name in packed:
                try:
                    found[name] = _read(packed[name], wanted)
                except msgspec.ValidationError as error:
                    raise Invalid(self.where, {name: str(error).replace("`", "")}) from None
        return found

    def _blame(self, given: Mapping[str, Any], error: Exception) -> NoReturn:
        for name, value in given.items():
            try:
                _encode(value)
            except (TypeError, ValueError) as wrong:
                why = f"{value!r} cannot be stored as JSON: {wrong}; pass what names it, and look it up in the step"
                raise Invalid(self.where, {name: why}) from None
        raise error


def _read(packed: Any, wanted: Any, *, strict: bool = True) -> Any:
    return packed if wanted is Any else msgspec.convert(packed, wanted, strict=strict, str_keys=True)


def _kept_as(parameter: Parameter, hint: Any) -> Any:
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return list[hint]
    return dict[str, hint] if parameter.kind is Parameter.VAR_KEYWORD else hint


def _hints(where: str, method: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    function = unwrap(method)
    around = {**function.__globals__, **names, **closed_over(function)}
    try:
        return get_type_hints(function, around, include_extras=True)
    except Exception as error:
        raise DefinitionError(f"{where}: its annotations cannot be resolved: {error}") from None
