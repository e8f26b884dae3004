"""Following the log, `tail`, and a story, `trace`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from sourced.app import Sourced
from sourced.cli.looking import Limit
from sourced.cli.messages import address, line, named, plain, plains, readable
from sourced.cli.screen import AsJson, screen, show, show_json, show_line_of_json
from sourced.cli.targets import Target, looked_at
from sourced.codec import Record
from sourced.doctor import ago
from sourced.envelope import Message
from sourced.ops import Op
from sourced.store import Range, Straggler

OVERLAP = 1_000  # positions: in another shard a lower one may become visible later
PAGE = 1_000
LOOK = 1.0  # seconds: what a lost wake-up costs

Types = Annotated[list[str] | None, typer.Option("--type", "-t", help="Only messages of this type. May be repeated.")]
Streams = Annotated[list[str] | None, typer.Option("--stream", "-s", help="Only this stream. May be repeated.")]


def tail(
    target: Target,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    limit: Limit = 20,
    types: Types = None,
    streams: Streams = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, a line each, for programs.")] = False,
) -> None:
    """The end of the log, and with -f whatever comes."""
    with looked_at(target) as app:
        end = _End(app, types, streams)
        found = end.following(limit) if follow else end.last(limit)
        if not (found or json):
            show("nothing that is stored fits" if types or streams else "nothing is stored yet")
        for record in found:
            (message,) = readable(app, [record])
            if json:
                show_line_of_json(plain(message))
            else:
                show(line(message))


class _End:
    """The end of the log, as far as it is wanted."""

    def __init__(self, app: Sourced, types: Collection[str] | None, streams: Collection[str] | None) -> None:
        self.app = app
        self.store = app.store
        self.types = types or None
        self.streams = streams or None

    def last(self, limit: int) -> Sequence[Record]:
        found: list[Record] = self.store.transact(self._last(limit), reading=True)
        return found[len(found) - limit :] if len(found) > limit else found

    def _last(self, limit: int) -> Op[list[Record]]:
        if self.streams is None:
            return (yield from self.store.read_all(limit=limit, types=self.types, backwards=True))[::-1]
        pieces = yield from self.store.histories([Range(stream) for stream in self.streams])
        wanted = (record for piece in pieces for record in piece if self._wanted(record))
        return sorted(wanted, key=lambda record: record.position)

    def _wanted(self, record: Record) -> bool:
        return (self.types is None or record.type in self.types) and (
            self.streams is None or record.stream in self.streams
        )

    def following(self, limit: int) -> Iterator[Record]:
        """The last of it, and what is appended from then on: woken up, or looking after a second at most."""
        with self.app._engine.notifier.listen() as listener:
            _, end = self.store.transact(self.store.extent(), reading=True)
            seen = {record.id: record.position for record in self._since(end)}
            page = self.last(limit)
            yield from page
            seen |= {record.id: record.position for record in page}
            while True:
                end = max([end, *seen.values()])
                seen = {id: position for id, position in seen.items() if position > end - OVERLAP}
                listener.wait(LOOK)
                for record in self._since(end):
                    if record.id not in seen:
                        seen[record.id] = record.position
                        yield record

    def _since(self, end: int) -> Iterator[Record]:
        after = max(0, end - OVERLAP)
        while page := self.store.transact(
            self.store.read_all(after=after, limit=PAGE, types=self.types), reading=True
        ):  # fmt: skip
            yield from filter(self._wanted, page)
            after = page[-1].position


def trace(
    target: Target,
    message: Annotated[str, typer.Argument(help="An id, or stream#seq as `tail` shows it.", show_default=False)],
    json: AsJson = False,
) -> None:
    """The story a message belongs to, as a tree: what caused what, and what waits."""
    with looked_at(target) as app:
        id = _id_of(app, message)
        story = readable(app, app.store.transact(app.store.trace(id), reading=True))
        waiting = {each.message_id: each for info in app.groups.list() for each in info.stragglers}
    if json:
        show_json(plains(story))
        raise typer.Exit(0 if story else 1)
    if not story:
        show(f"no message {message} is stored")
        raise typer.Exit(1)
    for tree in _trees(story, id, waiting):
        screen().print(tree)
    return None


def _id_of(app: Sourced, message: str) -> str:
    stream, _, seq = message.rpartition("#")
    if not (stream and seq.isdecimal()) or int(seq) == 0:
        return message
    (records,) = app.store.transact(app.store.histories([Range(stream, int(seq) - 1, int(seq))]), reading=True)
    return records[0].id if records else message


def _trees(story: Sequence[Message[Any]], asked: str, waiting: dict[str, Straggler]) -> list[Tree]:
    """Whatever has no cause in the story stands by itself."""
    trees: dict[str, Tree] = {}
    roots: list[Tree] = []
    for each in story:
        label = _label(each, story[0], waiting.get(each.id))
        if each.id == asked:
            label.stylize("bold")
        parent = trees.get(each.causation_id)
        trees[each.id] = parent.add(label) if parent else Tree(label, guide_style="dim")
        if parent is None:
            roots.append(trees[each.id])
    return roots


def _label(each: Message[Any], first: Message[Any], straggler: Straggler | None) -> Text:
    if each is first:
        label = line(each)
    else:
        label = Text(f"+{ago(first.created_at, each.created_at)}", style="dim").append("  ")
        label.append(address(each)).append("  ").append(named(each))
    if straggler:
        error = f": {straggler.error}" if straggler.error else ""
        label.append(f"  {'parked' if straggler.parked else 'waits'} for {straggler.group}{error}", style="red")
    return label
