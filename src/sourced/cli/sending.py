"""Sending messages: `dispatch` and `execute`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from sourced.app import Sourced
from sourced.cli.messages import show_messages
from sourced.cli.screen import show
from sourced.cli.targets import App, app_at
from sourced.messages import Command, Payload, parse

Type = Annotated[str, typer.Argument(help="The name it is stored under.", show_default=False)]
To = Annotated[str, typer.Argument(help="The stream it is for.", show_default=False)]
Fields = Annotated[str, typer.Argument(help="Its fields, as a JSON object.")]


def dispatch(target: App, type: Type, stream: To, fields: Fields = "{}") -> None:
    """Store a message for the workers to handle."""
    with app_at(target) as app:
        message = app.dispatch(_message(app, type, fields, Payload), to=stream)
    show(f"stored as {stream}#{message.seq}, id {message.id}")


def execute(target: App, type: Type, stream: To, fields: Fields = "{}") -> None:
    """Decide a command now, and show the events that followed."""
    with app_at(target) as app:
        decision = app.execute(_message(app, type, fields, Command), to=stream)
    show_messages(decision.events, nothing="it was decided, and no event followed")


def _message(app: Sourced, name: str, fields: str, family: type[Any]) -> Any:
    return parse(app._engine.codec.find(name, within=family), given_fields(fields))


def given_fields(fields: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(fields, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise typer.BadParameter(f"expected a JSON object such as '{{\"n\": 1}}', found {fields!r}: {error}") from error
