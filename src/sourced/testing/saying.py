"""What tests say: a payload, one with directions, or a whole message."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from msgspec.structs import replace

from sourced.envelope import Message, Outgoing, dispatch
from sourced.messages import Payload

Said: TypeAlias = Payload | Outgoing[Any] | Message[Any]


def enveloped(said: Said, stream: str, now: datetime) -> Message[Any]:
    """As a message of this stream, unless it says another."""
    if isinstance(said, Message):  # made by the machine's clock, which may be ahead of the scenario's
        return replace(said, created_at=min(said.created_at, now))
    outgoing = said if isinstance(said, Outgoing) else dispatch(said)
    if outgoing.due(now):
        raise TypeError(
            f"given and when: expected what has happened by now, found {outgoing!r}; move the clock instead"
        )
    to = stream if outgoing.to is None else outgoing.to
    return Message.new(outgoing.payload, stream=to, metadata=outgoing.metadata, now=now)
