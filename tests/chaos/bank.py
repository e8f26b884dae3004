"""What is at stake: accounts that send each other money, so that their total must stay what it was.

A transfer is a story of several commands in two streams: withdraw, deposit, and a refund if the deposit was refused.
Its reactions are `async` and now and then take long; every handler fails now and then for no reason.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from sourced import (
    Actor,
    AsyncCommands,
    Batch,
    Command,
    Event,
    Events,
    Projector,
    decide,
    dispatch,
    evolve,
    react,
    sync,
)

ACCOUNTS = 40
OPENING = 1_000
GROUPS = ("bank.accounts", "bank.balances", "bank.journal")
TABLES = (
    "create table balances (account text primary key, balance bigint not null, changes bigint not null)",
    "create table journal (number {serial} primary key, account text not null, seq bigint not null, id text not null)",
)  # nothing in the journal is unique
UNLUCKY = 0.005  # how often a handler fails
LONG = 0.02  # how often a reaction takes long, and how long it takes at most
LONGEST = 1.5


class Open(Command, type="bank.open"):
    amount: int


class Withdraw(Command, type="bank.withdraw"):
    transfer: int
    amount: int
    to: str


class Deposit(Command, type="bank.deposit"):
    transfer: int
    amount: int
    source: str


class Refund(Command, type="bank.refund"):
    transfer: int
    amount: int


class Opened(Event, type="bank.opened"):
    amount: int


class Withdrawn(Event, type="bank.withdrawn"):
    transfer: int
    amount: int
    to: str


class Declined(Event, type="bank.declined"):
    transfer: int


class Deposited(Event, type="bank.deposited"):
    transfer: int
    amount: int


class DepositRefused(Event, type="bank.deposit_refused"):
    transfer: int
    amount: int
    source: str


class Refunded(Event, type="bank.refunded"):
    transfer: int
    amount: int


class Noted(Event, type="bank.noted"):
    """Stored with a row of somebody's own, in two streams, or not at all."""

    number: int


class Dripped(Event, type="bank.dripped"):
    """Comes due at the same time as those before it and those after it."""

    number: int


@dataclass
class Balance:
    account: str
    amount: int = 0
    changes: int = 0


class BadLuck(Exception):
    """A failure that has nothing to do with the message."""


class Luck:
    """Bad in worker processes, good where the bank is only looked at."""

    bad = False

    def try_it(self) -> None:
        if self.bad and random.random() < UNLUCKY:
            raise BadLuck


LUCK = Luck()


class Accounts(Actor[Balance], group=GROUPS[0]):
    snapshot_every = 50

    @decide
    def open(self, balance: Balance, command: Open) -> Events[Balance]:
        yield Opened(command.amount)

    @decide
    def withdraw(self, balance: Balance, command: Withdraw) -> Events[Balance]:
        LUCK.try_it()
        if command.amount > balance.amount:
            yield Declined(command.transfer)
        else:
            yield Withdrawn(command.transfer, command.amount, command.to)

    @decide
    def deposit(self, balance: Balance, command: Deposit) -> Events[Balance]:
        if command.transfer % 7 == 0:
            yield DepositRefused(command.transfer, command.amount, command.source)
        else:
            yield Deposited(command.transfer, command.amount)
        LUCK.try_it()

    @decide
    def refund(self, balance: Balance, command: Refund) -> Events[Balance]:
        yield Refunded(command.transfer, command.amount)

    @evolve
    def added(self, balance: Balance, event: Opened | Deposited | Refunded) -> None:
        balance.amount += event.amount
        balance.changes += 1

    @evolve
    def taken(self, balance: Balance, event: Withdrawn) -> None:
        balance.amount -= event.amount
        balance.changes += 1

    @react
    async def pass_on(self, balance: Balance, event: Withdrawn) -> AsyncCommands:
        if random.random() < LONG:
            await asyncio.sleep(random.random() * LONGEST)
        LUCK.try_it()
        after = 0.05 if event.transfer % 11 == 0 else None  # some by way of the schedule
        yield dispatch(Deposit(event.transfer, event.amount, balance.account), to=event.to, after=after)

    @react
    async def give_back(self, balance: Balance, event: DepositRefused) -> AsyncCommands:
        LUCK.try_it()
        yield dispatch(Refund(event.transfer, event.amount), to=event.source)


class Balances(Projector[Balance], group=GROUPS[1]):
    """What every account holds, as rows that are saved with the offsets."""

    def initial(self, stream: str) -> Balance:
        return Balance(stream)

    def load(self, key: str, tx: Any) -> Balance | None:
        rows = said(tx, "select account, balance, changes from balances where account = ?", key).fetchall()
        return Balance(*rows[0]) if rows else None

    @evolve
    def added(self, balance: Balance, event: Opened | Deposited | Refunded) -> None:
        balance.amount += event.amount
        balance.changes += 1

    @evolve
    def taken(self, balance: Balance, event: Withdrawn) -> None:
        balance.amount -= event.amount
        balance.changes += 1

    @sync
    def save(self, balance: Balance, batch: Batch, tx: Any) -> None:
        LUCK.try_it()
        said(
            tx,
            "insert into balances values (?, ?, ?) on conflict (account) do update set balance = excluded.balance, "
            "changes = excluded.changes",
            balance.account, balance.amount, balance.changes,
        )  # fmt: skip

    def on_reset(self, tx: Any) -> None:
        said(tx, "delete from balances")


class Journal(Projector[None], group=GROUPS[2]):
    """A row for every event in the order it came: what came twice is there twice."""

    def initial(self, stream: str) -> None:
        return None

    @evolve
    def noted(
        self, nothing: None,
        event: Opened | Withdrawn | Declined | Deposited | DepositRefused | Refunded | Noted | Dripped,
    ) -> None: ...  # fmt: skip

    @sync
    def write(self, nothing: None, batch: Batch, tx: Any) -> None:
        for message in batch.events:
            LUCK.try_it()
            said(tx, "insert into journal (account, seq, id) values (?, ?, ?)", message.stream, message.seq, message.id)


def said(tx: Any, text: str, *values: Any) -> Any:
    return tx.execute(text if type(tx).__module__ == "sqlite3" else text.replace("?", "%s"), values)


def account(number: int) -> str:
    return f"account-{number:02}"
