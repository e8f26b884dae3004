"""An archive line by line: each in its turn, none missing, none changed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from typing import NoReturn

import msgspec

from sourced.archive.lines import (
    FORMAT,
    Contents,
    Ending,
    GroupLine,
    Heading,
    Line,
    RowLine,
    ScheduledLine,
    StragglerLine,
)
from sourced.codec import Record
from sourced.errors import Invalid
from sourced.lines import record_of

_decode = msgspec.json.Decoder(Line).decode
_decode_heading = msgspec.json.Decoder(dict[str, dict[str, object]]).decode

BROKEN_OFF = "its last line; it was not written to its end, export it again"


class Rest:
    """What follows messages and rows."""

    def __init__(self) -> None:
        self.groups: list[GroupLine] = []
        self.stragglers: list[StragglerLine] = []
        self.scheduled: list[ScheduledLine] = []
        self.contents = Contents()


class Archive:
    """What is in it, to be asked for in the order in which it comes: `messages()`, `rows()`, `rest()`."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._number = 0
        self._text = b""
        self._crc = 0  # of the lines before the one in hand
        self._messages = self._rows = 0
        self._next_text()
        self.heading: Heading = self._heading()

    def messages(self) -> Iterator[Record]:
        while message := self._line.message:
            yield record_of(message)
            self._messages += 1
            self._step()

    def rows(self) -> Iterator[RowLine]:
        while row := self._line.row:
            yield row
            self._rows += 1
            self._step()

    def rest(self) -> Rest:
        """All else, once it is sure that it is all there."""
        rest = Rest()
        while not (end := self._line.end):
            line = self._line
            if line.group:
                rest.groups.append(line.group)
            elif line.straggler:
                rest.stragglers.append(line.straggler)
            elif line.scheduled:
                rest.scheduled.append(line.scheduled)
            else:
                self.wrong("what waits, or the end of the archive")
            self._step()
        rest.contents = Contents(
            self._messages, self._rows, len(rest.groups), len(rest.stragglers), len(rest.scheduled)
        )  # fmt: skip
        self._check(end, rest.contents)
        return rest

    def _check(self, end: Ending, found: Contents) -> None:
        if end.contents != found:
            self.wrong(f"{found}")
        if end.crc32 != f"{self._crc:08x}":
            self.wrong(f"checksum {self._crc:08x}, of the lines before; they were changed, export it again")
        if self._next_text():
            self.wrong("nothing after the end of the archive")

    # -- line by line

    def _heading(self) -> Heading:
        """Its format is looked at first: in another one, nothing else need be as it is here."""
        try:
            heading = _decode_heading(self._text)["archive"]
        except (msgspec.MsgspecError, KeyError):
            self.wrong("the heading of an archive")
        if heading.get("format") != FORMAT:
            self.wrong(f"format {FORMAT}; update Sourced")
        line = self._decoded()
        assert line.archive is not None
        self._step()
        return line.archive

    def _step(self) -> None:
        self._crc = zlib.crc32(self._text, self._crc)
        if not self._next_text():
            self.wrong(BROKEN_OFF)
        self._line = self._decoded()

    def _next_text(self) -> bytes:
        self._number, self._text = self._number + 1, next(self._lines, b"")
        return self._text

    def _decoded(self) -> Line:
        try:
            return _decode(self._text)
        except msgspec.MsgspecError as error:
            self.wrong(f"a line of an archive ({error})" if self._text.endswith(b"\n") else BROKEN_OFF)

    def wrong(self, expected: str) -> NoReturn:
        raise _wrong(self._number, self._text, expected)


def check_whole(file: BufferedIOBase) -> None:
    """Reads a file from here to its end, and goes back: torn or changed, it is refused before anything is written."""
    start, crc, number, last = file.tell(), 0, 0, b""
    Archive(file)  # which looks at the heading
    file.seek(start)
    for line in file:
        crc, last, number = zlib.crc32(last, crc), line, number + 1
    file.seek(start)
    try:
        end = _decode(last).end
    except msgspec.MsgspecError:
        end = None
    if end is None:
        raise _wrong(number, last, BROKEN_OFF)
    if end.crc32 != f"{crc:08x}":
        raise _wrong(number, last, f"checksum {crc:08x}, of the lines before; they were changed, export it again")


def _wrong(number: int, text: bytes, expected: str) -> Invalid:
    line = text.decode(errors="replace").rstrip("\n")
    found = repr(line if len(line) <= 80 else f"{line[:79]}…") if line else "the end"
    return Invalid("archive", {f"line {number}": f"expected {expected}, found {found}"})
