"""What becomes of a message when it moves from the schedule into the log: the same in every store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from sourced.codec import Record
from sourced.store import Scheduled


def promoted(scheduled: Scheduled, now: datetime) -> Record:
    """A scheduled record as it enters the log: made now, remembering what it was scheduled for."""
    metadata = msgspec.json.decode(scheduled.record.metadata, type=dict[str, Any])
    metadata["scheduled_at"] = scheduled.at.isoformat()
    return replace(scheduled.record, created_at=now, metadata=msgspec.json.encode(metadata).decode())
