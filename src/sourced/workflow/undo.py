"""Compensation: how to take back what was done, said where it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec

P = ParamSpec("P")


class Undo:
    """Remembers how to take things back; when its block fails or is cancelled, all of it is done, last first."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], Coroutine[Any, Any, Any]]] = []

    def __call__(self, step: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """If it comes to that, this is called."""
        self._calls.append(lambda: step(*args, **kwargs))

    async def __aenter__(self) -> Undo:
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if not isinstance(error, Exception | asyncio.CancelledError):
            return
        failed: Exception | None = None
        for call in reversed(self._calls):
            try:
                await call()
            except Exception as wrong:  # the others are taken back all the same
                failed = failed or wrong
        if failed is not None:
            raise failed from error
