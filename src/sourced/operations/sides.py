"""The same for callers who block, and for those who await."""

from __future__ import annotations

from typing import Any

from sourced.operations.groups import GroupVerbs
from sourced.operations.parked import ParkedVerbs
from sourced.operations.scheduled import ScheduledVerbs
from sourced.verbs import Awaiting, Blocking, Side


class _Namespace(Side):
    def __init__(self, client: Any) -> None:
        self._engine = client._engine
        self._client = client

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class BlockingGroups(_Namespace, GroupVerbs, Blocking): ...


class BlockingParked(_Namespace, ParkedVerbs, Blocking): ...


class BlockingScheduled(_Namespace, ScheduledVerbs, Blocking): ...


class AsyncGroups(_Namespace, GroupVerbs, Awaiting): ...


class AsyncParked(_Namespace, ParkedVerbs, Awaiting): ...


class AsyncScheduled(_Namespace, ScheduledVerbs, Awaiting): ...
