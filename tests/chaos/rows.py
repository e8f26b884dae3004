"""What the checker reads of the log, with plain SQL."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

ANSWERS = {
    "bank.open": {"bank.opened"},
    "bank.withdraw": {"bank.withdrawn", "bank.declined"},
    "bank.deposit": {"bank.deposited", "bank.deposit_refused"},
    "bank.refund": {"bank.refunded"},
}


class Row(NamedTuple):
    position: int
    stream: str
    seq: int
    id: str
    type: str
    payload: str
    causation_id: str
    metadata: str

    @property
    def is_event(self) -> bool:
        return any(self.type in events for events in ANSWERS.values())

    @property
    def is_journaled(self) -> bool:
        return self.is_event or self.type in ("bank.noted", "bank.dripped")

    @property
    def came_due(self) -> bool:
        return "scheduled_at" in self.metadata

    def says(self, field: str) -> Any:
        return json.loads(self.payload)[field]
