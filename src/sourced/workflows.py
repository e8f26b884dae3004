"""`app.workflows`, and the run that `app.start` gives you: what there is to know of runs, and to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar

from msgspec.structs import replace

from sourced.clock import as_delta
from sourced.envelope import Message, address
from sourced.errors import InTransaction, NotKnown, RunCancelled, RunFailed, StillRunning, UnknownMessage
from sourced.ids import new_id
from sourced.messages import Payload
from sourced.ops import Op
from sourced.runtime import foreground
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Await, Commit, Program, Transact
from sourced.store import Entry, Range
from sourced.verbs import Awaiting, Blocking, Side, verb
from sourced.workflow import events as e
from sourced.workflow.definition import Definition
from sourced.workflow.failures import again
from sourced.workflow.forking import forked
from sourced.workflow.info import RunInfo, Status
from sourced.workflow.workflow import Named, Workflow

R = TypeVar("R")

PAGE = 200


class RunVerbs(Side, Generic[R]):
    """One run of a workflow, wherever it is carried out."""

    def __init__(self, client: Any, id: str, definition: Definition) -> None:
        self._engine: Engine = client._engine
        self._client = client
        self._definition = definition
        self.id = id

    @property
    def stream(self) -> str:
        """Where its history is, and where signals for it go."""
        return self.id

    @verb
    def result(self, *, timeout: timedelta | float = 30.0) -> Program[R]:
        """What `run` has returned, once it has. Raises `RunFailed`, `RunCancelled`, or `StillRunning` after a time."""
        if self._client._connection is not None:
            raise InTransaction("nobody can work on a run before this transaction ends; ask for its result then")
        ending = yield from _ending(self._engine, self.id, as_delta(timeout).total_seconds())
        if isinstance(ending, e.Failed):
            raise again(RunFailed, f"{self.id!r} failed", ending.error, self._definition.exceptions)
        if isinstance(ending, e.Cancelled):
            raise RunCancelled(self.id, ending.reason)
        return self._definition.shape.unpack_result(ending.result)

    @verb
    def status(self) -> Program[Status]:
        """running, completed, failed or cancelled."""
        return (yield from _info(self._engine, self.id)).status

    @verb
    def info(self) -> Program[RunInfo]:
        """All there is to know of it: its steps, what it waits for, what became of it."""
        return (yield from _info(self._engine, self.id))

    @verb
    def history(self) -> Program[list[Message[Any]]]:
        """What is written down of it, in order."""
        return self._engine.codec.decode_all((yield from foreground.read(self._engine, self.id)))

    @verb
    def signal(self, message: Payload | Message[Any]) -> Program[Message[Any]]:
        """Sends it a message that it waits for, now or later."""
        return (yield from signalled(self._engine, self.id, self._client._message(message, self.id, None)))

    @verb
    def cancel(self, reason: str = "", *, by: str = "", at_once: bool = False) -> Program[bool]:
        """Asks it to end: `asyncio.CancelledError` is raised where it waits, so it can still take back what it did.

        With `at_once` it is over here and now, and its code is not asked. False when it was over already.
        """
        return (yield from _cancel(self._engine, self.id, e.CancelRequested(reason, by), at_once))

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)

    def __repr__(self) -> str:
        return f"<run {self.id!r} of {self._definition.where}>"


class Run(RunVerbs[R], Blocking):
    """What `app.start` gives you."""


class AsyncRun(RunVerbs[R], Awaiting):
    """What `await app.aio.start` gives you."""


RunOrId: TypeAlias = "str | RunVerbs[Any]"


class WorkflowVerbs(Side):
    """`app.workflows`: the runs there are, and what a person can do about them."""

    _client: Any

    @verb
    def list(
        self, workflow: type[Workflow] | None = None, *, status: Status | None = None, limit: int = 100
    ) -> Program[list[RunInfo]]:
        """The runs that were started last, newest first."""
        found: list[RunInfo] = []
        before = 0
        types = _started_types(self._engine, workflow)
        while len(found) < limit and types:
            read = self._engine.store.read_all(after=before, limit=PAGE, types=types, backwards=True)
            page = yield Transact(read, reading=True)
            infos = yield Transact(_infos(self._engine, [record.stream for record in page]), reading=True)
            found += [info for info in infos if status in (None, info.status)]
            if len(page) < PAGE:
                break
            before = page[-1].position
        return found[:limit]

    @verb
    def get(self, run: RunOrId) -> Program[RunInfo]:
        """All there is to know of one run."""
        return (yield from _info(self._engine, address(run)))

    @verb
    def cancel(
        self, run: RunOrId, reason: str = "", *, by: str = "", at_once: bool = False
    ) -> Program[bool]:  # fmt: skip
        """Asks a run to end, or ends it `at_once` without asking its code. False when it was over already."""
        return (yield from _cancel(self._engine, address(run), e.CancelRequested(reason, by), at_once))

    @verb
    def fork(self, run: RunOrId, step: str, *, reason: str = "", by: str = "") -> Program[str]:
        """Begins a new run that knows all that this one knew before a step, and goes on from there; its id.

        `step` is a step's name for its first call, or `name#2` for the second.
        """
        engine, id = self._engine, address(run)
        reactor = workflow_of(engine, id)
        history = engine.codec.decode_all((yield from foreground.read(engine, id)))
        if RunInfo.of(history) is None:
            raise NotKnown(f"there is no run {id!r}")
        new = f"{reactor.definition.prefix}{new_id()}"
        (started, at), *before = forked(reactor.definition, history, step)
        first = Message.new(started, stream=new, metadata=history[0].metadata, now=at)
        copied = [first, *(first.follow(payload, now=at) for payload, at in before)]
        last = first.follow(reactor.definition.own[e.Forked](id, step, by, reason), now=engine.clock.now())
        records = engine.encode(copied, settled_by=(reactor.group,)) + engine.encode([last])
        yield Commit([Entry(new, records, 0)])
        yield Afterwards([*committed(engine, ())])
        return new


class _Namespace(Side):
    def __init__(self, client: Any) -> None:
        self._engine = client._engine
        self._client = client

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class BlockingWorkflows(_Namespace, WorkflowVerbs, Blocking):
    def run(self, id: str) -> Run[Any]:
        """A run by its id."""
        return Run(self._client, id, workflow_of(self._engine, id).definition)


class AsyncWorkflows(_Namespace, WorkflowVerbs, Awaiting):
    def run(self, id: str) -> AsyncRun[Any]:
        """A run by its id."""
        return AsyncRun(self._client, id, workflow_of(self._engine, id).definition)


# -- programs ---------------------------------------------------------------------------------------------------------


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
        yield Afterwards([*committed(engine, ())])
    return run, definition


def registered(engine: Engine, workflow: Any) -> Workflow:
    for reactor in engine.router:
        if type(reactor) is workflow and isinstance(reactor, Workflow):
            return reactor
    name = getattr(workflow, "__qualname__", repr(workflow))
    if not (isinstance(workflow, type) and issubclass(workflow, Workflow)):
        raise NotKnown(f"expected the class of a registered workflow, found {name}")
    raise NotKnown(f"{name} is not registered here; call app.register({name}) first")


def workflow_of(engine: Engine, run: str) -> Workflow:
    """Whose run it is, by its name."""
    workflows = [
        each for each in engine.router if isinstance(each, Workflow) and run.startswith(each.definition.prefix)
    ]
    if not workflows:
        known = ", ".join(f"{each.definition.prefix}…" for each in engine.router if isinstance(each, Workflow))
        raise NotKnown(f"{run!r} is no run of a workflow that is registered here; those are: {known or 'none'}")
    return max(workflows, key=lambda each: len(each.definition.prefix))


def _started_types(engine: Engine, workflow: Any) -> set[str]:
    wanted = [registered(engine, workflow)] if workflow else [w for w in engine.router if isinstance(w, Workflow)]
    return {type(each).Started.__sourced__.name for each in wanted}


def _ending(engine: Engine, run: str, seconds: float) -> Program[Any]:
    seq, ending = yield from _look(engine, run, 0)
    if ending is not None:
        return ending
    deadline = engine.clock.elapsed() + seconds
    with engine.notifier.listen() as listener:
        while True:
            seq, ending = yield from _look(engine, run, seq)
            if ending is not None:
                return ending
            left = deadline - engine.clock.elapsed()
            if left <= 0:
                info = yield from _info(engine, run)
                raise StillRunning(run, info.parked or "; ".join(info.waiting_for), seconds)
            yield Await(listener, min(left, foreground.LOOK_AGAIN))


def _look(engine: Engine, run: str, seq: int) -> Program[tuple[int, Any]]:
    """How far a run has come since, and what it came to, if it did."""
    records = yield from foreground.read(engine, run, seq)
    endings = workflow_of(engine, run).definition.endings
    ending = next((each for each in records if each.type in endings), None)
    return (records[-1].seq if records else seq), None if ending is None else engine.codec.payload(ending)


def _info(engine: Engine, run: str) -> Program[RunInfo]:
    infos: Sequence[RunInfo] = yield Transact(_infos(engine, [run]), reading=True)
    if not infos:
        raise NotKnown(f"there is no run {run!r}")
    return infos[0]


def _infos(engine: Engine, runs: Sequence[str]) -> Op[list[RunInfo]]:
    if not runs:
        return []
    histories = yield from engine.store.histories([Range(run) for run in runs])
    infos = [info for records in histories if (info := RunInfo.of(engine.codec.decode_all(records)))]
    parked = {row.stream: row.reason or row.error for row in (yield from engine.store.stragglers()) if row.parked}
    return [
        replace(info, parked=parked[info.id]) if info.id in parked and info.status == "running" else info
        for info in infos
    ]


def signalled(engine: Engine, run: str, source: Message[Any]) -> Program[Message[Any]]:
    definition = workflow_of(engine, run).definition
    if type(source.payload) not in definition.signals:
        raise UnknownMessage(source.type, within=f"{definition.where}, which waits for {_named(definition)}")
    yield from _info(engine, run)  # which there has to be
    (kept,) = yield from foreground.append(engine, [source], run, None)
    return kept


def _named(definition: Definition) -> str:
    return ", ".join(sorted(each.__sourced__.name for each in definition.signals)) or "nothing"


def _cancel(engine: Engine, run: str, request: e.CancelRequested, at_once: bool) -> Program[bool]:
    definition = workflow_of(engine, run).definition

    def op() -> Op[bool]:
        yield from engine.store.reserve([run])
        (records,) = yield from engine.store.histories([Range(run)])
        info = RunInfo.of(engine.codec.decode_all(records))
        if info is None:
            raise NotKnown(f"there is no run {run!r}")
        if info.status != "running":
            return False
        first = Message.new(request, stream=run, now=engine.clock.now())
        over = [first.follow(definition.own[e.Cancelled](request.reason), now=first.created_at)] if at_once else []
        yield from engine.store.append([Entry(run, engine.encode([first, *over]))])
        parked = [row for row in (yield from engine.store.stragglers()) if row.stream == run and row.parked]
        if parked:  # so that it hears of it
            yield from engine.store.unpark(parked)
        return True

    done: bool = yield Transact(op())
    yield Afterwards([*committed(engine, ())])
    return done
