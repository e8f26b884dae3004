"""The same for callers who block, and for those who await."""

from __future__ import annotations

from sourced.operations.groups import GroupVerbs
from sourced.operations.parked import ParkedVerbs
from sourced.operations.scheduled import ScheduledVerbs
from sourced.verbs import Awaiting, Blocking, Part


class BlockingGroups(Part, GroupVerbs, Blocking): ...


class BlockingParked(Part, ParkedVerbs, Blocking): ...


class BlockingScheduled(Part, ScheduledVerbs, Blocking): ...


class AsyncGroups(Part, GroupVerbs, Awaiting): ...


class AsyncParked(Part, ParkedVerbs, Awaiting): ...


class AsyncScheduled(Part, ScheduledVerbs, Awaiting): ...
