"""What is done to runs of workflows from outside: they are started, signalled, cancelled and forked."""

from __future__ import annotations

from typing import Any

from sourced.audit import OPERATIONS, WorkflowCancelled, WorkflowForked
from sourced.envelope import Message
from sourced.errors import NotKnown, UnknownMessage
from sourced.ids import new_id
from sourced.ops import Op
from sourced.runtime import foreground
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Commit, Program, Transact
from sourced.runtime.runs import info_of, workflow_of, workflows_in
from sourced.runtime.telling import told
from sourced.store import Entry, Range
from sourced.workflow import events as e
from sourced.workflow import under_way
from sourced.workflow.definition import Definition
from sourced.workflow.forking import forked as history_before
from sourced.workflow.info import RunInfo
from sourced.workflow.workflow import Named, Workflow


def started(
    engine: Engine, workflow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Program[tuple[str, Definition]]:
    """Stores a run's first message; a run that is there already stays as it is."""
    named = workflow if isinstance(workflow, Named) else Named(workflow, new_id())
    definition = registered(engine, named.workflow).definition
    arguments, _ = definition.shape.pack(args, kwargs)
    run, now = f"{definition.prefix}{named.id}", engine.clock.now()
    first = Message.new(definition.starting(arguments), stream=run, metadata=named.metadata, now=now)
    (outcome,) = yield Commit([Entry(run, engine.encode([first]), 0)])
    if isinstance(outcome, tuple):
        yield Afterwards(committed(engine, ()))
    return run, definition


def registered(engine: Engine, workflow: Any) -> Workflow:
    for each in workflows_in(engine):
        if type(each) is workflow:
            return each
    name = getattr(workflow, "__qualname__", repr(workflow))
    if not (isinstance(workflow, type) and issubclass(workflow, Workflow)):
        raise NotKnown(f"expected the class of a registered workflow, found {name}")
    raise NotKnown(f"{name} is not registered here; call app.register({name}) first")


def signalled(engine: Engine, run: str, source: Message[Any]) -> Program[Message[Any]]:
    definition = workflow_of(engine, run).definition
    if type(source.payload) not in definition.signals:
        raise UnknownMessage(source.type, within=f"{definition.where}, which waits for {_named(definition)}")
    yield Transact(info_of(engine, run), reading=True)  # which there has to be
    (kept,) = yield from foreground.append(engine, [source], run, None)
    return kept


def _named(definition: Definition) -> str:
    return ", ".join(sorted(each.__sourced__.name for each in definition.signals)) or "nothing"


def cancelled(
    engine: Engine, run: str, reason: str, by: str, at_once: bool, dry_run: bool
) -> Program[WorkflowCancelled]:  # fmt: skip
    workflow = workflow_of(engine, run)

    def op() -> Op[WorkflowCancelled]:
        if not dry_run:
            yield from engine.store.reserve([run, OPERATIONS])
        info = yield from info_of(engine, run)
        event = WorkflowCancelled(
            by=by, reason=reason, run=run, was=info.status, at_once=at_once, waiting_for=[*info.waiting_for]
        )
        if info.status == "running" and not dry_run:
            yield from _ask_to_end(engine, workflow, run, e.CancelRequested(reason, by), at_once)
            yield from engine.store.append([told(engine, event)])
        return event

    event: WorkflowCancelled = yield Transact(op(), reading=dry_run, anew=op)
    if not dry_run:
        yield Afterwards(committed(engine, ()))
    return event


def _ask_to_end(
    engine: Engine, workflow: Workflow, run: str, request: e.CancelRequested, at_once: bool
) -> Op[None]:  # fmt: skip
    first = Message.new(request, stream=run, now=engine.clock.now())
    over = [first.follow(workflow.definition.own[e.Cancelled](request.reason), now=first.created_at)] if at_once else []
    yield from engine.store.append([Entry(run, engine.encode([first, *over]))])
    if at_once:
        ((started,),) = yield from engine.store.histories([Range(run, upto=1)])
        yield from engine.store.save_views(workflow.group, [under_way.over(started.position)])
    rows = yield from engine.store.stragglers(workflow.group)
    if parked := [row for row in rows if row.stream == run and row.parked]:  # so that it hears of it
        yield from engine.store.unpark(parked)


def forked(
    engine: Engine, run: str, step: str, reason: str, by: str, dry_run: bool
) -> Program[WorkflowForked]:  # fmt: skip
    """A new run with the history of another one, up to a step: its code is taken through it and hears of none anew."""
    workflow, now = workflow_of(engine, run), engine.clock.now()
    history = engine.codec.decode_all((yield from foreground.read(engine, run)))
    if RunInfo.of(history) is None:
        raise NotKnown(f"there is no run {run!r}")
    (started, at), *before = history_before(workflow.definition, history, step)
    new = "" if dry_run else f"{workflow.definition.prefix}{new_id()}"
    event = WorkflowForked(by=by, reason=reason, run=run, step=step, fork=new, known=1 + len(before))
    if dry_run:
        return event
    first = Message.new(started, stream=new, metadata=history[0].metadata, now=at)
    copied = [first, *(first.follow(payload, now=at) for payload, at in before)]
    last = first.follow(workflow.definition.own[e.Forked](run, step, by, reason), now=now)
    records = engine.encode(copied, settled_by=(workflow.group,)) + engine.encode([last])

    def op() -> Op[None]:
        yield from engine.store.reserve([new, OPERATIONS])
        stored, _ = yield from engine.store.append([Entry(new, records, 0), told(engine, event)])
        assert isinstance(stored, tuple)
        yield from engine.store.save_views(workflow.group, [under_way.begun(new, stored[0].position, now)])

    yield Transact(op(), anew=op)
    yield Afterwards(committed(engine, ()))
    return event
