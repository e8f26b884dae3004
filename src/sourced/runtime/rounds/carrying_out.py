"""The ops that carry out what handling has asked for: appends, sync blocks, and what goes to other streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sourced.actions import AfterCommit
from sourced.codec import Record
from sourced.errors import Conflict, Duplicate
from sourced.ops import Call, Op
from sourced.runtime.engine import Engine
from sourced.runtime.inline import append
from sourced.runtime.rounds.effects import Effects, each_alone
from sourced.store import Entry, Outcome, Store


def refusal(entry: Entry, outcome: Outcome) -> Conflict | Duplicate | None:
    """Why an append was not made. One that is stored already as a whole was made before; a part of it is not enough."""
    if isinstance(outcome, tuple) or (isinstance(outcome, Duplicate) and len(outcome.ids) == len(entry.records)):
        return None
    return outcome


def append_and_sync(engine: Engine, many: Sequence[Effects]) -> Op[None]:
    """What some streams' effects append, in one statement, and their sync blocks; raises when any part of it fails.

    What they send is appended here only if it is projected as it is stored, so that an error is blamed on who sent it.
    """
    hooks: list[AfterCommit] = []
    entries = [entry for effects in many for entry in effects.entries]
    sent = [record for effects in many for record in effects.sent if is_inline(engine, record)]
    outcomes = iter((yield from append(engine, [*entries, *each_alone(sent)], hooks)) if entries or sent else ())
    for effects in many:
        for entry in effects.entries:
            outcome = next(outcomes)
            if refused := refusal(entry, outcome):
                raise refused
            if isinstance(outcome, tuple):
                effects.memo.placed(outcome)
    for effects in many:
        for sync in effects.syncs:
            yield Call(sync.work)
    for effects in many:
        effects.projected = hooks if effects is many[0] else ()


def is_inline(engine: Engine, record: Record) -> bool:
    return bool(engine.router.inline_for([record]))


def append_together(store: Store, many: Iterable[Effects]) -> Op[dict[Effects, Conflict | Duplicate]]:
    """What the simple effects of many streams append, in one statement; those that were refused come back."""
    owners = [effects for effects in many if effects.entries]
    if not owners:
        return {}
    outcomes = yield from store.append([effects.entries[0] for effects in owners])
    refused: dict[Effects, Conflict | Duplicate] = {}
    for effects, outcome in zip(owners, outcomes, strict=True):
        (entry,) = effects.entries
        if why := refusal(entry, outcome):
            refused[effects] = why
        elif isinstance(outcome, tuple) and outcome[0].seq - 1 != entry.expected_seq:
            effects.memo.placed(outcome)
    return refused


def send(engine: Engine, many: Sequence[Effects]) -> Op[None]:
    """What goes to the end of other streams; last of all, so that it is in nobody's way who expected a seq."""
    store = engine.store
    sent = [record for effects in many for record in effects.sent]
    if sent := [record for record in sent if not is_inline(engine, record)] if engine.router.inline else sent:
        yield from store.append(each_alone(sent))
    scheduled = [each for effects in many for each in effects.scheduled]
    if scheduled:
        yield from store.schedule(scheduled)
    gone = {each for effects in many for each in effects.unscheduled}
    if at_once := [each.record.id for each in scheduled if each.record.id in gone]:
        yield from store.cancel(at_once)  # those that were there before are gone already
