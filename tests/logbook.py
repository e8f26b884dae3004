"""Notes in a log: the least that there can be to append and to read."""

from typing import Any

from sourced import Event, Message, Sourced


class Noted(Event, type="log.noted"):
    text: str = ""


class Marked(Event, type="log.marked"):
    text: str = ""


def noted(stream: str, text: str = "", **options: Any) -> Message[Noted]:
    return Message.new(Noted(text), stream=stream, **options)


def seqs(app: Sourced, stream: str) -> list[int]:
    return [m.seq for m in app.history(stream)]


def told(messages: list[Message[Any]]) -> list[str]:
    return [m.payload.text for m in messages]
