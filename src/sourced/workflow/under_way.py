"""The row that a run has for as long as it is under way: so these few are found among all the runs there ever were.

Its key is made of the place of the run's first message in the log, so that the rows of a workflow come newest first.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from sourced.view import ViewRow

FIRST = ""  # before every key
_BEYOND = 2**63 - 1  # every position


def key_of(position: int) -> str:
    return f"{_BEYOND - position:019d}"


def begun(run: str, position: int, now: datetime) -> ViewRow:
    return ViewRow(key_of(position), msgspec.json.encode(run).decode(), position=position, updated_at=now)


def over(position: int) -> ViewRow:
    return ViewRow(key_of(position), None)


def moved(key: str, there: int, here: int) -> str:
    """What a row is found by in another log, where its message has another place; other rows keep their keys."""
    return key_of(here) if key == key_of(there) else key


def run_of(row: ViewRow) -> str:
    return msgspec.json.decode(row.body or "", type=str)
