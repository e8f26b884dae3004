"""What a person does to a running app enters the log in the transaction of the change itself."""

from __future__ import annotations

from sourced.audit import OPERATIONS, Operation
from sourced.envelope import Message
from sourced.runtime.engine import Engine
from sourced.store import Entry


def told(engine: Engine, event: Operation) -> Entry:
    """What is appended together with what it tells of."""
    message = Message.new(event, stream=OPERATIONS, now=engine.clock.now())
    return Entry(OPERATIONS, engine.encode([message]))
