"""What annotations stand for, and what the code of a function names: read, and never run."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from inspect import Parameter, signature, unwrap
from typing import Any, Union, get_args, get_origin

from sourced.envelope import Message
from sourced.errors import DefinitionError
from sourced.messages import Payload, is_payload_class


def annotated(cls: type, method: Any) -> tuple[tuple[type[Payload], ...], bool]:
    """The message classes in the annotation of a method's last parameter, and whether it wants their envelope."""
    parameters = list(signature(method).parameters.values())
    where = f"{cls.__qualname__}.{method.__name__}"
    return message_of(where, cls, method, parameters[-1], names_around())


def message_of(
    where: str, cls: type, method: Any, parameter: Parameter, names: dict[str, Any]
) -> tuple[tuple[type[Payload], ...], bool]:
    if parameter.annotation is Parameter.empty:
        raise DefinitionError(f"{where}: annotate {parameter.name!r} with the message it is for")
    return messages_in(where, resolved(where, method, parameter.annotation, {**names, **vars(cls)}))


def resolved(where: str, method: Any, annotation: Any, names: dict[str, Any]) -> Any:
    """What a quoted annotation stands for; `names` are those around the function that are not its module's."""
    function, said = unwrap(method), annotation  # a decorated method keeps its annotations, but lives elsewhere
    while isinstance(annotation, str):
        try:
            annotation = eval(annotation, function.__globals__, {**closed_over(function), **names})
        except Exception as error:
            missing = isinstance(error, NameError)
            hint = "; it is needed at run time: import it above the class, and not under `if TYPE_CHECKING:`" * missing
            raise DefinitionError(f"{where}: the annotation {said!r} cannot be resolved: {error}{hint}") from None
    return annotation


def messages_in(where: str, annotation: Any) -> tuple[tuple[type[Payload], ...], bool]:
    """The message classes an annotation names, and whether it asks for their envelope."""
    wanted = list(_members(annotation))
    wrong = [message for message, _ in wanted if not is_payload_class(message)]
    if wrong or len({envelope for _, envelope in wanted}) != 1:
        found = getattr(annotation, "__qualname__", None) or repr(annotation)
        raise DefinitionError(f"{where}: expected a message class, A | B or Message[A | B], found {found}")
    return tuple(message for message, _ in wanted), wanted[0][1]


def _members(annotation: Any, envelope: bool = False) -> Iterator[tuple[Any, bool]]:
    if get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member, envelope)
    elif get_origin(annotation) is Message:
        yield from _members(get_args(annotation)[0], envelope=True)
    else:
        yield annotation, envelope


def names_around() -> dict[str, Any]:
    """The local names where our user is at work, so that what is made inside functions (tests!) resolves too."""
    frame = sys._getframe(1)
    while frame.f_back and (_is_ours(frame) or frame.f_code.co_name == "__init_subclass__"):
        frame = frame.f_back
    names: dict[str, Any] = {}
    while frame.f_back and "__qualname__" in frame.f_locals:  # the body of a class, and what is around it
        names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names if frame.f_locals is frame.f_globals else {**frame.f_locals, **names}


def _is_ours(frame: types.FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] == "sourced"


def mentioned(method: Callable[..., Any]) -> Iterator[type[Payload]]:
    """The message classes a method's code names: an actor brings the events it yields along when it is registered."""
    return (thing for thing in named_in(method) if is_payload_class(thing))


def named_in(method: Callable[..., Any]) -> Iterator[Any]:
    """What a method's code names: globals, what it closes over, and members of the modules and classes among them."""
    function = unwrap(getattr(method, "__func__", method))
    code = getattr(function, "__code__", None)
    if code is None:
        return
    found = closed_over(function)
    names = set(_names_in(code))
    found |= {name: function.__globals__[name] for name in names if name in function.__globals__}
    for thing in found.values():
        yield thing
        if isinstance(thing, types.ModuleType | type) and not is_payload_class(thing):
            yield from (member for name in names if (member := getattr(thing, name, None)) is not None)


def closed_over(function: Any) -> dict[str, Any]:
    """What a function takes from around it, as far as that is there by now."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)
