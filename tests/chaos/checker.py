"""Reads log and tables with plain SQL, knows nothing of Sourced but its columns, and finds whatever is not right."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tests.chaos.bank import ACCOUNTS, OPENING, account
from tests.chaos.further import of_boards, of_drips, of_errands, of_receipts
from tests.chaos.operators import ALL
from tests.chaos.rows import ANSWERS, Row

FOLLOWS = {"bank.withdrawn": {"bank.deposit"}, "bank.deposit_refused": {"bank.refund"}}
CHANGES = {"bank.opened": 1, "bank.deposited": 1, "bank.refunded": 1, "bank.withdrawn": -1}


def wrong(raw: Any, sent: Mapping[str, str]) -> Iterator[str]:
    """What is not as it should be; `sent` are the ids that clients were told are stored, and their streams."""
    everything = [Row(*row) for row in raw.execute(
        "select position, stream, seq, id, type, payload, causation_id, metadata "
        "from sourced_messages order by position"
    )]  # fmt: skip
    log = [row for row in everything if row.stream.startswith("account-")]
    journal = raw.execute("select account, seq, id from journal order by number").fetchall()
    balances = {row[0]: tuple(row[1:]) for row in raw.execute("select account, balance, changes from balances")}
    yield from _of_streams(everything)
    yield from _of_sent(everything, sent)
    yield from _of_causes(log)
    replayed = yield from _of_money(log)
    if balances != replayed:
        yield f"the table of balances {balances} is not what a replay gives: {replayed}"
    yield from _of_journal(everything, journal)
    yield from of_boards(raw, log)
    yield from of_receipts(raw, everything)
    yield from of_drips(everything)
    yield from of_errands(everything)
    names = ", ".join(f"'{group}'" for group in ALL)  # rows that were kept from before have stragglers of their own
    for table in (f"stragglers where group_name in ({names})", "scheduled"):
        for row in raw.execute(f"select * from sourced_{table}").fetchall():
            yield f"{table}: {row} is left"


def _of_streams(log: Collection[Row]) -> Iterator[str]:
    """In order of position every stream counts 1, 2, 3, …"""
    seen: Counter[str] = Counter()
    for row in log:
        seen[row.stream] += 1
        if row.seq != seen[row.stream]:
            yield f"{row.stream}: expected seq {seen[row.stream]} at position {row.position}, found {row.seq}"
    for id, count in Counter(row.id for row in log).items():
        if count > 1:
            yield f"message {id} is stored {count} times"


def _of_sent(log: Collection[Row], sent: Mapping[str, str]) -> Iterator[str]:
    stored = {row.id: row.stream for row in log}
    for id, stream in sent.items():
        if stored.get(id) != stream:
            yield f"message {id} was told to be stored in {stream}, found it in {stored.get(id)}"


def _of_causes(log: Collection[Row]) -> Iterator[str]:
    """Every command was decided once, every event that asks for a command sent it once, and nothing came of nothing."""
    types = {row.id: row.type for row in log}
    caused: dict[str, list[str]] = defaultdict(list)
    for row in log:
        if row.causation_id != row.id:
            caused[row.causation_id].append(row.type)
            cause = types.get(row.causation_id, "nothing")
            if row.type not in ANSWERS.get(cause, FOLLOWS.get(cause, ())):
                yield f"{row} was caused by {cause}"
        elif row.is_event:
            yield f"{row} came of nothing"
    for row in log:
        expected = ANSWERS.get(row.type) or FOLLOWS.get(row.type)
        found = caused[row.id]
        if expected and (len(found) != 1 or found[0] not in expected):
            yield f"{row}: expected one of {expected}, found {found}"


def _of_money(log: Collection[Row]) -> Any:
    """Nobody ever owes, and nothing is lost on the way. What is left where, and after how many changes."""
    held: dict[str, tuple[int, int]] = {}
    for row in log:
        if row.type in CHANGES:
            amount, changes = held.get(row.stream, (0, 0))
            amount += CHANGES[row.type] * json.loads(row.payload)["amount"]
            held[row.stream] = (amount, changes + 1)
            if amount < 0:
                yield f"{row.stream} holds {amount} at seq {row.seq}"
    total = sum(amount for amount, _ in held.values())
    if total != ACCOUNTS * OPENING:
        yield f"expected a total of {ACCOUNTS * OPENING}, found {total}"
    missing = {account(number) for number in range(ACCOUNTS)} - held.keys()
    if missing:
        yield f"{missing} were never opened"
    return held


def _of_journal(log: Collection[Row], journal: Collection[Any]) -> Iterator[str]:
    """Every event once, and those of a stream in order."""
    events = [(row.stream, row.seq, row.id) for row in log if row.is_journaled]
    for entry, count in (Counter(map(tuple, journal)) - Counter(events)).items():
        yield f"{entry} is in the journal {count} times too often"
    for entry in Counter(events) - Counter(map(tuple, journal)):
        yield f"{entry} is not in the journal"
    come: dict[str, int] = {}
    for stream, seq, _ in journal:
        if seq < come.get(stream, 0):
            yield f"{stream}: seq {seq} is in the journal after {come[stream]}"
        come[stream] = seq
