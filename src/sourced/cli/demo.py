"""`sourced demo`: the TODO application, with its workers inside or beside it."""

from __future__ import annotations

import os
import secrets
import tempfile
from typing import Annotated

import typer

from sourced.cli.screen import show
from sourced.cli.targets import listening
from sourced.errors import DefinitionError

Database = Annotated[str, typer.Option(help="The URL of its store.", envvar="TODO_DATABASE")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes any that is free.")]
Host = Annotated[str, typer.Option(help="Whom it listens to; 0.0.0.0 for everybody in your network.")]
Workers = Annotated[
    bool, typer.Option("--workers/--no-workers", help="Whether it does the work itself, or leaves it to others.")
]


Visit = Annotated[
    bool, typer.Option("--visit", help="Do not stay: try it out, tell what happened, and end. Nothing is kept.")
]


def demo(
    database: Database = "sqlite:///todo.db",
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Workers = True,
    visit: Visit = False,
) -> None:
    """The TODO application in your browser: two tabs in sync, time travel, and the story behind every message.

    SLACK_WEBHOOK_URL and OPENAI_BASE_URL bring helpers in; SOURCED_SECRET keeps people logged in over a restart;
    TODO_OPERATORS names those who alone may act on the page “System”.
    """
    try:
        from sourced.demo.app import todo
        from sourced.demo.visit import visit as story
        from sourced.demo.web import site
        from sourced.web.serving import serve, visited
    except ModuleNotFoundError as missing:
        raise DefinitionError(f"the demo needs {missing.name}: pip install 'sourced-py[ui]'") from missing

    if visit:
        with tempfile.TemporaryDirectory() as folder, todo(f"sqlite:///{folder}/todo.db", {}) as app:
            visited(site(app, secret=secrets.token_hex()), lambda home: story(home, show))
        return
    with listening(port, host) as listener, todo(database) as app:
        app.migrate()
        secret = os.environ.get("SOURCED_SECRET") or secrets.token_hex()
        expander = "OPENAI_BASE_URL" in os.environ
        operators = os.environ.get("TODO_OPERATORS", "").split()

        def ready(url: str) -> None:
            show(f"the TODO application is at {url} (messages in {database}); Ctrl+C ends it")

        serve(site(app, secret=secret, workers=workers, expander=expander, operators=operators), listener, ready=ready)
