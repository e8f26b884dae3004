"""`sourced ui`: the dashboard of an app, on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from sourced.cli.screen import show
from sourced.cli.targets import Target, listening, looked_at, named
from sourced.errors import DefinitionError

Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes any that is free.")]


def ui(target: Target, port: Port = 8100) -> None:
    """The dashboard in your browser: what happens, why anything waits, and what to do about it.

    It listens to this machine alone; to let others in, mount it in your own web application.
    """
    try:
        from sourced.dashboard import dashboard
        from sourced.web.serving import serve
    except ModuleNotFoundError as missing:
        raise DefinitionError(f"the dashboard needs {missing.name}: pip install 'sourced-py[ui]'") from missing

    with looked_at(target) as app, listening(port) as listener:
        serve(
            dashboard(app, title=target, target=named(target)),
            listener,
            ready=lambda url: show(f"the dashboard is at {url}; Ctrl+C ends it"),
        )
