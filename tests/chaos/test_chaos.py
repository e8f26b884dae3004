"""A short piece of `make chaos`, and proof that its checker would notice."""

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sourced import Message, Sourced
from sourced.messages import Payload
from tests.chaos.bank import ACCOUNTS, Dripped, Noted, Withdraw, account
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
        app.dispatch(told(Dripped(number), "drips"), at=now + timedelta(seconds=1))
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
