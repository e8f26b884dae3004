"""How long handlers took for single messages: known of those that are handled in this process, while somebody looks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from sourced.app import Sourced
from sourced.telemetry import Handled

KEPT = 10_000  # messages
WATCHED = 60.0  # seconds after the last look


class Took(NamedTuple):
    group: str
    seconds: float


class HandleTimes:
    """To listen costs every message a little, so it is done only for as long as somebody is there to see it."""

    def __init__(self, app: Sourced) -> None:
        self._app = app
        self._took: OrderedDict[str, tuple[Took, ...]] = OrderedDict()
        self._listening: Any = None
        self._until = 0.0

    def of(self, message_id: str) -> Sequence[Took]:
        return self._took.get(message_id, ())

    def watch(self) -> None:
        self._until = monotonic() + WATCHED
        if self._listening is None:
            self._listening = self._app.telemetry.listen(self._heard)

    def _heard(self, happening: Any) -> None:
        if isinstance(happening, Handled) and happening.messages:
            each = happening.seconds / len(happening.messages)
            for message in happening.messages:
                self._took[message.id] = (*self._took.pop(message.id, ()), Took(happening.group, each))
            while len(self._took) > KEPT:
                self._took.popitem(last=False)
        if monotonic() > self._until and self._listening is not None:
            self._listening()
            self._listening = None
