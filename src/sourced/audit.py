"""What people who run an app did to it: every action of theirs is an event in the log, with who, why and the facts."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from sourced.messages import Event

Status: TypeAlias = Literal["active", "stopped"]

OPERATIONS = "sourced.operations"  # the stream they are in


class Operation(Event, namespace="sourced", kw_only=True):
    """The family of them. A reactor hears of those that it names, as of any other event."""

    by: str = ""
    reason: str = ""


class GroupStopped(Operation, kw_only=True):
    group: str
    was: Status
    behind: int  # messages it had yet to handle; of very many, about so many


class GroupStarted(Operation, kw_only=True):
    group: str
    was: Status
    behind: int
    due: int  # streams that had failed, and are tried again at once


class GroupReset(Operation, kw_only=True):
    group: str
    was: Status
    messages: int  # are delivered again, as far as they had been before
    waiting: int  # streams that had failed, parked or not, and start over


class GroupRebuilt(Operation, kw_only=True):
    """Its rows were built anew, and took the place of those that were there."""

    group: str
    was: Status
    messages: int  # there were to build them of


class GroupRestored(Operation, kw_only=True):
    """The rows from before its last rebuild are the live ones again."""

    group: str
    was: Status


class ArchiveImported(Operation, kw_only=True):
    """All that came before in this log, and how groups stand, is from an archive."""

    archive: str  # its id
    store: str  # that it was made of
    made_at: datetime
    messages: int
    rows: int
    groups: int


class ParkedStream(msgspec.Struct, frozen=True):
    """A stream that waited for a person, and the message it waited at."""

    group: str
    stream: str
    seq: int
    message_id: str
    error: str


class ParkedRetried(Operation, kw_only=True):
    streams: list[ParkedStream]


class ParkedSkipped(Operation, kw_only=True):
    """One message of one stream will not be handled; what is behind it goes on."""

    group: str
    stream: str
    seq: int
    message_id: str
    error: str


class DueMessage(msgspec.Struct, frozen=True):
    """A message that waited for its time."""

    id: str
    type: str
    stream: str
    due_at: datetime


class ScheduleCancelled(Operation, kw_only=True):
    messages: list[DueMessage]


class ScheduleHastened(Operation, kw_only=True):
    """They did not wait any longer."""

    messages: list[DueMessage]


class WorkflowCancelled(Operation, kw_only=True):
    """A run was asked to end, or ended `at_once`; one that was over already stays as it was."""

    run: str
    was: str  # running, or how it had ended
    at_once: bool
    waiting_for: list[str]


class WorkflowForked(Operation, kw_only=True):
    """A new run has begun, that knows all that another one knew before a step."""

    run: str
    step: str
    fork: str  # the new run; there is none yet where it is only tried
    known: int  # messages of the old one that it goes on from
