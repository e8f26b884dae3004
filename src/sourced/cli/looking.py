"""Looking at the log: `streams`, `show`, `tail`, `trace`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text
from rich.tree import Tree

from sourced.actor import Actor
from sourced.app import Sourced
from sourced.cli.screen import AsJson, screen, short, show, show_json, show_table
from sourced.cli.targets import Target, looked_at
from sourced.envelope import Message

Limit = Annotated[int, typer.Option("--limit", "-n", min=0, help="How many.")]
OVERLAP = 1_000  # positions: in another shard a lower one may become visible later


def streams(target: Target, limit: Limit = 20, json: AsJson = False) -> None:
    """The streams that changed last."""
    with looked_at(target) as app:
        found = app.streams(limit)
    if json:
        return show_json(found)
    rows = [(each.stream, each.seq, each.updated_at) for each in found]
    return show_table(("stream", "messages", "changed"), rows, nothing="no stream holds anything yet")


def show_stream(
    target: Target,
    stream: Annotated[str, typer.Argument(help="Whose history.", show_default=False)],
    at: Annotated[int | None, typer.Option(min=0, help="As of this seq: time travel.")] = None,
    json: AsJson = False,
) -> None:
    """A stream's history, and what its actors make of it."""
    with looked_at(target) as app:
        history = app.history(stream, upto=at)
        states = {actor.group: app.load(type(actor), stream, upto=at).state for actor in _actors_of(app, history)}
    if json:
        return show_json({"history": [_plain(each) for each in history], "states": _builtins(states)})
    show_messages(history, nothing=f"nothing is stored in {stream!r}")
    for group, state in states.items():
        show(f"\n{group} at seq {history[-1].seq}: {state!r}")
    return None


def _actors_of(app: Sourced, history: Iterable[Message[Any]]) -> Iterator[Actor[Any]]:
    types = {message.type for message in history}
    for reactor in app._engine.router:
        if isinstance(reactor, Actor) and not types.isdisjoint(reactor.evolvers):
            yield reactor


def tail(
    target: Target,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    limit: Limit = 20,
    json: AsJson = False,
) -> None:
    """The end of the log, and with -f whatever comes."""
    with looked_at(target) as app, app._engine.notifier.listen() as listener:
        page = app.read_all(limit=limit, backwards=True)[::-1]
        seen = {message.id for message in page}
        last = page[-1].position if page else 0
        while True:
            for message in page:
                show(msgspec.json.encode(_plain(message)).decode() if json else _line(message))
            if not follow:
                return
            listener.wait(1.0)
            page = [each for each in app.read_all(after=max(0, last - OVERLAP)) if each.id not in seen]
            page = [each for each in page if each.position > last - OVERLAP]
            seen |= {message.id for message in page}
            last = max([last, *(message.position for message in page)])


def trace(
    target: Target,
    message_id: Annotated[str, typer.Argument(help="Any message of the story.", show_default=False)],
    json: AsJson = False,
) -> None:
    """The story a message belongs to, as a tree: what caused what."""
    with looked_at(target) as app:
        story = app.trace(message_id)
    if json:
        return show_json([_plain(each) for each in story])
    if not story:
        show(f"no message {message_id} is stored")
        raise typer.Exit(1)
    ids = {each.id for each in story}
    trees: dict[str, Tree] = {}
    for each in story:
        label = Text(_line(each), style="bold" if each.id == message_id else "")
        parent = trees.get(each.causation_id)
        trees[each.id] = parent.add(label) if parent else Tree(label)
    for each in story:
        if each.causation_id == each.id or each.causation_id not in ids:
            screen().print(trees[each.id])
    return None


def show_messages(messages: Iterable[Message[Any]], *, nothing: str) -> None:
    rows = [(each.seq, each.type, each.created_at, short(each.payload)) for each in messages]
    show_table(("seq", "message", "made", "payload"), rows, nothing=nothing)


def _line(each: Message[Any]) -> str:
    return f"{each.created_at:%H:%M:%S.%f}  {each.stream}#{each.seq}  {each.type}  {short(each.payload)}"


def _plain(each: Message[Any]) -> dict[str, Any]:
    return {
        "position": each.position, "stream": each.stream, "seq": each.seq, "type": each.type,
        "payload": _builtins(each.payload), "metadata": each.metadata, "created_at": each.created_at, "id": each.id,
        "causation_id": each.causation_id, "correlation_id": each.correlation_id,
    }  # fmt: skip


def _builtins(thing: Any) -> Any:
    return msgspec.to_builtins(thing, enc_hook=repr)
