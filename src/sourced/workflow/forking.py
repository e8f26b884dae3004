"""What a run is begun with when it takes over the history of another one, up to a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from sourced.envelope import Message
from sourced.errors import NotKnown
from sourced.messages import Payload
from sourced.workflow import events as e
from sourced.workflow.definition import Definition


def forked(definition: Definition, history: Sequence[Message[Any]], step: str) -> Iterator[tuple[Payload, datetime]]:
    """The new run's history so far: what was done before the step, without what was under way at that moment."""
    before = _before(history, step)
    first = history[0]
    done = {said.key for each in before if _concludes(said := each.payload)}
    yield replace(first.payload, forked_from=first.stream, parent="", parent_key=""), first.created_at
    for message in before[1:]:
        said = message.payload
        if isinstance(said, (e.Journal, *e.SHARED)):
            key = getattr(said, "key", None)
            if key is None or key in done:
                yield said, message.created_at
        else:
            copied = definition.own[e.SignalCopied](message.type, msgspec.to_builtins(said, str_keys=True))
            yield copied, message.created_at


def _before(history: Sequence[Message[Any]], step: str) -> Sequence[Message[Any]]:
    keys: list[str] = []
    for at, message in enumerate(history):
        if isinstance(message.payload, e.StepStarted):
            key = message.payload.key
            if step in (key, key.partition(":")[0], key.partition(":")[0].partition("#")[0]):
                return history[:at]
            keys.append(key.partition(":")[0])
    known = ", ".join(dict.fromkeys(keys)) or "none"
    raise NotKnown(f"run {history[0].stream!r} has not come to a step {step!r}; it has called: {known}")


def _concludes(said: Any) -> bool:
    if isinstance(said, e.StepFailed):
        return said.retry_at is None
    return isinstance(said, e.StepCompleted | e.TimerFired | e.ChildCompleted | e.ChildFailed)
