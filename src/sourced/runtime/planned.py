"""Messages that will be stored, and the ends of the streams they will be added to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from sourced.codec import Record
from sourced.envelope import Message


class Planned:
    """A message that will be stored, who asked for it, and which of the reactors have handled it."""

    __slots__ = ("by", "kept", "message", "record", "settled", "wanted")

    def __init__(self, message: Message[Any], record: Record, by: str, *, wanted: bool, kept: bool) -> None:
        self.message = message
        self.record = record
        self.by = by
        self.wanted = wanted  # one of the reactors handles it
        self.kept = kept
        self.settled: dict[str, None] = {}

    def place(self, seq: int, position: int = 0) -> None:
        self.message = self.message.placed(seq, position)
        self.record = replace(self.record, seq=seq)


class Tail:
    """What is to be added to a stream, and the part of it that was read."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.head: int | None = None  # where the stream ends in the log, once somebody has looked
        self.after = 0  # the log was read from here on
        self.read: Sequence[Record] = ()
        self.planned: list[Planned] = []
        self.decisive = False  # what follows was made of what was read: nothing that matters may come between
        self.heeds: frozenset[str] | None = frozenset()
        self.shift = 0  # how much later all of it was stored than planned

    @property
    def end(self) -> int:
        return (self.head or 0) + len(self.planned)

    def add(self, planned: Planned) -> None:
        self.planned.append(planned)
        if self.head is not None:
            planned.place(self.end)

    def open(self, after: int, records: Sequence[Record]) -> None:
        self.after, self.read = after, records
        self.head = records[-1].seq if records else after
        for seq, planned in enumerate(self.planned, self.head + 1):
            planned.place(seq)

    def relied_on(self, heeds: frozenset[str] | None) -> None:
        self.decisive = True
        self.heeds = None if heeds is None or self.heeds is None else self.heeds | heeds
