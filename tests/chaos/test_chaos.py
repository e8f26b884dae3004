"""A short piece of `make chaos`, and proof that its checker would notice."""

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourced import Message
from tests.chaos.bank import ACCOUNTS, Withdraw, account, bank
from tests.chaos.checker import wrong
from tests.chaos.clients import open_accounts, stored
from tests.chaos.places import SqlitePlace, opened
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
    assert report.transfers > ACCOUNTS


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """A bank where nothing has gone wrong."""
    folder = tmp_path_factory.mktemp("bank")
    url = SqlitePlace(folder).url
    with bank(opened(url)) as app:
        sent = open_accounts(app)
        app.drain()
        now = app._engine.clock.now()
        for number in range(60):
            command = Withdraw(number, 100, account((number + 1) % ACCOUNTS))
            message = Message.new(command, stream=account(number % ACCOUNTS), now=now)
            stored(app, message, here_and_now=number % 3 == 0)
            sent[message.id] = message.stream
        while app.drain() or app.scheduled.list():
            pass
    return folder / "bank.db", sent


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
        ("delete from sourced_messages where position = (select max(position) from sourced_messages)", ""),
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
