"""How the steps that went on beside the rounds are stored, and their watchdogs put off: ops, many steps at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sourced.codec import Record
from sourced.ops import Op
from sourced.runtime.engine import Engine
from sourced.store import Entry, Range, Scheduled
from sourced.workflow import events as e
from sourced.workflow.attempts import Attempt, Result


def recorded(engine: Engine, made: Sequence[tuple[Attempt, Result]]) -> Op[None]:
    """Each at the end of its run's stream, unless the run has gone on without it."""
    store, now = engine.store, engine.clock.now()
    yield from store.cancel([attempt.watchdog(now).id for attempt, _ in made])  # the schedule comes before the log
    yield from store.reserve({attempt.run for attempt, _ in made})
    since = yield from store.histories([Range(attempt.run, attempt.started.seq) for attempt, _ in made])
    entries: list[Entry] = []
    later: list[Scheduled] = []
    for (attempt, result), records in zip(made, since, strict=True):
        if is_over(engine, attempt, result, records):
            continue
        events = [*attempt.events(result, now)]
        entries.append(Entry(attempt.run, engine.encode(attempt.started.follow(event, now=now) for event in events)))
        for action in (each for event in events for each in attempt.following(event)):
            later += [Scheduled(record, action.at) for record in engine.encode(action.messages)]
    if entries:
        yield from store.append(entries)
    if later:
        yield from store.schedule(later)


def is_over(engine: Engine, attempt: Attempt, result: Result, records: Iterable[Record]) -> bool:
    """The run has ended, or this step has, or another attempt was begun and this one has come to nothing."""
    for record in records:
        payload = engine.codec.payload(record)
        if isinstance(payload, e.ENDINGS):
            return True
        of_step = isinstance(payload, e.StepCompleted | e.StepFailed | e.StepInterrupted)
        if of_step and payload.key == attempt.key and (result.error or isinstance(payload, e.StepCompleted)):
            return True
    return False


def put_off(engine: Engine, attempts: Sequence[Attempt]) -> Op[list[Attempt]]:
    """The watchdogs of attempts come a lease from now; those whose watchdog has come already are returned."""
    store, now = engine.store, engine.clock.now()
    watchdogs = {attempt.watchdog(now).id: attempt for attempt in attempts}
    still = set((yield from store.cancel([*watchdogs])))
    messages = [attempt.watchdog(now) for id, attempt in watchdogs.items() if id in still]
    if messages:
        yield from store.schedule([Scheduled(record, now + engine.lease) for record in engine.encode(messages)])
    return [attempt for id, attempt in watchdogs.items() if id not in still]
