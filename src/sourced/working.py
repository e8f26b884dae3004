"""Working: everything that is pending, here and now; waking those who do it elsewhere, and waiting for them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sourced.clock import as_delta
from sourced.envelope import Message
from sourced.errors import InTransaction
from sourced.ids import new_id
from sourced.reading import id_of
from sourced.runtime import foreground
from sourced.runtime.engine import committed
from sourced.runtime.programs import Afterwards, Program
from sourced.runtime.rounds.round import drain
from sourced.verbs import Side, verb


class WorkingVerbs(Side):
    """To have messages handled."""

    _connection: Any

    @verb
    def drain(self, *, limit: int | None = None, raise_errors: bool = False) -> Program[int]:
        """Handles everything pending here and now, and says how many messages that were.

        What fails goes the way of the error policy; with `raise_errors` the error reaches the caller instead, and the
        round it happened in changes nothing.
        """
        engine = self._engine
        return (yield from drain(engine, engine.router, new_id(), limit=limit, raise_errors=raise_errors))

    @verb
    def wake(self) -> Program[None]:
        """Tells whoever waits for messages to look now: after a commit that Sourced did not see."""
        yield Afterwards(committed(self._engine, ()))

    @verb
    def wait_for(self, message: str | Message[Any], *, timeout: timedelta | float = 30.0) -> Program[None]:
        """Until every group that wants the message has handled it: read your own writes. Raises `StillWaiting`."""
        if self._connection is not None:
            raise InTransaction(
                "nobody else can see, or handle, what this transaction stores before it ends; wait then"
            )
        yield from foreground.wait_for(self._engine, id_of(message), as_delta(timeout).total_seconds())
