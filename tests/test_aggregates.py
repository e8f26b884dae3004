"""What one expects of a process for each aggregate: it is quick, given up when idle, and stands in nobody's way."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from sourced import (
    Actor,
    Command,
    Decision,
    DefinitionError,
    Event,
    Events,
    Invalid,
    Rejection,
    Sourced,
    decide,
    evolve,
    parse,
)
from sourced.errors import NotKnown, UnknownMessage
from sourced.store import Store
from sourced.testing import VirtualClock
from tests.facts import PATIENCE


class Deposit(Command, type="bank.deposit"):
    amount: int


class Withdraw(Command, type="bank.withdraw"):
    amount: int


class Deposited(Event, type="bank.deposited"):
    amount: int


class Withdrawn(Event, type="bank.withdrawn"):
    amount: int


class InvalidAmount(Rejection):
    """The amount has to be more than nothing."""


class InsufficientFunds(Rejection):
    """There is not enough on the account."""


class Account(Actor[int], group="accounts"):
    def __init__(self) -> None:
        self.read = 0
        self.waiting: threading.Event | None = None

    def initial(self, stream: str) -> int:
        return 0

    @decide
    def deposit(self, balance: int, command: Deposit) -> Events[int]:
        if command.amount <= 0:
            raise InvalidAmount(command.amount)
        if command.amount == 13 and self.waiting is not None:
            self.waiting.wait(PATIENCE)
        yield Deposited(command.amount)

    @decide
    def withdraw(self, balance: int, command: Withdraw) -> Events[int]:
        if command.amount > balance:
            raise InsufficientFunds(balance)
        yield Withdrawn(command.amount)

    @evolve
    def deposited(self, balance: int, event: Deposited) -> int:
        self.read += 1
        if event.amount == 666:
            raise RuntimeError("the process dies of this")
        return balance + event.amount

    @evolve
    def withdrawn(self, balance: int, event: Withdrawn) -> int:
        return balance - event.amount


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def app(store: Store, account: Account) -> Sourced:
    app = Sourced(store, clock=VirtualClock(), idle=30)
    app.register(account)
    return app


def advance(app: Sourced, seconds: float) -> None:
    app._engine.clock.advance(seconds)  # type: ignore[attr-defined]


def test_an_account(app: Sourced):
    """O232. Deposits and withdrawals; a no changes nothing."""
    for command in (Deposit(100), Deposit(100), Withdraw(50)):
        app.execute(command, to="a1")
    loaded = app.load(Account, "a1")
    assert (loaded.state, loaded.seq) == (150, 6)
    with pytest.raises(InsufficientFunds, match="150"):
        app.execute(Withdraw(151), to="a1")
    for amount in (0, -1):
        with pytest.raises(InvalidAmount):
            app.execute(Deposit(amount), to="a1")
    assert app.load(Account, "a1").state == 150
    with pytest.raises(NotKnown):
        app.execute(Deposited(1), to="a1")  # type: ignore[arg-type]
    with pytest.raises(Invalid):
        app.execute(parse(Deposit, {"amount": "much"}), to="a1")
    with pytest.raises(UnknownMessage):
        app._engine.codec.find("bank.nonsense")


def test_a_no_as_a_value(app: Sourced):
    """O232 for those who do not like exceptions; what is no refusal is raised all the same."""
    yes, no = app.attempt(Deposit(5), to="a1"), app.attempt(Withdraw(6), to="a1")
    assert isinstance(yes, Decision)
    assert yes.events[0].payload == Deposited(5)
    assert isinstance(no, InsufficientFunds)
    assert no.details == (5,)
    with pytest.raises(RuntimeError):
        app.attempt(Deposit(666), to="a1")
    assert len(app.history("a1")) == 2


def test_one_that_is_used_is_remembered_also_after_a_no(app: Sourced, account: Account):
    """O234. Each use counts, the refused one too: nothing is read again."""
    app.execute(Deposit(1), to="a1")
    app.attempt(Withdraw(100), to="a1")
    account.read = 0
    for _ in range(12):
        advance(app, 10)
        app.execute(Deposit(1), to="a1")
    assert account.read == 12  # the new event of each, and none of the old ones


def test_one_that_nobody_uses_is_forgotten_and_read_again_when_it_is_needed(app: Sourced, account: Account):
    """ER4."""
    for stream in ("a1", "a2"):
        app.execute(Deposit(1), to=stream)
    advance(app, 20)
    app.execute(Deposit(1), to="a2")
    assert len(app._engine.memos) == 2
    advance(app, 20)
    app.execute(Deposit(1), to="a2")
    assert len(app._engine.memos) == 1
    advance(app, 31)
    app._engine.memos.passivate()
    assert len(app._engine.memos) == 0
    account.read = 0
    app.execute(Deposit(1), to="a1")
    assert account.read == 2
    assert app.load(Account, "a1").state == 2


def test_one_that_dies_starts_afresh_from_what_is_stored(app: Sourced):
    """O240. Its error reaches who asked, and the next command works."""
    app.execute(Deposit(5), to="a1")
    with pytest.raises(RuntimeError, match="the process dies"):
        app.execute(Deposit(666), to="a1")
    app.execute(Withdraw(5), to="a1")
    assert app.load(Account, "a1").state == 0


def test_a_slow_one_keeps_nobody_else_waiting(app: Sourced, account: Account):
    """O241. Others are answered at once; and who lost patience with it finds it there when it is through."""
    account.waiting = threading.Event()
    slow = threading.Thread(target=app.execute, args=(Deposit(13),), kwargs={"to": "a1"})
    slow.start()
    assert app.execute(Deposit(1), to="a2").events[0].payload == Deposited(1)
    assert app.execute(Deposit(2), to="a1").events[0].payload == Deposited(2)  # even of the same one
    account.waiting.set()
    slow.join(PATIENCE)
    assert app.load(Account, "a1").state == 15


@pytest.mark.parametrize("idle", [-1, timedelta(seconds=-1), "long"])
def test_a_time_that_is_none_is_refused(idle: Any):
    with pytest.raises((DefinitionError, Invalid)):
        Sourced(idle=idle)
