"""What the tests of replays share: a projector that counts into a table and raises an alarm at every event."""

from typing import Any

from sourced import Batch, Command, Commands, Message, Projector, Sourced, evolve, react, sync
from sourced.testing import VirtualClock
from tests.rows import table
from tests.runtime.listener import Noted


class Alarm(Command, type="test.alarm"):
    count: int


class Counter(Projector[dict[str, int]], group="counter"):
    """Counts what was noted of each stream, into a table, and reacts to every one."""

    def initial(self, stream: str) -> dict[str, int]:
        return {"n": 0}

    def load(self, key: str, tx: Any) -> dict[str, int] | None:
        return dict(table(tx, "counts").get(key, {})) or None

    @evolve
    def noted(self, row: dict[str, int], event: Noted) -> None:
        row["n"] += 1

    @react
    def alarm(self, row: dict[str, int], event: Noted) -> Commands:
        yield Alarm(row["n"])

    @sync
    def save(self, row: dict[str, int], batch: Batch, tx: Any) -> None:
        table(tx, "counts")[batch.stream] = dict(row)
        table(tx, "saves")[len(table(tx, "saves"))] = ([m.seq for m in batch.events], batch.replaying)

    def on_reset(self, tx: Any) -> None:
        table(tx, "counts").clear()


def counting(**options: Any) -> Sourced:
    app = Sourced(**{"clock": VirtualClock(), **options})
    app.register(Counter)
    return app


def alarms(app: Sourced) -> list[Message[Any]]:
    return app.read_all(types=[Alarm])


def counts(app: Sourced) -> dict[str, int]:
    return {stream: row["n"] for stream, row in table(app.store, "counts").items()}
