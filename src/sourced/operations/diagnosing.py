"""What `app.doctor` looks at: groups, workers, the schedule; rebuilds, runs, groups that no code here handles."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from shlex import quote

from sourced.clock import SystemClock
from sourced.doctor import PATIENCE, Finding, findings, in_order, of_strangers
from sourced.operations.groups import alive, group_infos
from sourced.ops import Op
from sourced.runtime.engine import Engine
from sourced.runtime.rebuild import BESIDE
from sourced.runtime.runs import workflows_in
from sourced.store import Group, Scheduled, Store, Symptom

LOOKED = 500  # messages of the schedule


def diagnosed(engine: Engine) -> Op[list[Finding]]:
    now, known = engine.clock.now(), {reactor.group for reactor in engine.router}
    workers = yield from alive(engine)
    infos = yield from group_infos(engine)
    late, unseen = yield from overdue(engine.store, now)
    found = findings(infos, workers, late, now, unseen=unseen)
    found += map(_seen_to, (yield from engine.store.symptoms(SystemClock().now)))
    if known:
        groups = yield from engine.store.groups()
        found += _rebuilds(groups)
        found += yield from _runs(engine)
        found += of_strangers((each for each in groups if not each.name.endswith(BESIDE)), known)
    return in_order(found)


def _seen_to(each: Symptom) -> Finding:
    return Finding("trouble" if each.trouble else "waiting", each.about, each.why, each.advice)


def overdue(store: Store, now: datetime) -> Op[tuple[list[Scheduled], int]]:
    """What should be in the log by now: what comes first of it, and how many more there are."""
    due = now - PATIENCE
    found = [each for each in (yield from store.scheduled(limit=LOOKED)) if each.at < due or each.error]
    unseen = (yield from store.count_scheduled(due)) - LOOKED if len(found) == LOOKED else 0
    return found, max(0, unseen)


def _rebuilds(groups: Iterable[Group]) -> Iterable[Finding]:
    """Between two rounds nobody holds anything, so whether somebody is at it cannot be told."""
    for each in groups:
        if each.name.endswith(BESIDE) and each.status == "active":
            live = each.name.removesuffix(BESIDE)
            why = "its rows are being built anew, or that was left in the middle; those that are live stay as they are"
            yield Finding(
                "waiting", live, why, f"if nobody is at it, this goes on: sourced rebuild module:app {quote(live)}"
            )


def _runs(engine: Engine) -> Op[list[Finding]]:
    """Runs may wait for days, and be right to; so they are counted, and what each waits for is told elsewhere."""
    found: list[Finding] = []
    for workflow in workflows_in(engine):
        if count := (yield from engine.store.count_views(workflow.group)):
            why = f"{count:,} run{'s are' if count != 1 else ' is'} under way"
            name = quote(workflow.definition.where)
            advice = f"what each waits for: sourced workflows list module:app -w {name} --status running"
            found.append(Finding("fine", workflow.group, why, advice))
    return found
