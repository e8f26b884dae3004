"""Reads what a file store's folder holds and checks every line of it; changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from sourced.codec import Record
from sourced.errors import SourcedError
from sourced.lines import MessageLine, record_of
from sourced.stores.file.lines import Heading, Row, StreamRow, Transaction

T = TypeVar("T")

_messages = msgspec.json.Decoder(MessageLine)
_transactions = msgspec.json.Decoder(Transaction)
_headings = msgspec.json.Decoder(Heading)
_streams = msgspec.json.Decoder(StreamRow)
_rows: msgspec.json.Decoder[Row] = msgspec.json.Decoder(Row)


class CorruptStore(SourcedError):
    """A file of the folder does not hold what was written; nothing was changed."""

    def __init__(self, file: Path, line: int, expected: str, found: str) -> None:
        self.file, self.line, self.expected, self.found = file, line, expected, found
        place = f"{file}, line {line}" if line else f"{file}"
        super().__init__(
            f"{place}: expected {expected}, found {found}; put back what was there, or a copy of the folder"
        )


class Line(NamedTuple):
    """A line of a file, to be named when it is not what it should be."""

    file: Path
    number: int
    text: bytes
    ended: bool = True

    def decode(self, read: Callable[[bytes], T], what: str) -> T:
        try:
            return read(self.text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self.corrupt(what, f"{self.excerpt} ({error})") from error

    def corrupt(self, expected: str, found: str) -> CorruptStore:
        return CorruptStore(self.file, self.number, expected, found)

    @property
    def torn(self) -> bool:
        """Half a line has no end; what a power failure kept from the disk reads as zeros, which JSON never holds."""
        return not self.ended or b"\0" in self.text

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.number}"

    @property
    def excerpt(self) -> str:
        text = self.text.decode(errors="replace")
        return repr(text if len(text) <= 80 else text[:77] + "…")


class Message(NamedTuple):
    line: Line
    record: Record


class State(NamedTuple):
    """The state as of the last checkpoint."""

    heading: Heading
    seqs: dict[str, int]
    rows: list[tuple[Line, Row]]
    size: int


class Journal(NamedTuple):
    """What was committed after the checkpoint."""

    transactions: list[tuple[Line, Transaction]]
    torn: Line | None  # the last line, if a crash left half of it
    size: int


class StreamFile(NamedTuple):
    """A stream's file: the messages that the checkpoint vouches for, and where they end."""

    messages: list[Message]
    end: int
    data: bytes


class Repair(NamedTuple):
    """How a stream's file comes to hold all that was committed."""

    file: Path
    end: int  # it is good up to here
    cut: bool  # there is more
    missing: bytes
    torn: Line | None
    copied: bool  # from the journal, so that not all of it need be safe


def read_heading(file: Path) -> Heading:
    with file.open("rb") as lines:
        return Line(file, 1, lines.readline().rstrip()).decode(_headings.decode, "the heading of a state")


def read_state(file: Path) -> State:
    data = file.read_bytes()
    heading = read_heading(file)
    _, *others = _lines(file, data)
    count = heading.streams + heading.rows
    if len(others) != count:
        raise CorruptStore(file, 0, f"{count} lines after the heading", f"{len(others)}")
    streams = [line.decode(_streams.decode, "a stream") for line in others[: heading.streams]]
    rows = [(line, line.decode(_rows.decode, "a row")) for line in others[heading.streams :]]
    return State(heading, {each.stream: each.seq for each in streams}, rows, len(data))


def read_journal(file: Path, after: int) -> Journal:
    """The transactions after that one; earlier ones are left there when a checkpoint could not be finished."""
    if not file.exists():
        raise CorruptStore(file, 0, "the journal", "no such file")
    data = file.read_bytes()
    lines = list(_lines(file, data))
    torn = lines.pop() if lines and lines[-1].torn else None
    transactions: list[tuple[Line, Transaction]] = []
    expected = 0
    for line in lines:
        transaction = line.decode(_transactions.decode, "a transaction")
        number = transaction.transaction
        if number != (expected or min(number, after + 1)):
            raise line.corrupt(f"transaction {expected or after + 1}", f"{number}")
        expected = number + 1
        if number > after:
            transactions.append((line, transaction))
    return Journal(transactions, torn, len(data))


def read_stream(file: Path, stream: str, seq: int) -> StreamFile:
    data = file.read_bytes() if file.exists() else b""
    messages: list[Message] = []
    end = 0
    for line in _lines(file, data):
        if len(messages) == seq:
            break
        messages.append(_message(line, stream, len(messages) + 1))
        end += len(line.text) + 1
    if len(messages) < seq:
        found = f"{len(messages)}" if file.exists() else "no such file"
        raise CorruptStore(file, 0, f"the {seq} messages of {stream!r}", found)
    return StreamFile(messages, min(end, len(data)), data)


def _message(line: Line, stream: str, seq: int) -> Message:
    record = line.decode(_record, "a message")
    if (record.stream, record.seq) != (stream, seq):
        raise line.corrupt(f"seq {seq} of {stream!r}", f"seq {record.seq} of {record.stream!r}")
    return Message(line, record)


def _record(text: bytes) -> Record:
    return record_of(_messages.decode(text))


def read_messages(line: Line, transaction: Transaction) -> Iterator[Message]:
    for raw in transaction.messages:
        inside = line._replace(text=bytes(raw))
        yield Message(inside, inside.decode(_record, "a message"))


def read_rest(file: Path, found: StreamFile, copies: Sequence[bytes]) -> Repair:
    """Beyond the checkpoint a stream's file is a copy of the journal: what of it is good, and what is missing."""
    rest = found.data[found.end :]
    there = list(_lines(file, rest, len(found.messages) + 1))
    lines = list(itertools.takewhile(lambda line: not line.torn, there))
    torn = there[len(lines)] if len(lines) < len(there) else None
    for line, copy in itertools.zip_longest(lines, copies[: len(lines)]):
        if copy is None:
            raise line.corrupt("the end of the file", line.excerpt)
        if line.text != copy:
            raise line.corrupt(f"what the journal has ({line._replace(text=copy).excerpt})", line.excerpt)
    end = found.end + sum(len(line.text) + 1 for line in lines)
    unended = b"\n" if found.messages and not found.data[: found.end].endswith(b"\n") else b""  # by some editor
    missing = unended + b"".join(copy + b"\n" for copy in copies[len(lines) :])
    return Repair(file, end, len(found.data) > end, missing, torn, bool(copies))


def _lines(file: Path, data: bytes, first: int = 1) -> Iterator[Line]:
    *ended, last = data.split(b"\n")
    yield from (Line(file, number, text) for number, text in enumerate(ended, first))
    if last:
        yield Line(file, first + len(ended), last, ended=False)
