"""A tiny driver of coroutines: no event loop, no time; a strand waits until it is given an answer.

One that waits for anything but a `Wait` has left the workflow, and is refused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, TypeAlias

from sourced.errors import DefinitionError

ONLY_STEPS = (
    "only steps touch the world: put it into a @step method, and use self.sleep, self.wait_for and self.gather "
    "instead of what an event loop offers"
)

Ended: TypeAlias = Callable[[Any, "BaseException | None"], None]


class Strand:
    """One line of execution: `run` itself, or one of several that it gathers."""

    __slots__ = ("coroutine", "ended", "leave", "parts")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], ended: Ended) -> None:
        self.coroutine = coroutine
        self.ended = ended
        self.leave: Callable[[], None] | None = None  # how it stops waiting, if it has to
        self.parts: Sequence[Strand] = ()  # the ones it waits for


class Wait:
    """What strands wait for; `begin` answers at once, or sees to it that somebody will."""

    __slots__ = ("begin", "loom")

    def __init__(self, loom: Loom, begin: Callable[[Strand], None]) -> None:
        self.loom = loom
        self.begin = begin

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.loom.closed:
            raise GeneratorExit  # nobody answers any more; `finally` blocks get no further than this
        try:
            return (yield self)
        except GeneratorExit:
            self.loom.closed = True
            raise


class Loom:
    """Takes strands as far as they get."""

    def __init__(self) -> None:
        self.closed = False
        self._ready: deque[tuple[Strand, Any, BaseException | None]] = deque()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], ended: Ended) -> Strand:
        strand = Strand(coroutine, ended)
        self._ready.append((strand, None, None))
        return strand

    def answer(self, strand: Strand, value: Any = None) -> None:
        strand.leave = None
        self._ready.append((strand, value, None))

    def fail(self, strand: Strand, error: BaseException) -> None:
        strand.leave = None
        self._ready.append((strand, None, error))

    def cancel(self, strand: Strand, reason: str) -> None:
        """What it waits for is given up; one that waits for others hears of it when they have come to their ends."""
        if strand.parts:
            for part in strand.parts:
                self.cancel(part, reason)
        elif strand.leave:
            strand.leave()
            self.fail(strand, asyncio.CancelledError(reason))

    def gather(self, awaitables: Sequence[Awaitable[Any]], *, return_exceptions: bool) -> Wait:
        """All of them side by side: the results in order, or, when the last one has ended, what failed first."""

        def begin(strand: Strand) -> None:
            results: list[Any] = [None] * len(awaitables)
            failed: list[BaseException] = []
            left = len(awaitables)

            def ended(at: int, result: Any, error: BaseException | None) -> None:
                nonlocal left
                results[at] = result if error is None else error
                failed.extend([] if error is None else [error])
                left -= 1
                if not left:
                    strand.parts = ()
                    gone = next((each for each in failed if isinstance(each, asyncio.CancelledError)), None)
                    first = gone or (failed[0] if failed and not return_exceptions else None)
                    self.answer(strand, results) if first is None else self.fail(strand, first)

            strand.parts = [
                self.spawn(_coroutine(each), lambda result, error, at=at: ended(at, result, error))  # type: ignore[misc]
                for at, each in enumerate(awaitables)
            ]
            if not awaitables:
                self.answer(strand, results)

        return Wait(self, begin)

    def turn(self) -> None:
        """Until every strand waits, or has ended."""
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)  # as in a worker's thread: nothing of a loop is at hand
        try:
            while self._ready:
                self._go_on(*self._ready.popleft())
        finally:
            asyncio._set_running_loop(loop)

    def _go_on(self, strand: Strand, value: Any, error: BaseException | None) -> None:
        coroutine = strand.coroutine
        try:
            wait = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as end:
            strand.ended(end.value, None)
        except (Exception, asyncio.CancelledError) as raised:
            if isinstance(raised, RuntimeError) and _wanted_a_loop(raised):
                raise DefinitionError(f"{_name(coroutine)} asked for an event loop; {ONLY_STEPS}") from raised
            strand.ended(None, raised)
        else:
            if type(wait) is not Wait:
                raise DefinitionError(f"{_name(coroutine)} awaited {_named(wait)}; {ONLY_STEPS}")
            try:
                wait.begin(strand)
            except Exception as refused:
                self.fail(strand, refused)


def _coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    async def awaiting() -> Any:
        return await awaitable

    return awaitable if isinstance(awaitable, Coroutine) else awaiting()


def _wanted_a_loop(error: RuntimeError) -> bool:
    return any(words in str(error) for words in ("no running event loop", "no current event loop"))


def _name(coroutine: Any) -> str:
    return getattr(coroutine, "__qualname__", repr(coroutine))


def _named(wait: Any) -> str:
    return "something that only makes a loop go round" if wait is None else repr(wait)
