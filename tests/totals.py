"""What the tests of projectors share: payments, and two projectors that add them up into a table."""

from typing import Annotated, Any

from sourced import Batch, Command, Commands, Event, EventSourced, Meta, Park, Projector, Sourced, evolve, react, sync
from sourced.testing import VirtualClock
from tests.rows import table


class Paid(Event, type="pay.paid"):
    amount: int


class Refunded(Event, type="pay.refunded"):
    amount: int


class Priced(Event, type="pay.priced"):
    product: str
    price: int


class Reward(Command, type="pay.reward"):
    total: Annotated[int, Meta(lt=1_000_000)]


class Sums:
    """How payments are added up."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"total": 0}

    @evolve
    def paid(self, row: dict[str, int], event: Paid) -> None:
        row["total"] += event.amount

    @evolve
    def refunded(self, row: dict[str, int], event: Refunded) -> None:
        row["total"] -= event.amount


class Totals(Sums, Projector[dict[str, int]], group="totals"):
    """State-stored: the row is a dictionary in the table `totals`; the table `log` tells what was saved."""

    loads = 0

    def load(self, key: str, tx: Any) -> dict[str, int] | None:
        self.loads += 1
        row = table(tx, "totals").get(key)
        return dict(row) if row else None

    @react
    def reward(self, row: dict[str, int], event: Paid) -> Commands:
        if row["total"] > 20:
            yield Reward(row["total"])

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        note(tx, [m.seq for m in batch.events])
        table(tx, "totals")[batch.stream] = dict(row)


def note(tx: Any, what: Any) -> None:
    log = table(tx, "log")
    log[len(log)] = what


def projecting(*projectors: Any, **options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), "errors": Park(), **options})
    app.register(*projectors or (Totals,))
    return app


def rows(app: Sourced) -> dict[str, int]:
    return {key: row["total"] for key, row in table(app.store, "totals").items()}


def log(app: Sourced) -> list[Any]:
    return list(table(app.store, "log").values())


def rewards(app: Sourced) -> list[int]:
    return [m.payload.total for m in app.read_all(types=[Reward])]


class Rebuilt(Sums, EventSourced[dict[str, int]], group="rebuilt"):
    """Event-sourced: the same sums, worked out from history."""

    @react
    def reward(self, row: dict[str, int], event: Paid) -> Commands:
        yield Reward(row["total"])

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        table(tx, "totals")[batch.stream] = dict(row)
