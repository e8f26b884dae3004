"""Written once, offered twice: a `verb` is a plain method on a blocking owner, a coroutine on an awaiting one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from sourced.runtime.engine import Engine
from sourced.runtime.programs import Program

P = ParamSpec("P")
T = TypeVar("T")


class Side:
    """What both sides are made from."""

    _engine: Engine


class Blocking:
    """One who carries programs out here and now."""

    def _perform(self, program: Program[T]) -> T:
        raise NotImplementedError


class Awaiting:
    """One who carries programs out on the event loop."""

    async def _perform(self, program: Program[T]) -> T:
        raise NotImplementedError


class Part(Side):
    """A part of what a client offers: the client carries its programs out, in whatever transaction it is in."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._engine = client._engine

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class verb(Generic[P, T]):  # noqa: N801  (it is used as a decorator)
    """A method written as a program: a plain method on a `Blocking` owner, a coroutine method on an `Awaiting` one."""

    def __init__(self, program: Callable[Concatenate[Any, P], Program[T]]) -> None:
        @functools.wraps(program)
        def here(owner: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return owner._perform(program(owner, *args, **kwargs))

        @functools.wraps(program)
        async def awaited(owner: Any, *args: P.args, **kwargs: P.kwargs) -> Any:
            return await owner._perform(program(owner, *args, **kwargs))

        self.here, self.awaited = here, awaited
        functools.update_wrapper(self, program)  # type: ignore[arg-type]

    @overload
    def __get__(self, owner: Blocking, cls: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, owner: Awaiting, cls: Any = None) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, owner: None, cls: Any = None) -> verb[P, T]: ...
    def __get__(self, owner: Any, cls: Any = None) -> Any:
        if owner is None:
            return self
        return MethodType(self.awaited if isinstance(owner, Awaiting) else self.here, owner)
