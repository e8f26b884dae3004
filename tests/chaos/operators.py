"""People who look after the bank while it works: they stop, start, reset and rebuild, and let streams go on."""

from __future__ import annotations

import contextlib
import threading
from random import Random

from sourced import Sourced
from sourced.errors import Conflict, Deadlocked, NotKnown, RebuildStopped, Unavailable
from tests.chaos.bank import GROUPS, Balances
from tests.chaos.boards import BOARDS, Arrivals, Holdings, Stamps, Turnover
from tests.chaos.errands import ERRANDS

ALL = (*GROUPS, *BOARDS, ERRANDS)
REPLAYED = (Balances, Turnover, Holdings, Arrivals, Stamps)  # who can begin again
REBUILT = (Turnover, Holdings, Arrivals)
PASSING = (Unavailable, NotKnown, Conflict, RebuildStopped)  # it is done by others, or tried again


class Operator:
    """A thread that does something every now and then."""

    def __init__(self, app: Sourced, number: int, seed: int, every: float) -> None:
        self._app = app
        self._luck = Random(f"{seed} operator {number}")
        self._every = every
        self._ended = threading.Event()
        self.done: list[str] = []
        self.failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, name=f"operator {number}")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        doing = (self._stop, self._start, self._reset, self._rebuild, self._restore, self._let_go, self._let_go)
        try:
            while not self._ended.wait(self._luck.uniform(0, 2 * self._every)):
                what = self._luck.choice(doing)
                with contextlib.suppress(*PASSING):
                    what()
                    self.done.append(what.__name__.strip("_"))
        except BaseException as error:
            self.failures.append(error)

    def _stop(self) -> None:
        group = self._luck.choice(ALL)
        self._app.groups.stop(group, "to see what happens")
        self._ended.wait(self._luck.uniform(0, 1))
        self._app.groups.start(group)

    def _start(self) -> None:
        self._app.groups.start(self._luck.choice(ALL))

    def _reset(self) -> None:
        self._app.groups.reset(self._luck.choice(REPLAYED))

    def _rebuild(self) -> None:
        self._app.rebuild(self._luck.choice(REBUILT))

    def _restore(self) -> None:
        self._app.restore(self._luck.choice(REBUILT))

    def _let_go(self) -> None:
        let_go(self._app)


def let_go(app: Sourced) -> None:
    """What can never be handled is given up; whoever had bad luck goes on."""
    for each in app.parked.list():
        with contextlib.suppress(NotKnown, Conflict, Deadlocked):
            if "Poison" in each.error:
                app.parked.skip(each.group, each.stream, seq=each.from_seq, reason="it is poison")
            else:
                app.parked.retry(each.group, each.stream)


def start_all(app: Sourced) -> None:
    for info in app.groups.list():
        if info.group.status == "stopped":
            app.groups.start(info.group.name)
