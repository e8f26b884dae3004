"""Steps: the methods of a workflow that touch the world, each remembered once it is done."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from sourced.clock import as_delta
from sourced.errors import DefinitionError, Rejection
from sourced.policy import Backoff, Exponential, check_backoff

W = TypeVar("W")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Terms:
    """How often a step is tried, how long it may take, and whether equal calls are one."""

    retries: int = 0
    backoff: Backoff = field(default_factory=lambda: Exponential(1.0))
    timeout: timedelta | None = None
    once: bool = False

    def retry_at(self, error: BaseException, attempt: int, now: datetime) -> datetime | None:
        """When it is tried again; a `Rejection` is an answer, and a wrong program stays wrong."""
        if attempt > self.retries or isinstance(error, Rejection | DefinitionError):
            return None
        return now + timedelta(seconds=self.backoff(1.0, attempt))


class Step(Generic[P, R]):
    """In `run` a call of it is remembered; anywhere else it is the method itself, to be awaited."""

    def __init__(self, method: Callable[..., Any], terms: Terms) -> None:
        where = method.__qualname__
        if not inspect.isfunction(inspect.unwrap(method)):
            raise DefinitionError(f"{where}: @step is for plain and async methods, found a {type(method).__name__}")
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            raise DefinitionError(f"{where}: expected no `yield` in it; a step returns its result")
        self.method = method
        self.terms = terms
        self.name = method.__name__
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(method))
        self._called = self._calling()
        functools.update_wrapper(self, method)  # type: ignore[arg-type]

    def _calling(self) -> Callable[..., Coroutine[Any, Any, R]]:
        @functools.wraps(self.method)
        async def called(workflow: Any, *args: Any, **kwargs: Any) -> Any:
            if workflow._run is not None:
                return await workflow._run.step(self, args, kwargs)
            result = self.method(workflow, *args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return called

    @overload  # without an Any in it, for which mypy would choose no overload of `gather`
    def __get__(self, workflow: None, cls: Any = None) -> Step[P, R]: ...
    @overload
    def __get__(self, workflow: object, cls: Any = None) -> Callable[P, Coroutine[object, object, R]]: ...
    def __get__(self, workflow: Any, cls: Any = None) -> Any:
        return self if workflow is None else MethodType(self._called, workflow)


class _Stepping(Protocol):
    @overload
    def __call__(self, method: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, method: Callable[Concatenate[W, P], R], /) -> Step[P, R]: ...


@overload
def step(method: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def step(method: Callable[Concatenate[W, P], R], /) -> Step[P, R]: ...
@overload
def step(
    *, retries: int = 0, backoff: Backoff | None = None, timeout: timedelta | float | None = None, once: bool = False
) -> _Stepping: ...
def step(
    method: Any = None, /, *, retries: int = 0, backoff: Backoff | None = None,
    timeout: timedelta | float | None = None, once: bool = False,
) -> Any:  # fmt: skip
    """A method that touches the world: it is carried out, its result is stored, and `run` goes on with that for ever.

    After a failure it is tried `retries` times more, at first after a second, then after two, four … unless `backoff`
    says otherwise. An attempt that takes longer than `timeout` has failed. With `once`, calls with equal arguments are
    one call. If the process dies the step is carried out again: give the outside world `self.step_id`, the same for
    every attempt.
    """
    if not isinstance(retries, int) or retries < 0:
        raise DefinitionError(f"step(retries=…): expected a whole number from 0, found {retries!r}")
    limit = None if timeout is None else as_delta(timeout)
    if limit is not None and limit <= timedelta():
        raise DefinitionError(f"step(timeout=…): expected more than nothing, found {timeout!r}")
    check_backoff("step(backoff=…)", backoff := backoff or Exponential(1.0))
    terms = Terms(retries, backoff, limit, once)
    return Step(method, terms) if method is not None else lambda each: Step(each, terms)
