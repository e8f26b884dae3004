"""The thread a round is in, and another one that takes its place when plain code of the user's holds it up.

Nobody can take from a thread what it is in the middle of. But the round is a generator, and can be gone on with
elsewhere: without the stream whose handler hangs, which is left behind as those are that only wait.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from sourced.runtime.programs import Relieved
from sourced.runtime.workers.threads import Driver

MOST = 16  # threads of one group that plain handlers may hold up; after that rounds wait for theirs

GoOn = Callable[[Callable[[], Any]], Any]
"""What another thread does: it is handed what drives the works that are left, and goes on with what comes after."""


class Threads:
    """For the rounds of one group."""

    def __init__(self, rounds: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(rounds + MOST, thread_name_prefix=name)
        self._held_up: list[Future[Any]] = []

    def begin(self, work: Callable[[], None]) -> Future[Any]:
        return self._pool.submit(work)

    @property
    def spare(self) -> bool:
        self._held_up = [each for each in self._held_up if not each.done()]
        return len(self._held_up) < MOST

    def give_up(self, thread: Future[Any]) -> None:
        self._held_up.append(thread)

    def shutdown(self) -> None:
        self._pool.shutdown(wait=False)


class Hands(Executor):
    """Of one round: whatever it submits has one outcome, whichever thread comes to it."""

    def __init__(self, threads: Threads, driver: Driver, go_on: GoOn, patience: float) -> None:
        self._threads = threads
        self._driver = driver
        self._go_on = go_on
        self._patience = patience
        self._outcome: Future[Any]
        self._thread: Future[Any]
        self._watch = driver.loop.call_later(patience, self._relieve)

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._outcome = Future()
        self._outcome.set_running_or_notify_cancel()
        self._begin(partial(work, *args, **kwargs))
        return self._outcome

    def rest(self) -> None:
        """The round is over."""
        self._watch.cancel()

    def _begin(self, work: Callable[[], Any]) -> None:
        self._thread = self._threads.begin(partial(_carry_out, self._outcome, work))

    def _relieve(self) -> None:
        """If plain code has held up the thread for too long, another one goes on without it."""
        self._watch = self._driver.loop.call_later(self._patience / 2, self._relieve)
        rest = self._driver.left_with(self._patience) if self._threads.spare else None
        if rest is not None:
            self._threads.give_up(self._thread)
            self._begin(partial(self._go_on, rest))


def _carry_out(outcome: Future[Any], work: Callable[[], Any]) -> None:
    try:
        result = work()
    except Relieved:
        return
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
