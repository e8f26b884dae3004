"""Chaos: worker processes are killed and paused, their database is cut off and crashes, and nothing may go wrong.

    python -m tests.chaos.run --store postgres --seconds 600

While clients transfer money, something happens every now and then; afterwards everybody comes to an end in peace, and a
checker who trusts nobody looks at what is in the database. The seed decides what happens, not when exactly.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from time import monotonic
from typing import NamedTuple

from sourced import Sourced
from sourced.errors import Unavailable
from sourced.testing.postgres import TempPostgres
from tests.chaos.checker import wrong
from tests.chaos.clients import KINDS, Client, Directing, Dripping, Impatient, Joining, Transferring, open_accounts
from tests.chaos.open import bank
from tests.chaos.operators import ALL, Operator, let_go, start_all
from tests.chaos.places import Place, PostgresPlace, SqlitePlace, opened
from tests.facts import eventually
from tests.stores.lines import line_to

ROOT = Path(__file__).parents[2]
PEACE = 120.0  # seconds that all has to come to its end once nothing happens any more, and as long as it went on


class Plan(NamedTuple):
    """What shall happen."""

    seconds: float
    seed: int
    workers: int = 3
    clients: int = 4  # who transfer money; there is one of each other kind
    operators: int = 2
    rate: float = 25.0  # transfers a second, of each client
    every: float = 1.0  # seconds from one blow to the next, on average
    lease: float = 1.0
    blows: int = 0  # that there have to be, however long that takes


class Report(NamedTuple):
    """What happened, and what is wrong: nothing, it is to be hoped."""

    place: str
    plan: Plan
    blows: Counter[str]
    deeds: Counter[str]  # of operators
    messages: int
    sent: Counter[str]
    seconds: float
    settling: float
    wrong: list[str]

    def __str__(self) -> str:
        blows = _listed(self.blows)
        deeds, sent = _listed(self.deeds), ", ".join(f"{kind} {count:,}" for kind, count in self.sent.items())
        verdict = "\n".join(["WRONG:", *self.wrong[:50]]) if self.wrong else "everything is as it should be"
        return (
            f"{self.place}, seed {self.plan.seed}: {self.messages:,} messages in {self.seconds:.0f} s and "
            f"{self.settling:.1f} s of peace; {sent}\n{blows}\noperators: {deeds}\n{verdict}"
        )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count} times" for name, count in sorted(counts.items()))


class Crew:
    """The worker processes, and what can be done to them."""

    def __init__(self, place: Place, plan: Plan, log: Path) -> None:
        self._ways = [place.roundabout, *[place.url] * (plan.workers - 1)]  # of each to the database
        self._lease = plan.lease
        self._log = log.open("ab")
        self.processes = [self._begun(number) for number in range(plan.workers)]

    def _begun(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.chaos.teller", self._ways[number], str(self._lease)]
        return subprocess.Popen(command, cwd=ROOT, stderr=self._log)

    def harm(self) -> dict[str, Callable[[Random], None]]:
        return {"killed a worker": self._kill, "paused a worker": self._pause, "replaced a worker": self._replace}

    def _kill(self, luck: Random) -> None:
        number = luck.randrange(len(self.processes))
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = self._begun(number)

    def _pause(self, luck: Random) -> None:
        one, seconds = luck.choice(self.processes), self._lease * luck.uniform(0.5, 3)
        one.send_signal(signal.SIGSTOP)
        threading.Timer(seconds, one.send_signal, (signal.SIGCONT,)).start()

    def _replace(self, luck: Random) -> None:
        number = luck.randrange(len(self.processes))
        self.processes[number].terminate()
        leaving, self.processes[number] = self.processes[number], self._begun(number)
        threading.Thread(target=leaving.wait).start()

    def revive(self) -> None:
        """Nobody is harmed any more."""
        for number, each in enumerate(self.processes):
            each.send_signal(signal.SIGCONT)
            if each.poll() is not None:
                self.processes[number] = self._begun(number)

    def end(self) -> list[int]:
        for each in self.processes:
            each.terminate()
        codes = [each.wait(PEACE) for each in self.processes]
        self._log.close()
        return codes


def chaos(place: Place, plan: Plan, log: Path) -> Report:
    luck, began = Random(plan.seed), monotonic()
    blows: Counter[str] = Counter()
    with bank(opened(place.roundabout)) as app:
        sent = open_accounts(app)
        crew = Crew(place, plan, log)
        clients = _clients(app, place, plan)
        operators = [Operator(app, number, plan.seed, plan.every) for number in range(plan.operators)]
        people: list[Client | Operator] = [*clients, *operators]
        try:
            harm = {**crew.harm(), **place.harm}
            while monotonic() < began + plan.seconds or _too_quiet(plan, blows, clients):
                threading.Event().wait(luck.uniform(0, 2 * plan.every))
                name = luck.choice([*crew.harm()] * 2 + [*harm])
                with contextlib.suppress(Unavailable, *place.errors):
                    harm[name](luck)
                    blows[name] += 1
            for each in people:
                each.end()
            crew.revive()
            peace = monotonic()
            left = _left(app, PEACE + plan.seconds)
        finally:
            for each in people:
                each.end()
            codes = crew.end()
    for each in clients:
        sent |= each.sent
    with place.asked() as raw:
        found = [
            *left,
            *(f"{type(each).__name__} failed: {_told(error)}" for each in people for error in each.failures),
        ]
        found += [f"a worker ended with {code}" for code in codes if code not in (0, -signal.SIGTERM)]  # so young
        found += wrong(raw, sent)
        ((messages,),) = raw.execute("select count(*) from sourced_messages").fetchall()
    deeds = Counter(deed for each in operators for deed in each.done)
    by_kind = Counter({kind.__name__: sum(len(each.sent) for each in clients if type(each) is kind) for kind in KINDS})
    return Report(place.name, plan, blows, deeds, messages, by_kind, peace - began, monotonic() - peace, found)


def _clients(app: Sourced, place: Place, plan: Plan) -> list[Client]:
    """Those who do more at a time, less often."""
    others: dict[type[Client], float] = {Impatient: 4.0, Joining: 3.0, Dripping: 10.0, Directing: 10.0}
    transferring = [Transferring(app, place, number, plan.seed, plan.rate) for number in range(plan.clients)]
    return [
        *transferring,
        *(
            kind(app, place, plan.clients + number, plan.seed, plan.rate / slower)
            for number, (kind, slower) in enumerate(others.items())
        ),
    ]


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _too_quiet(plan: Plan, blows: Counter[str], clients: list[Client]) -> bool:
    """On a machine that is busy with other things little may have happened in time."""
    return blows.total() < plan.blows or not all(each.sent or each.failures for each in clients)


def _left(app: Sourced, patience: float) -> list[str]:
    """Waits until nothing waits; what still does when there was time enough."""

    def at_peace() -> bool:
        with contextlib.suppress(Unavailable):
            let_go(app)
            start_all(app)
            status = app.status()
            ours = [info for info in status.groups if info.group.name in ALL]
            return not status.scheduled and not any(info.lag or info.stragglers for info in ours)
        return False

    try:
        eventually(at_peace, patience, look_every=0.05)
    except TimeoutError:
        return [f"still waiting: {each.why}" for each in app.doctor()] or [f"still waiting: {app.status()}"]
    return []


@contextlib.contextmanager
def place(name: str) -> Iterator[tuple[Place, Path]]:
    """A database of its own, and a file for what its workers have to say."""
    with tempfile.TemporaryDirectory(prefix="sourced-chaos-") as folder, contextlib.ExitStack() as stack:
        log = Path(folder) / "workers.log"
        if name == "sqlite":
            yield SqlitePlace(Path(folder)), log
        else:
            server = stack.enter_context(TempPostgres())
            yield PostgresPlace(server, stack.enter_context(line_to(server.url()))), log


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.chaos.run")
    arguments.add_argument("--store", choices=["sqlite", "postgres"], action="append")
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=None)
    arguments.add_argument("--workers", type=int, default=3)
    arguments.add_argument("--rate", type=float, default=25)
    arguments.add_argument("--every", type=float, default=1)
    arguments.add_argument("--keep", type=Path, help="a folder for what is left when something is wrong")
    given = arguments.parse_args()
    failed = False
    for name in given.store or ["sqlite", "postgres"]:
        seed = random.randrange(1_000_000) if given.seed is None else given.seed
        plan = Plan(given.seconds, seed, given.workers, rate=given.rate, every=given.every)
        with place(name) as (there, log):
            print(f"{there.name}, seed {seed}: {given.seconds:g} s of chaos …", flush=True)  # noqa: T201
            report = chaos(there, plan, log)
            print(report, flush=True)  # noqa: T201
            if report.wrong and given.keep:
                keep(there, log, given.keep)
        failed |= bool(report.wrong)
    sys.exit(failed)


def keep(there: Place, log: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "workers.log").write_bytes(log.read_bytes())
    with there.asked() as raw, (folder / "log.txt").open("w") as file:
        for row in raw.execute("select * from sourced_messages order by position"):
            file.write(f"{row}\n")
        for table in (
            "sourced_groups",
            "sourced_progress",
            "sourced_stragglers",
            "sourced_views",
            "balances",
            "journal",
            "stamps",
        ):
            file.write(f"\n{table}\n")
            for row in raw.execute(f"select * from {table}"):
                file.write(f"{row}\n")


if __name__ == "__main__":
    main()
