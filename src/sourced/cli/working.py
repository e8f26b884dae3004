"""`worker`: works on everything that an app handles, in one process or in several that are kept running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from sourced.app import Sourced
from sourced.cli.screen import show
from sourced.cli.targets import App, app_at
from sourced.errors import DefinitionError, Unavailable
from sourced.runtime.workers.arrival import WAIT
from sourced.runtime.workers.signals import until_told
from sourced.runtime.workers.supervisor import Supervisor, until_let_go
from sourced.stores.memory import MemoryStore

LINE = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"

Processes = Annotated[int, typer.Option(min=1, help="How many; more than one are supervised.")]
Rounds = Annotated[int, typer.Option(min=1, help="How many of each group may be in hand at a time, in each process.")]
Grace = Annotated[float, typer.Option(min=0, help="Seconds that processes have to end before they are killed.")]
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for a database that is not there yet.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more than what goes wrong.")]
Metrics = Annotated[
    str,
    typer.Option(metavar="[HOST:]PORT", help="Where Prometheus finds them; this machine alone, if no host is given."),
]
Supervised = Annotated[bool, typer.Option(hidden=True)]


def worker(
    target: App,
    processes: Processes = 1,
    rounds: Rounds = 2,
    grace: Grace = 30.0,
    wait: Wait = WAIT,
    metrics: Metrics = "",
    verbose: Verbose = False,
    supervised: Supervised = False,
) -> None:
    """Work on everything the app handles, until SIGTERM or SIGINT; what is in hand is finished first.

    Ends with 0 when it was told to and everything in hand was finished; with 1 when a process had to be killed, or
    could not begin, also because its database was not there in time; with 2 when there is no such app.
    """
    _log(verbose=verbose)
    with contextlib.ExitStack() as opened:
        app = opened.enter_context(app_at(target))
        if supervised:
            if metrics:
                _measured().count(app)
            return asyncio.run(app._work(rounds, wait, lambda stop: until_let_go(stop, grace)))
        _refuse_what_cannot_work(app, target, processes)
        environment = opened.enter_context(_serving(app, metrics, processes)) if metrics else None
        show(_introduced(app, processes, rounds))
        if processes == 1:
            return app.run(rounds=rounds, wait=wait)
        if not asyncio.run(app._there(wait, until_told)):
            return None
        if not metrics:  # who asks the store, then, are the others
            opened.close()
        command = [sys.executable, "-m", "sourced", "worker", target, "--supervised", f"--rounds={rounds}"]
        options = [f"--grace={grace}", f"--wait={wait}", f"--metrics={metrics}", *(["--verbose"] if verbose else [])]
        supervisor = Supervisor([*command, *options], processes, grace=grace, environment=environment)
        raise typer.Exit(supervisor.run())


@contextlib.contextmanager
def _serving(app: Sourced, metrics: str, processes: int) -> Iterator[Mapping[str, str] | None]:
    """Metrics of all the processes there will be, and the environment in which they count together."""
    host, _, port = metrics.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit():
        raise typer.BadParameter(f"--metrics {metrics}: expected a port, or host:port", param_hint="")
    prometheus = _measured()
    with contextlib.ExitStack() as stack:
        environment = None
        try:
            if processes == 1:
                stack.callback(prometheus.serve(app, int(port), host))
            else:
                environment = stack.enter_context(prometheus.serving_all(app, int(port), host))
        except (OSError, OverflowError) as error:
            raise typer.BadParameter(f"--metrics {metrics}: nobody can listen there: {error}", param_hint="") from error
        show(f"Metrics are at http://{metrics if ':' in metrics else f'{host}:{port}'}/metrics")
        yield environment


def _measured() -> Any:
    try:
        from sourced.integrations import prometheus
    except ModuleNotFoundError as missing:
        raise DefinitionError(f"--metrics needs {missing.name}: pip install 'sourced-py[prometheus]'") from missing
    return prometheus


def _refuse_what_cannot_work(app: Sourced, target: str, processes: int) -> None:
    if not [*app._engine.router]:
        raise typer.BadParameter(f"nothing is registered with {target}, so there is nothing to work on")
    if processes > 1 and not app.store.capabilities.shared:
        raise typer.BadParameter(f"--processes {processes}: {app.store!r} is for one process alone", param_hint="")
    try:
        app.store.transact(app.store.groups(), reading=True)
    except Unavailable as error:
        if not error.passing:  # what passes is waited for; tables that do not fit, or a wrong password, nobody could
            raise


def _introduced(app: Sourced, processes: int, rounds: int) -> str:
    groups = [reactor.group for reactor in app._engine.router]
    crew = f"{processes} process{'es' * (processes > 1)}, {rounds} round{'s' * (rounds > 1)} of each group at a time"
    alone = "What other processes store is not seen here: each has a memory of its own. "
    seen = alone if isinstance(app.store, MemoryStore) else ""
    return f"Working on {app.store!r}: {', '.join(groups)} ({crew}). {seen}Stop with Ctrl-C or SIGTERM."


def _log(*, verbose: bool) -> None:
    """A line for each thing that goes wrong, on standard error; an app that logs its own way is left alone."""
    if not logging.getLogger().handlers:
        logging.basicConfig(format=LINE)
        logging.getLogger("sourced").setLevel(logging.INFO if verbose else logging.WARNING)
