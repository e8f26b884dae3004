"""Looking at streams: `streams` and `show`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.pretty import Pretty
from rich.text import Text

from sourced.actor import Actor
from sourced.app import Sourced
from sourced.cli.messages import plains, readable, show_messages
from sourced.cli.screen import AsJson, builtins, screen, show, show_json, show_table, when
from sourced.cli.targets import Target, looked_at, now_of
from sourced.doctor import Finding, amount, of_straggler
from sourced.envelope import Message
from sourced.store import Range

Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="How many.")]


def streams(target: Target, limit: Limit = 20, json: AsJson = False) -> None:
    """The streams that changed last."""
    with looked_at(target) as app:
        found, now = app.streams(limit), now_of(app)
    if json:
        return show_json(found)
    rows = [(each.stream, each.seq, when(each.updated_at, now)) for each in found]
    return show_table(("stream", "messages", "changed"), rows, nothing="no stream holds anything yet")


def show_stream(
    target: Target,
    stream: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
    at: Annotated[int | None, typer.Option(min=0, help="As of this seq: time travel.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Only so many messages, the last.")] = None,
    json: AsJson = False,
) -> None:
    """A stream's history, what its actors make of it, and what waits in it."""
    with looked_at(target) as app:
        (records,) = app.store.transact(app.store.histories([Range(stream, upto=at)]), reading=True)
        whole = readable(app, records)
        states = {actor.group: _state(app, actor, stream, at) for actor in _actors_of(app, whole)}
        waiting = list(_waiting(app, stream))
    history = whole[-limit:] if limit else whole
    if json:
        show_json({"history": plains(history), "states": builtins(states), "waiting": waiting})
        raise typer.Exit(0 if whole else 1)
    if not whole:
        show(f"nothing is stored in {stream!r}" + (f" up to seq {at}" if at is not None else ""))
        raise typer.Exit(1)
    if len(history) < len(whole):
        show(Text(f"{amount(len(whole) - len(history))} before these", style="dim"))
    show_messages(history, nothing="")
    for group, state in states.items():
        show(Text(f"\n{group}", style="bold").append(f" at seq {whole[-1].seq}", style="dim not bold"))
        screen().print(Padding(Pretty(state), (0, 0, 0, 2), expand=False))
    for each in waiting:
        show(Text(f"\n{each.about}: {each.why}", style="red" if each.weight == "trouble" else "yellow"))
    return None


def _actors_of(app: Sourced, history: Iterable[Message[Any]]) -> Iterator[Actor[Any]]:
    types = {message.type for message in history}
    for reactor in app._engine.router:
        if isinstance(reactor, Actor) and not types.isdisjoint(reactor.evolvers):
            yield reactor


def _state(app: Sourced, actor: Actor[Any], stream: str, at: int | None) -> Any:
    try:
        return app.load(type(actor), stream, upto=at).state
    except Exception as error:  # the handler of an event, or an event that nobody can read
        return error


def _waiting(app: Sourced, stream: str) -> Iterator[Finding]:
    now = now_of(app)
    return (of_straggler(each, now) for info in app.groups.list() for each in info.stragglers if each.stream == stream)
