"""Finding runs of workflows, newest first and a page at a time, however many there ever were: ops over the log.

All runs are found by their first messages, those that are over by their last. Those under way have a row each, which
the workflow's group writes when it begins with a run and takes away at its end; and those it has not begun with yet are
found in what it has not handled yet. So a page costs what is on it, and how far the group is behind.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from sourced.codec import Record
from sourced.envelope import Message
from sourced.errors import Invalid, NotKnown
from sourced.ops import Op
from sourced.runtime.engine import Engine
from sourced.store import Range, shard_of
from sourced.workflow import events as e
from sourced.workflow.info import RunInfo, Status
from sourced.workflow.under_way import FIRST, key_of, run_of
from sourced.workflow.workflow import Workflow

ENDS: dict[Status | None, type[e.Journal]] = {"completed": e.Completed, "failed": e.Failed, "cancelled": e.Cancelled}


def workflow_of(engine: Engine, run: str) -> Workflow:
    """Whose run it is, by its name."""
    workflows = [each for each in workflows_in(engine) if run.startswith(each.definition.prefix)]
    if not workflows:
        known = ", ".join(f"{each.definition.prefix}…" for each in workflows_in(engine))
        raise NotKnown(f"{run!r} is no run of a workflow that is registered here; those are: {known or 'none'}")
    return max(workflows, key=lambda each: len(each.definition.prefix))


def workflows_in(engine: Engine) -> Iterator[Workflow]:
    return (each for each in engine.router if isinstance(each, Workflow))


def infos(engine: Engine, runs: Sequence[str]) -> Op[list[RunInfo]]:
    """What the histories of these runs tell, in the same order; of those that wait for a person also why."""
    if not runs:
        return []
    histories = yield from engine.store.histories([Range(run) for run in runs])
    return (yield from _told(engine, [engine.codec.decode_all(records) for records in histories]))


def info_and_history(engine: Engine, run: str) -> Op[tuple[RunInfo, list[Message[Any]]]]:
    """What is to be known of one run, and what tells it; of one read, so that they cannot disagree."""
    (records,) = yield from engine.store.histories([Range(run)])
    history = engine.codec.decode_all(records)
    found = yield from _told(engine, [history])
    if not found:
        raise NotKnown(f"there is no run {run!r}")
    return found[0], history


def _told(engine: Engine, histories: Sequence[Sequence[Message[Any]]]) -> Op[list[RunInfo]]:
    found = [info for history in histories if (info := RunInfo.of(history))]
    parked: dict[str, str] = {}
    for group in {workflow_of(engine, info.id).group for info in found if info.status == "running"}:
        waiting = yield from engine.store.stragglers(group)
        parked |= {row.stream: row.reason or row.error for row in waiting if row.parked}
    return [replace(info, parked=parked.get(info.id, "") if info.status == "running" else "") for info in found]


def info_of(engine: Engine, run: str) -> Op[RunInfo]:
    return (yield from info_and_history(engine, run))[0]


def page(
    engine: Engine, workflows: Collection[Workflow], status: Status | None, before: str | None, limit: int
) -> Op[list[RunInfo]]:
    """Runs that were started before another one, the newest first; with an end: that ended before it did."""
    place = 0 if before is None else (yield from _place(engine, before, status))
    found: list[RunInfo] = []
    while len(found) < limit and workflows:
        wanted = limit - len(found)
        if status == "running":
            places = yield from _under_way(engine, workflows, place, wanted)
        else:
            read = engine.store.read_all(after=place, limit=wanted, types=_types(workflows, status), backwards=True)
            places = {record.position: record.stream for record in (yield from read)}
        seen = yield from infos(engine, [*places.values()])
        found += [info for info in seen if status in (None, info.status)]
        if len(places) < wanted:
            break
        place = min(places)
    return found


def _types(workflows: Collection[Workflow], status: Status | None) -> set[str]:
    kind = ENDS.get(status, e.Started)
    return {each.definition.own[kind].__sourced__.name for each in workflows}  # type: ignore[attr-defined]


def _place(engine: Engine, run: str, status: Status | None) -> Op[int]:
    """The position of what a page goes by: of a run's first message, or of its last."""
    wanted = _types([workflow_of(engine, run)], status)
    (records,) = yield from engine.store.histories([Range(run, upto=None if status in ENDS else 1)])
    there: Record | None = next((each for each in records if each.type in wanted), None)
    if there is None:
        why = f"{run!r}, which {f'is not {status}' if records else 'there is not'}"
        raise Invalid("workflows.list", {"before": f"expected the last run of the page before, found {why}"})
    return there.position


def _under_way(engine: Engine, workflows: Collection[Workflow], before: int, limit: int) -> Op[dict[int, str]]:
    """The newest runs that may be under way, by the positions of their first messages.

    In the order in which a run comes from one place to the next, so that none slips by while it is looked for.
    """
    found: dict[int, str] = {}
    for workflow in workflows:
        for record in (yield from _not_handled(engine, workflow, before, limit)):
            found[record.position] = record.stream
        for record in (yield from _waiting(engine, workflow)):
            found[record.position] = record.stream
        after = key_of(before) if before else FIRST
        for row in (yield from engine.store.page_views(workflow.group, after=after, limit=limit)):
            found[row.position] = run_of(row)
    places = sorted((place for place in found if not before or place < before), reverse=True)
    return {place: found[place] for place in places[:limit]}


def _not_handled(engine: Engine, workflow: Workflow, before: int, limit: int) -> Op[list[Record]]:
    """First messages that it was not the group's turn to handle yet."""
    store, started, found = engine.store, _types([workflow], None), list[Record]()
    progress = yield from store.progress(workflow.group, started)
    handled = {each.shard: max(each.checkpoint, each.high) for each in progress}
    floor = min((handled[each.shard] for each in progress if each.pending or each.estimated), default=None)
    while floor is not None and len(found) < limit:
        records = yield from store.read_all(after=before, limit=limit, types=started, backwards=True)
        found += [each for each in records if each.position > handled.get(shard_of(each.stream, store.shards), 0)]
        if len(records) < limit or records[-1].position <= floor:
            break
        before = records[-1].position
    return found


def _waiting(engine: Engine, workflow: Workflow) -> Op[list[Record]]:
    """First messages that failed, and wait by themselves."""
    runs = [row.stream for row in (yield from engine.store.stragglers(workflow.group)) if row.from_seq == 1]
    firsts = (yield from engine.store.histories([Range(run, upto=1) for run in runs])) if runs else []
    return [record for records in firsts for record in records]
