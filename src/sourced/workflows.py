"""`app.workflows`, and the run that `app.start` gives you: what there is to know of runs, and to do about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Generic, TypeAlias, TypeVar, get_args

from sourced.audit import WorkflowCancelled, WorkflowForked
from sourced.clock import as_delta
from sourced.envelope import Message, address
from sourced.errors import InTransaction, Invalid, RunCancelled, RunFailed, StillRunning
from sourced.messages import Payload
from sourced.runtime import foreground
from sourced.runtime.directing import cancelled, forked, registered, signalled
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Await, Program, Transact
from sourced.runtime.runs import info_of, page, workflow_of, workflows_in
from sourced.verbs import Awaiting, Blocking, Part, Side, verb
from sourced.workflow import events as e
from sourced.workflow.definition import Definition
from sourced.workflow.failures import again
from sourced.workflow.info import RunInfo, Status
from sourced.workflow.workflow import Workflow

R = TypeVar("R")

STATUSES: tuple[Status, ...] = get_args(Status)


class RunVerbs(Part, Generic[R]):
    """One run of a workflow, wherever it is carried out."""

    def __init__(self, client: Any, id: str, definition: Definition) -> None:
        super().__init__(client)
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
    def cancel(
        self, reason: str = "", *, by: str = "", at_once: bool = False, dry_run: bool = False
    ) -> Program[WorkflowCancelled]:  # fmt: skip
        """Asks it to end: `asyncio.CancelledError` is raised where it waits, so it can still take back what it did.

        With `at_once` it is over here and now, and its code is not asked. One that was over already stays as it was.
        """
        return (yield from cancelled(self._engine, self.id, reason, by, at_once, dry_run))

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
        self, workflow: type[Workflow] | None = None, *, status: Status | None = None,
        before: RunOrId | None = None, limit: int = 100,
    ) -> Program[list[RunInfo]]:  # fmt: skip
        """The runs that were started last, newest first; of those that are over, the ones that ended last.

        `before` is the last run of the page before this one. A page costs no more for all the runs there ever were.
        """
        if status not in (None, *STATUSES):
            raise Invalid("workflows.list", {"status": f"expected {', '.join(STATUSES)} or None, found {status!r}"})
        engine = self._engine
        wanted = [registered(engine, workflow)] if workflow else [*workflows_in(engine)]
        last = None if before is None else address(before)
        return (yield Transact(page(engine, wanted, status, last, limit), reading=True))

    @verb
    def get(self, run: RunOrId) -> Program[RunInfo]:
        """All there is to know of one run."""
        return (yield from _info(self._engine, address(run)))

    @verb
    def cancel(
        self, run: RunOrId, reason: str = "", *, by: str = "", at_once: bool = False, dry_run: bool = False
    ) -> Program[WorkflowCancelled]:  # fmt: skip
        """Asks a run to end, or ends it `at_once` without asking its code. One that was over stays as it was."""
        return (yield from cancelled(self._engine, address(run), reason, by, at_once, dry_run))

    @verb
    def fork(
        self, run: RunOrId, step: str, *, reason: str = "", by: str = "", dry_run: bool = False
    ) -> Program[WorkflowForked]:  # fmt: skip
        """Begins a new run that knows all that this one knew before a step, and goes on from there: `.fork`.

        `step` is a step's name for its first call, or `name#2` for the second.
        """
        return (yield from forked(self._engine, address(run), step, reason, by, dry_run))


class BlockingWorkflows(Part, WorkflowVerbs, Blocking):
    def run(self, id: str) -> Run[Any]:
        """A run by its id."""
        return Run(self._client, id, workflow_of(self._engine, id).definition)


class AsyncWorkflows(Part, WorkflowVerbs, Awaiting):
    def run(self, id: str) -> AsyncRun[Any]:
        """A run by its id."""
        return AsyncRun(self._client, id, workflow_of(self._engine, id).definition)


# -- programs ---------------------------------------------------------------------------------------------------------


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
            yield Await(listener, min(left, foreground.LOOK_AGAIN), by_others=True)


def _look(engine: Engine, run: str, seq: int) -> Program[tuple[int, Any]]:
    """How far a run has come since, and what it came to, if it did."""
    records = yield from foreground.read(engine, run, seq)
    endings = workflow_of(engine, run).definition.endings
    ending = next((each for each in records if each.type in endings), None)
    return (records[-1].seq if records else seq), None if ending is None else engine.codec.payload(ending)


def _info(engine: Engine, run: str) -> Program[RunInfo]:
    return (yield Transact(info_of(engine, run), reading=True))
