"""One look at everything: how much there is, how each group stands, what waits, who works."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from sourced.dashboard.veil import Veil
from sourced.doctor import Finding, GroupInfo, findings
from sourced.errors import DefinitionError
from sourced.operations.diagnosing import overdue
from sourced.operations.groups import alive, group_infos
from sourced.ops import Op
from sourced.projector import Projector
from sourced.runtime.engine import Engine
from sourced.runtime.rebuild import BESIDE, beside_of, measured
from sourced.store import Worker

SAMPLE = 500  # of the newest messages: what there is of each type is counted in them


class Building(msgspec.Struct, frozen=True):
    """A rebuild under way, whoever works on it: positions of the log that are behind it, and ahead of it."""

    done: int
    left: int

    @property
    def share(self) -> float:
        return self.done / max(1, self.done + self.left)


class Glance(msgspec.Struct, frozen=True):
    at: datetime
    streams: int
    position: int
    groups: Sequence[GroupInfo]
    workers: Sequence[Worker]
    scheduled: int
    findings: Sequence[Finding]
    building: Mapping[str, Building]  # by group
    kept: frozenset[str]  # groups whose rows from before the last rebuild are still there
    newest: Sequence[tuple[int, str]] = ()  # positions and types, the newest first
    handles: Mapping[str, Collection[str]] = {}  # types by group; one that is not there takes all there are

    @property
    def parked(self) -> int:
        return sum(len(each.parked) for each in self.groups)

    @property
    def behind_since(self) -> datetime | None:
        return min((each.behind_since for each in self.groups if each.behind_since), default=None)


def glanced(engine: Engine, target: str, veil: Veil, *, sample: int = SAMPLE) -> Op[Glance]:
    store, now = engine.store, engine.clock.now()
    newest = (yield from store.read_all(limit=sample, backwards=True)) if sample else []
    streams, position = yield from store.extent()
    infos = [veil.info(each) for each in (yield from group_infos(engine)) if not each.name.endswith(BESIDE)]
    beside = {each.name.removesuffix(BESIDE): each for each in (yield from store.groups()) if BESIDE in each.name}
    workers = yield from alive(engine)
    late, unseen = yield from overdue(store, now)
    scheduled = yield from store.count_scheduled()
    building: dict[str, Building] = {}
    for name, group in beside.items():
        if group.status == "active":
            building[name] = Building(*(yield from measured(store, name, group)))
    kept = frozenset(beside.keys() - building.keys())
    found = [each.naming(target) for each in findings(infos, workers, map(veil.scheduled, late), now, unseen=unseen)]
    return Glance(
        now, streams, position, infos, workers, scheduled, found, building, kept,
        [(each.position, each.type) for each in newest],
        {reactor.group: engine.types(reactor) for reactor in engine.router},
    )  # fmt: skip


def rebuildable(engine: Engine) -> frozenset[str]:
    """Groups whose rows can be built anew beside the live ones."""
    found = set()
    for reactor in engine.router:
        if isinstance(reactor, Projector):
            try:
                beside_of(reactor)
            except DefinitionError:
                continue
            found.add(reactor.group)
    return frozenset(found)
