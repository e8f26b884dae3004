"""A short piece of `make chaos`, and proof that its checker would notice."""

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from sourced import Batch, Message, Sourced
from sourced.messages import Payload
from sourced.runtime import foreground, inline
from sourced.runtime.rounds.settling import Settling
from sourced.runtime.rounds.slice import Slice
from sourced.store import Claim, Move
from sourced.stores.sqlite import SqliteStore
from tests.chaos.bank import ACCOUNTS, BadLuck, Dripped, Journal, Noted, Withdraw, account
from tests.chaos.checker import wrong
from tests.chaos.clients import open_accounts
from tests.chaos.errands import Errand, Go
from tests.chaos.open import bank
from tests.chaos.operators import let_go
from tests.chaos.places import Place, SqlitePlace, opened
from tests.chaos.run import Plan, chaos, place

Bank = tuple[Path, dict[str, str]]


@pytest.mark.skipif(sys.platform == "win32", reason="it has no signals")
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_whatever_happens_every_command_is_handled_once_and_no_money_is_lost(
    request: pytest.FixtureRequest, store: str
):
    """E102, J172, J177. A few seconds of it: killed and paused workers, lost connections, a server that crashes."""
    if store == "postgres":
        request.getfixturevalue("postgres_binaries")
    with place(store) as (there, log):
        plan = Plan(seconds=2.5, seed=4711, workers=2, clients=2, every=0.4, lease=0.7, blows=3)
        report = chaos(there, plan, log)
        print(report, log.read_text("utf-8"))  # noqa: T201 - for whoever has to find out why
    assert report.wrong == []
    assert report.blows.total() >= 3
    assert all(report.sent.values())


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """A bank where nothing has gone wrong."""
    place = SqlitePlace(tmp_path_factory.mktemp("bank"))
    with bank(opened(place.url)) as app:
        sent = busy(app, place)
    return place.path, sent


def busy(app: Sourced, place: Place) -> dict[str, str]:
    """A bit of everything that clients do, until all of it is done; what is stored, and in which streams."""
    sent = open_accounts(app)
    app.drain()
    now = app._engine.clock.now()

    def told(payload: Payload, stream: str) -> Message[Any]:
        message = Message.new(payload, stream=stream, now=now)
        sent[message.id] = stream
        return message

    for number in range(60):
        transfer = told(Withdraw(number, 100, account((number + 1) % ACCOUNTS)), account(number % ACCOUNTS))
        (app.dispatch if number % 3 else app.execute)(transfer)
    for number in range(5):
        app.dispatch(told(Dripped(number), "drips"), at=now + timedelta(hours=1))
    with place.joined() as connection:
        place.say(connection, "insert into receipts (number) values (?)", 1)
        for stream in ("notes-1", "notes-2"):
            app.using(connection).append(stream, told(Noted(1), stream))
    for number in (1, 2):
        app.start(Errand.named(str(number)), number)
        app.signal(f"errand-{number}", told(Go(number), f"errand-{number}"))
    while app.scheduled.list() or app.drain() or app.parked.list():
        for each in app.scheduled.list():
            app.scheduled.run_now(each.record.id)
        let_go(app)
    return sent


@pytest.fixture
def raw(peaceful: Bank) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(peaceful[0])) as raw:
        yield raw
        raw.rollback()


def test_the_checker_has_nothing_to_say_where_nothing_is_wrong(raw: sqlite3.Connection, peaceful: Bank):
    assert list(wrong(raw, peaceful[1])) == []
    ((refunds,),) = raw.execute("select count(*) from sourced_messages where type = 'bank.refunded'").fetchall()
    assert refunds


A_DEPOSIT = "(select max(position) from sourced_messages where type = 'bank.deposit')"


@pytest.mark.parametrize(
    ("harm", "noticed"),
    [
        (f"delete from sourced_messages where position = {A_DEPOSIT}", "expected seq"),
        ("delete from sourced_messages where type = 'bank.refunded'", "expected a total of"),
        (f"delete from sourced_messages where position = {A_DEPOSIT.replace('deposit', 'deposited')}", ""),
        (
            "insert into sourced_messages select 99999, shard, stream, 99999, 'twice', type, version, payload, "
            "metadata, causation_id, correlation_id, created_at, settled_by "
            f"from sourced_messages where position = {A_DEPOSIT}",
            "found ['bank.deposit', 'bank.deposit']",
        ),
        ("update sourced_messages set seq = -seq where seq = 2", "expected seq 2"),
        ("update sourced_messages set causation_id = id where type = 'bank.deposited'", "came of nothing"),
        ("update balances set balance = balance + 1 where account = 'account-07'", "is not what a replay gives"),
        ("update balances set changes = changes + 1", "is not what a replay gives"),
        ("insert into journal (account, seq, id) select account, seq, id from journal limit 1", "1 times too often"),
        ("delete from journal where number = 3", "is not in the journal"),
        ("update journal set number = 1000 - number", "is in the journal after"),
        ("update sourced_views set body = replace(body, ':1', ':2') where view = 'bank.turnover'", "bank.turnover"),
        ("delete from sourced_views where view = 'bank.arrivals' and key = 'size-1'", "bank.arrivals"),
        ("update sourced_views set body = '{}' where key = 'account-03'", "bank.holdings"),
        ("delete from stamps where number = 3", "is not stamped"),
        ("insert into stamps (account, seq) select account, seq from stamps limit 1", "1 times too often"),
        ("update stamps set number = 1000 - number", "is in the stamps after"),
        ("delete from receipts", "receipt 1: False, with 2 notes"),
        ("delete from sourced_messages where stream = 'notes-2'", "receipt 1: True, with 1 notes"),
        ("update sourced_messages set position = 100000 - position where stream = 'drips'", "in the drips after"),
        ("delete from sourced_messages where type = 'errand.completed'", "one beginning and one end"),
        ("update sourced_messages set payload = '{\"result\":4}' where type = 'errand.completed'", "expected 5"),
        ("update sourced_messages set type = 'errand.timer_fired' where type = 'errand.timer_set'", "2 times"),
        ("update sourced_messages set type = 'errand.step_started' where type = 'errand.step_completed'", "attempt"),
        ("update sourced_messages set type = 'errand.step_failed' where type = 'errand.step_completed'", "4 steps"),
        ("update sourced_messages set type = 'errand.cancelled' where type = 'errand.completed'", "nobody has asked"),
        (
            "insert into sourced_stragglers (group_name, stream, shard, from_seq, live_after, attempts, parked, "
            "running, holder, error, traceback, reason, message_id) "
            "values ('bank.stamps', 'account-01', 1, 1, 0, 1, 1, 0, '', '', '', '', '')",
            "is left",
        ),
    ],
)  # fmt: skip
def test_the_checker_notices(raw: sqlite3.Connection, peaceful: Bank, harm: str, noticed: str):
    raw.execute(harm)
    found = list(wrong(raw, peaceful[1]))
    assert found
    assert noticed in "\n".join(found)


def test_the_checker_misses_what_clients_were_told_is_stored(raw: sqlite3.Connection, peaceful: Bank):
    (found,) = wrong(raw, {**peaceful[1], "lost": "account-01"})
    assert found == "message lost was told to be stored in account-01, found it in None"


def moving_too_far(self: Settling, claim: Claim, slices: list[Slice]) -> list[Move]:
    return [replace(move, checkpoint=move.checkpoint + 40) for move in moves(self, claim, slices)]


def settled_by_nobody(thing: Any, **changes: Any) -> Any:
    return replace(thing, **{name: value for name, value in changes.items() if name != "settled_by"})


moves = Settling.moves
read_scheduled = SqliteStore.read_scheduled
BROKEN: dict[str, tuple[Any, str, Any, str]] = {
    "a round skips what comes next": (Settling, "moves", moving_too_far, "found []"),
    "what was decided is decided again": (foreground, "replace", settled_by_nobody, "['bank.withdrawn', 'bank.w"),
    "rows are written with the append, and again": (inline, "settled", lambda entries, _: [*entries], "bank.holdings"),
    "what is due comes in any order": (
        SqliteStore, "read_scheduled", lambda self, rows: read_scheduled(self, rows)[::-1], "is in the drips after",
    ),
    "who fails is not waited for": (SqliteStore, "straggle", lambda self, stragglers: iter(()), "in the journal"),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_the_checker_notices_a_runtime_that_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
):  # fmt: skip
    where, name, wrongly, noticed = BROKEN[broken]
    monkeypatch.setattr(where, name, wrongly)
    luck = Random(4711)
    place = SqlitePlace(tmp_path)
    with bank(opened(place.url)) as app:
        monkeypatch.setattr(Journal, "write", unlucky(luck, Journal.write))
        sent = busy(app, place)
    with place.asked() as raw:
        assert noticed in "\n".join(wrong(raw, sent))


def unlucky(luck: Random, write: Any) -> Any:
    """Fails now and then, so that there is something to try again."""

    def written(self: Journal, nothing: None, batch: Batch, tx: Any) -> None:
        if luck.random() < 0.05:
            raise BadLuck
        write(self, nothing, batch, tx)

    return written
