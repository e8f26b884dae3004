"""What has to be so of everything that is made beside the accounts: boards, receipts, drips and errands."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.chaos.boards import BOARDS, is_poison, size
from tests.chaos.errands import STEPS
from tests.chaos.rows import Row

Figures = dict[str, tuple[int, int]]

SIGNS = {"bank.opened": 1, "bank.deposited": 1, "bank.refunded": 1, "bank.withdrawn": -1}
ENDINGS = ("errand.completed", "errand.cancelled", "errand.failed")
ONCE = ("errand.started", "errand.forked", "errand.step_completed", "errand.timer_set", "errand.timer_fired")


def of_boards(raw: Any, log: Iterable[Row]) -> Iterator[str]:
    """Every row is what a replay gives, and every arrival that can be handled was, once and in order."""
    turnover, holdings, arrivals = Counter[str](), Counter[str](), Counter[str]()
    counts = defaultdict[str, Counter[str]](Counter)
    stamps: list[tuple[str, int]] = []
    for row in log:
        if row.type == "bank.withdrawn":
            turnover[size(row.says("transfer"))] += row.says("amount")
            counts[BOARDS[0]][size(row.says("transfer"))] += 1
        if row.type in SIGNS:
            holdings[row.stream] += SIGNS[row.type] * row.says("amount")
            counts[BOARDS[1]][row.stream] += 1
        if row.type == "bank.deposited":
            arrivals[size(row.says("transfer"))] += row.says("amount")
            counts[BOARDS[2]][size(row.says("transfer"))] += 1
            if not is_poison(row.says("transfer")):
                stamps.append((row.stream, row.seq))
    for board, totals in zip(BOARDS, (turnover, holdings, arrivals), strict=False):
        expected = {key: (count, totals[key]) for key, count in counts[board].items()}
        if (found := _rows_of(raw, board)) != expected:
            yield f"{board}: expected {_beside(expected, found)}, found {_beside(found, expected)}"
    yield from _of_stamps(stamps, raw.execute("select account, seq from stamps order by number").fetchall())


def _rows_of(raw: Any, board: str) -> Figures:
    rows = raw.execute(
        f"select v.key, v.body from sourced_views v join sourced_groups g on g.view = v.view where g.name = '{board}'"
    ).fetchall()
    bodies = ((key, json.loads(body)) for key, body in rows if body.startswith("{"))
    return {key: (body.get("count", 0), body.get("total", 0)) for key, body in bodies}


def _beside(one: Figures, other: Figures) -> Figures:
    return {key: value for key, value in one.items() if other.get(key) != value}


def _of_stamps(expected: list[tuple[str, int]], found: Iterable[Any]) -> Iterator[str]:
    stamped = [(account, seq) for account, seq in found]
    for entry, count in (Counter(stamped) - Counter(expected)).items():
        yield f"{entry} is stamped {count} times too often"
    for entry in Counter(expected) - Counter(stamped):
        yield f"{entry} is not stamped"
    yield from in_order("stamps", stamped)


def in_order(where: str, entries: Iterable[tuple[str, int]]) -> Iterator[str]:
    come: dict[str, int] = {}
    for stream, seq in entries:
        if seq < come.get(stream, 0):
            yield f"{stream}: seq {seq} is in the {where} after {come[stream]}"
        come[stream] = seq


def of_receipts(raw: Any, log: Iterable[Row]) -> Iterator[str]:
    """In transactions of their own people store both messages and their row, or nothing."""
    noted = Counter[int](row.says("number") for row in log if row.type == "bank.noted")
    receipts = {number for (number,) in raw.execute("select number from receipts").fetchall()}
    for number in receipts | noted.keys():
        if noted[number] != 2 * (number in receipts):
            yield f"receipt {number}: {number in receipts}, with {noted[number]} notes"


def of_drips(log: Iterable[Row]) -> Iterator[str]:
    """What was put on the schedule in order comes in order; what was late for it was stored at once."""
    came = [(row.stream, row.says("number")) for row in log if row.type == "bank.dripped" and row.came_due]
    yield from in_order("drips", came)


def of_errands(log: Iterable[Row]) -> Iterator[str]:
    """Every run came to one end, each of its steps was remembered once, and whatever it waited for was taken once."""
    runs = defaultdict[str, list[Row]](list)
    for row in log:
        if row.stream.startswith("errand-"):
            runs[row.stream].append(row)
    for run, rows in runs.items():
        yield from (f"{run}: {what}" for what in _of_errand(rows))


def _of_errand(rows: list[Row]) -> Iterator[str]:
    ends = [row for row in rows if row.type in ENDINGS]
    if len(ends) != 1 or rows[0].type != "errand.started":
        yield f"expected one beginning and one end, found {[row.type for row in rows]}"
        return
    number = rows[0].says("arguments")["number"]
    once = Counter((row.type, json.loads(row.payload).get("key", "")) for row in rows if row.type in ONCE)
    yield from (f"{what} is there {count} times" for what, count in once.items() if count > 1)
    yield from _of_attempts(rows)
    if ends[0].type == "errand.cancelled":
        if not any(row.type == "sourced.cancel_requested" for row in rows):
            yield "it was cancelled, and nobody has asked for that"
    elif ends[0].type == "errand.failed" or ends[0].says("result") != STEPS * number:
        yield f"expected {STEPS * number}, found {ends[0].payload}"
    elif sum(row.type == "errand.step_completed" for row in rows) != STEPS - 1:
        yield f"expected {STEPS - 1} steps, found {[row.type for row in rows]}"


def _of_attempts(rows: Iterable[Row]) -> Iterator[str]:
    """Each is written down before it is made, and none is made beside another one of the same step."""
    attempts: dict[str, int] = {}
    for row in rows:
        if row.type == "errand.step_started":
            said: Mapping[str, Any] = json.loads(row.payload)
            key, attempt = said["key"], said.get("attempt", 1)
            if attempt != attempts.get(key, 0) + 1:
                yield f"attempt {attempt} of {key} comes after attempt {attempts.get(key, 0)}"
            attempts[key] = attempt
