"""Sending messages: `dispatch` and `execute`."""

from __future__ import annotations

from collections.abc import Sequence
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
Fields = Annotated[
    list[str] | None,
    typer.Argument(help="Its fields: name=text, name:=JSON, or all as one JSON object.", show_default=False),
]


def dispatch(target: App, type: Type, stream: To, fields: Fields = None) -> None:
    """Store a message for the workers to handle."""
    with app_at(target) as app:
        message = app.dispatch(_message(app, type, fields, Payload), to=stream)
    show(f"stored as {stream}#{message.seq}, id {message.id}")


def execute(target: App, type: Type, stream: To, fields: Fields = None) -> None:
    """Decide a command now, and show the events that followed."""
    with app_at(target) as app:
        decision = app.execute(_message(app, type, fields, Command), to=stream)
    show_messages(decision.events, nothing="it was decided, and no event followed")


def _message(app: Sourced, name: str, fields: Sequence[str] | None, family: type[Any]) -> Any:
    return parse(app._engine.codec.find(name, within=family), given_fields(fields))


def given_fields(words: Sequence[str] | None) -> dict[str, Any]:
    """What is text is read as its field wants it; what is not, like a list, is given as JSON."""
    if words and words[0].startswith("{"):
        return _object(*words)
    return dict(map(_field, words or ()))


def _object(fields: str, *more: str) -> dict[str, Any]:
    try:
        if more:
            raise msgspec.ValidationError(f"{more[0]!r} follows it")
        return msgspec.json.decode(fields, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise typer.BadParameter(f"expected a JSON object such as '{{\"n\": 1}}', found {fields!r}: {error}") from error


def _field(word: str) -> tuple[str, Any]:
    name, sign, value = word.partition("=")
    if not (sign and name.rstrip(":")):
        raise typer.BadParameter(f"expected a JSON object, or name=text, or name:=JSON, found {word!r}")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], msgspec.json.decode(value)
    except msgspec.MsgspecError as error:
        raise typer.BadParameter(f"{word!r}: what follows := is not JSON: {error}") from error
