"""`worker`: works on everything that an app handles, in one process or in several that are kept running."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Annotated

import typer

from sourced.app import Sourced
from sourced.cli.screen import show
from sourced.cli.targets import App, app_at
from sourced.runtime.supervisor import Supervisor, until_let_go

LINE = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"

Processes = Annotated[int, typer.Option(min=1, help="How many; more than one are supervised.")]
Rounds = Annotated[int, typer.Option(min=1, help="How many of each group may be in hand at a time, in each process.")]
Grace = Annotated[float, typer.Option(min=0, help="Seconds that processes have to end before they are killed.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more than what goes wrong.")]
Supervised = Annotated[bool, typer.Option(hidden=True)]


def worker(
    target: App,
    processes: Processes = 1,
    rounds: Rounds = 2,
    grace: Grace = 30.0,
    verbose: Verbose = False,
    supervised: Supervised = False,
) -> None:
    """Work on everything the app handles, until SIGTERM or SIGINT; what is in hand is finished first.

    Ends with 0 when it was told to and everything in hand was finished; with 1 when a process had to be killed, or
    could not begin; with 2 when there is no such app.
    """
    _log(verbose=verbose)
    with app_at(target) as app:
        if supervised:
            return asyncio.run(app._work(rounds, lambda stop: until_let_go(stop, grace)))
        _refuse_what_cannot_work(app, target, processes)
        show(_introduced(app, processes, rounds))
        if processes == 1:
            return app.run(rounds=rounds)
    command = [sys.executable, "-m", "sourced", "worker", target, "--supervised", f"--rounds={rounds}"]
    options = [f"--grace={grace}", *(["--verbose"] if verbose else [])]
    raise typer.Exit(Supervisor([*command, *options], processes, grace=grace).run())


def _refuse_what_cannot_work(app: Sourced, target: str, processes: int) -> None:
    if not [*app._engine.router]:
        raise typer.BadParameter(f"nothing is registered with {target}, so there is nothing to work on")
    if processes > 1 and not app.store.capabilities.shared:
        raise typer.BadParameter(f"--processes {processes}: {app.store!r} is for one process alone", param_hint="")


def _introduced(app: Sourced, processes: int, rounds: int) -> str:
    groups = [reactor.group for reactor in app._engine.router]
    crew = f"{processes} process{'es' * (processes > 1)}, {rounds} round{'s' * (rounds > 1)} of each group at a time"
    return f"Working on {app.store!r}: {', '.join(groups)} ({crew}). Stop with Ctrl-C or SIGTERM."


def _log(*, verbose: bool) -> None:
    """A line for each thing that goes wrong, on standard error; an app that logs its own way is left alone."""
    if not logging.getLogger().handlers:
        logging.basicConfig(format=LINE)
        logging.getLogger("sourced").setLevel(logging.INFO if verbose else logging.WARNING)
