"""What the tests of crashes share: handlers that kill their process, and a supervisor that starts the next one."""

from collections.abc import Callable
from typing import Any

from sourced import Delivery, Sourced
from sourced.actions import Actions
from sourced.testing import Crash
from tests.runtime.listener import echo, waiting

LEASE = 30


def killed_by(*texts: str) -> Callable[[Delivery], Actions]:
    """The process dies in the middle of messages with these texts; every other message is echoed."""

    def answer(delivery: Delivery) -> Actions:
        if delivery.message.payload.text in texts:
            raise Crash(delivery.message.payload.text)
        return echo(delivery)

    return answer


def restarting(app: Sourced, times: int = 1_000) -> int:
    """Drains like a supervised worker: when its process dies, a new one starts. How often it died."""
    clock: Any = app._engine.clock
    deaths = 0
    for _ in range(times):
        try:
            if not app.drain() and not any(info.lag for info in app.groups.list()) and not retries(app):
                return deaths
        except Crash:
            deaths += 1
        clock.advance(LEASE + 1)
    raise AssertionError(f"not done after {times} starts: {app.groups.list()}")


def retries(app: Sourced) -> bool:
    return any(not row.parked for row in waiting(app))
