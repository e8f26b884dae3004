"""Brings what a folder holds back into the tables, every message and row checked against those before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from sourced.errors import Duplicate
from sourced.store import Entry
from sourced.stores.file.lines import Row
from sourced.stores.file.names import file_name
from sourced.stores.file.reading import (
    CorruptStore,
    Journal,
    Line,
    Message,
    Repair,
    State,
    read_journal,
    read_messages,
    read_rest,
    read_state,
    read_stream,
)
from sourced.stores.file.tables import DurableTables

_position = attrgetter("record.position")


class Loaded(NamedTuple):
    """What was found, and what is to be mended in each stream's file."""

    state: State
    journal: Journal
    repairs: list[Repair]


def load(folder: Path, tables: DurableTables) -> Loaded:
    state = read_state(folder / "state.jsonl")
    journal = read_journal(folder / "journal.jsonl", state.heading.transaction)
    committed = [list(read_messages(*each)) for each in journal.transactions]
    messages, repairs = _read_log(folder / "log", state.seqs, _copies(committed))
    _append(tables, sorted(messages, key=_position))
    _restore(tables, state.rows)
    for appended, (line, transaction) in zip(committed, journal.transactions, strict=True):
        _append(tables, appended)
        _restore(tables, ((line, row) for row in transaction.rows))
    tables.undo.clear()
    return Loaded(state, journal, repairs)


def _copies(committed: Iterable[Iterable[Message]]) -> dict[str, list[bytes]]:
    copies: dict[str, list[bytes]] = defaultdict(list)
    for messages in committed:
        for message in messages:
            copies[message.record.stream].append(message.line.text)
    return copies


def _read_log(log: Path, seqs: dict[str, int], copies: dict[str, list[bytes]]) -> tuple[list[Message], list[Repair]]:
    messages: list[Message] = []
    repairs: list[Repair] = []
    files = {stream: log / file_name(stream) for stream in (*seqs, *copies)}
    for stranger in set(log.glob("*.jsonl")) - set(files.values()):
        raise CorruptStore(stranger, 0, "no such file, for no stream of this store is kept in it", "it")
    for stream, file in files.items():
        found = read_stream(file, stream, seqs.get(stream, 0))
        messages += found.messages
        repairs.append(read_rest(file, found, copies.get(stream, ())))
    return messages, repairs


def _append(tables: DurableTables, messages: Iterable[Message]) -> None:
    """As it was the first time: each must get the place it had."""
    for line, record in messages:
        position = len(tables.log) + 1
        if record.position != position:
            raise line.corrupt(f"position {position}", f"{record.position}")
        (outcome,) = tables.append([Entry(record.stream, (record,))])
        if isinstance(outcome, Duplicate):
            raise line.corrupt("a message with an id of its own", f"{record.id}, which another one has")
        if outcome != (record,):
            raise line.corrupt(f"seq {len(tables.streams[record.stream])} of {record.stream!r}", f"{record.seq}")


def _restore(tables: DurableTables, rows: Iterable[tuple[Line, Row]]) -> None:
    for line, row in rows:
        try:
            tables.restore(row)
        except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise line.corrupt("a row of something that is there", f"{line.excerpt} ({error!r})") from error
