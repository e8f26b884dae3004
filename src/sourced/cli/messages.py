"""Messages as a person reads them: in a table, on a line, as a branch of a tree; and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from sourced.app import Sourced
from sourced.cli.screen import builtins, screen, short, show_table
from sourced.codec import Codec, Record
from sourced.envelope import Message
from sourced.errors import Undecodable
from sourced.messages import Command, Event, Unknown

LONGEST = 2_000  # characters of a payload in a table; `--json` has it whole


def readable(app: Sourced, records: Iterable[Record]) -> list[Message[Any]]:
    """Whatever is stored, also what no class can read any more."""
    return [_read(app._engine.codec, record) for record in records]


def _read(codec: Codec, record: Record) -> Message[Any]:
    try:
        return codec.decode(record)
    except Undecodable:
        return codec.undecoded(record)


def show_messages(messages: Sequence[Message[Any]], *, nothing: str) -> None:
    rows = [(each.seq, named(each), each.created_at, _payload(each, LONGEST)) for each in messages]
    show_table(("seq", "message", "made", "payload"), rows, nothing=nothing)


def line(message: Message[Any]) -> Text:
    """When, where, what; cut off where a terminal ends."""
    text = Text(f"{message.created_at.astimezone():%H:%M:%S.%f}"[:-3], style="dim")
    text.append("  ").append(address(message)).append("  ").append(named(message)).append("  ")
    return text.append(_payload(message, screen().width - text.cell_len))


def address(message: Message[Any]) -> Text:
    """`cart-1#7`, which `trace` understands."""
    return Text(message.stream).append(f"#{message.seq}", style="dim")


def named(message: Message[Any]) -> Text:
    kinds = {Command: "cyan", Event: "green"}
    return Text(message.type, style=next((kinds[kind] for kind in kinds if isinstance(message.payload, kind)), ""))


def _payload(message: Message[Any], width: int | None = None) -> str:
    return short(_said(message), width)


def _said(message: Message[Any]) -> Any:
    """Where there is no class for it, what it holds."""
    return message.payload.data if isinstance(message.payload, Unknown) else message.payload


def plain(message: Message[Any]) -> dict[str, Any]:
    """For programs."""
    return {
        "position": message.position, "stream": message.stream, "seq": message.seq, "type": message.type,
        "version": message.version, "payload": builtins(_said(message)), "metadata": message.metadata,
        "created_at": message.created_at, "id": message.id, "causation_id": message.causation_id,
        "correlation_id": message.correlation_id,
    }  # fmt: skip


def plains(messages: Iterable[Message[Any]]) -> list[dict[str, Any]]:
    return [plain(each) for each in messages]
