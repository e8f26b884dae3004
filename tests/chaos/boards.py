"""Further read models of the bank, of every kind: rows that many accounts share, rows that are written with the append,
and one whose messages cannot all be handled."""

from __future__ import annotations

from typing import Any

from sourced import Batch, Message, Park, Projector, Retry, View, evolve, sync
from tests.chaos.bank import LUCK, Deposited, Opened, Refunded, Withdrawn, said

BOARDS = ("bank.turnover", "bank.holdings", "bank.arrivals", "bank.stamps")
TABLES = ("create table stamps (number {serial} primary key, account text not null, seq bigint not null)",)
SIZES = 5  # rows that all accounts share


class Figures(View):
    count: int = 0
    total: int = 0


def size(transfer: int) -> str:
    return f"size-{transfer % SIZES}"


def is_poison(transfer: int) -> bool:
    return transfer % 23 == 5


class Poison(Exception):
    """This one is never handled: somebody has to give it up."""


class Turnover(Projector[Figures], group=BOARDS[0]):
    """A row for all transfers of a size, whoever makes them."""

    def key(self, message: Message[Any]) -> str:
        return size(message.payload.transfer)

    @evolve
    def withdrawn(self, row: Figures, event: Withdrawn) -> None:
        LUCK.try_it()
        row.count += 1
        row.total += event.amount


class Holdings(Projector[Figures], group=BOARDS[1]):
    """A row for each account, as new as the account."""

    @evolve
    def added(self, row: Figures, event: Opened | Deposited | Refunded) -> None:
        row.count += 1
        row.total += event.amount

    @evolve
    def taken(self, row: Figures, event: Withdrawn) -> None:
        row.count += 1
        row.total -= event.amount


class Arrivals(Projector[Figures], group=BOARDS[2]):
    """The same for rows that many streams share, and that are written with the append."""

    def key(self, message: Message[Any]) -> str:
        return size(message.payload.transfer)

    @evolve
    def arrived(self, row: Figures, event: Deposited) -> None:
        row.count += 1
        row.total += event.amount


class Stamps(Projector[None], group=BOARDS[3]):
    """A row for each arrival; a stream is parked at what cannot be handled, until somebody gives that up."""

    errors = Retry(times=1, after=0.02, then=Park())

    def initial(self, stream: str) -> None:
        return None

    @evolve
    def arrived(self, nothing: None, event: Deposited) -> None:
        if is_poison(event.transfer):
            raise Poison(event.transfer)

    @sync
    def write(self, nothing: None, batch: Batch, tx: Any) -> None:
        for message in batch.events:
            said(tx, "insert into stamps (account, seq) values (?, ?)", message.stream, message.seq)

    def on_reset(self, tx: Any) -> None:
        said(tx, "delete from stamps")
