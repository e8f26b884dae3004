"""Workers in processes of their own, on a database they share: signals, deaths, pauses, and who takes over."""

import contextlib
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from sourced import Sourced
from sourced.testing.conformance.bench import scheduled
from sourced.testing.postgres import TempPostgres
from sourced.testing.shop import AddItem, Stock
from tests.facts import until
from tests.runtime.listener import Ignored, Noted, handled
from tests.workers.crew import Process, held, on_a_loop, processes
from tests.workers.works import made

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no signals")


@pytest.fixture
def app(url: str) -> Iterator[Sourced]:
    """The same app here, where no worker is."""
    with made(url, "plain") as app:
        yield app


def wait(fact: Callable[[], object]) -> None:
    on_a_loop(until(fact))


def go(app: Sourced) -> None:
    app.append("go", Ignored())


def test_processes_share_the_work_and_every_stream_is_seen_in_order(url: str, app: Sourced):
    """E78, E79. 100 and 120 messages in two streams, and more in others; three processes."""
    with processes(url, 3, what="plain", batch=10) as crew:
        wait(lambda: len(app.workers()) == 3)
        for n in range(120):
            for stream in ("a", "b") if n < 100 else ("b",):
                app.append(stream, Noted(f"{stream}-{n}"))
            app.append(f"s{n % 7}", Noted(f"s{n % 7}-{n}"))
        wait(lambda: not app.groups.get("plain").lag)
        for each in crew:
            each.tell(signal.SIGTERM)
        assert [each.ended() for each in crew] == [(0, "")] * 3
    texts = [line.split()[1] for each in crew for line in each.lines if line.startswith("ends")]
    assert len(texts) == len({*texts}) == 340
    log = [message.stream for message in app.read_all() if message.stream.startswith("echo-")]
    assert len(log) == len({*log}) == 340
    for stream in ("a", "b", *(f"s{n}" for n in range(7))):
        mine = [int(name.rpartition("-")[2]) for name in log if name.startswith(f"echo-{stream}-")]
        assert mine == sorted(mine)
    assert held(app) == []
    assert app.workers() == []


def test_processes_move_what_is_due_into_the_log_once(url: str, app: Sourced):
    """I152. Three processes, and more messages due at the same moment than any of them takes at a time."""
    due = [
        scheduled(f"s{n % 7}", type="test.noted", payload=f'{{"text":"{n % 7}-{n}"}}', id=f"{n:03}") for n in range(250)
    ]
    app.store.transact(app.store.schedule(due))
    with processes(url, 3, what="plain") as crew:
        wait(lambda: len(app.workers()) == 3 and not app.scheduled.list() and not app.groups.get("plain").lag)
        for each in crew:
            each.tell(signal.SIGTERM)
        assert [each.ended() for each in crew] == [(0, "")] * 3
    for n in range(7):
        assert [message.id for message in app.history(f"s{n}")] == [f"{m:03}" for m in range(n, 250, 7)]
    texts = [line.removeprefix("ends ") for each in crew for line in each.lines if line.startswith("ends ")]
    assert sorted(texts) == sorted(f"{n % 7}-{n}" for n in range(250))


def test_what_one_process_causes_another_carries_on(url: str):
    """Orders handled here and there, whoever woke up first: all of them, each once."""
    with processes(url, 2) as crew, made(url, "shop") as app:
        wait(lambda: len(app.workers()) == 2)
        orders = [app.dispatch(AddItem("pen"), to=f"c{n % 9}") for n in range(60)]
        for order in orders:
            app.wait_for(order)
        wait(lambda: app.load(Stock, "stock-pen").state.reserved == 60)
        for each in crew:
            each.tell(signal.SIGINT)
        assert [each.ended() for each in crew] == [(0, "")] * 2


@pytest.mark.parametrize(("what", "number"), [("plain", signal.SIGTERM), ("awaiting", signal.SIGINT)])
def test_a_process_that_is_told_to_end_finishes_what_it_has_in_hand(url: str, what: str, number: int):
    """J170. Exit code 0, nothing held any more, and what it had not begun is there for the next."""
    with made(url, what) as app, Process(url, what) as worker:
        app.append("s", [Noted("slow"), Noted("next")])
        worker.said("begins slow")
        worker.tell(number)
        worker.said("stopping")
        go(app)
        assert worker.ended() == (0, "")
        assert worker.lines[-2:] == ["ends slow", "done"]
        assert handled(app, "slow", "next") == [1, 0]
        assert (held(app), app.workers()) == ([], [])
        with Process(url, what) as heir:
            wait(lambda: handled(app, "next") == [1])
            heir.tell(number)
            assert heir.ended() == (0, "")


def test_a_process_with_nothing_to_do_ends_as_soon_as_it_is_told(url: str, app: Sourced):
    with Process(url, "plain") as worker:
        wait(app.workers)
        worker.tell(signal.SIGTERM)
        assert worker.ended() == (0, "")


@pytest.mark.parametrize(("what", "number"), [("plain", signal.SIGTERM), ("awaiting", signal.SIGINT)])
def test_the_second_signal_ends_it_at_once(url: str, what: str, number: int):
    """Whatever it has in hand; that costs what a crash costs: its lease has to run out, and nothing is lost."""
    with made(url, what) as app, Process(url, what, lease=1) as worker:
        app.append("s", [Noted("slow"), Noted("next")])
        worker.said("begins slow")
        worker.tell(number)
        worker.said("stopping")
        worker.tell(number)
        assert worker.ended()[0] == -number
        assert handled(app, "slow") == [0]
        go(app)
        with Process(url, what, lease=1):
            wait(lambda: handled(app, "slow", "next") == [1, 1])


def test_what_a_dead_process_held_others_take_over_without_being_called(url: str, app: Sourced):
    """J172, J173, J176. It is killed in the middle of a message, and nobody sends anything any more."""
    with Process(url, "plain", lease=1) as first:
        app.append("s", [Noted("slow"), Noted("next")])
        first.said("begins slow")
        with Process(url, "plain", lease=1) as second:
            wait(lambda: len(app.workers()) == 2)  # it looked, and there was nothing for it
            first.kill()
            go(app)
            wait(lambda: handled(app, "slow", "next") == [1, 1])
            second.said("ends next")
            wait(lambda: not app.groups.get("plain").stragglers)


def paused(worker: Process, url: str) -> None:
    """Between two transactions: who sleeps in the middle of one keeps what he has locked from everybody."""
    while True:
        worker.tell(signal.SIGSTOP)
        if not writing(url):
            return
        worker.tell(signal.SIGCONT)


def writing(url: str) -> bool:
    if url.startswith("postgresql:"):
        with psycopg.connect(url) as mine:
            others = mine.execute(
                "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
                "and backend_type = 'client backend' and xact_start is not null"
            )
            return bool(others.fetchall())
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0)) as mine:
        try:
            mine.execute("begin immediate")
        except sqlite3.OperationalError:
            return True
    return False


def test_a_process_that_slept_beyond_its_lease_changes_nothing_any_more(url: str, app: Sourced):
    """E102. It is stopped in the middle of a message; when it goes on, somebody else has done its work."""
    with Process(url, "plain", lease=1) as first:
        app.append("s", [Noted("slow"), Noted("next")])
        first.said("begins slow")
        paused(first, url)
        go(app)
        with Process(url, "plain", lease=1):
            wait(lambda: handled(app, "slow", "next") == [1, 1])
            first.tell(signal.SIGCONT)
            first.said("ends slow")
            app.append("s", Noted("later"))
            wait(lambda: handled(app, "later") == [1] and not app.groups.get("plain").stragglers)
        first.tell(signal.SIGTERM)
        assert first.ended()[0] == 0
    assert handled(app, "slow", "next", "later") == [1, 1, 1]


# -- PostgreSQL, which may be away


def test_connections_that_are_killed_are_made_anew(postgres_url: str):
    """J167, J177. All of them at once, the one that listens for wake-ups too, again and again."""
    with Sourced(postgres_url) as app:
        app.migrate()
    with made(postgres_url, "plain") as app, Process(postgres_url, "plain") as worker:
        texts: list[str] = []
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            for turn in range(4):
                texts += [f"{turn}-{n}" for n in range(20)]
                for text in texts[-20:]:
                    app.append(f"s{text[-1]}", Noted(text))
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
        wait(lambda: handled(app, *texts) == [1] * 80)
        worker.tell(signal.SIGTERM)
        assert worker.ended()[0] == 0


def test_a_server_that_is_away_is_waited_for_and_ends_nothing(postgres_binaries: Path):
    """J177. It crashes and comes back; a worker that is told to end while it is away ends all the same."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(TempPostgres(postgres_binaries))
        url = server.url()
        with Sourced(url) as app:
            app.migrate()
        with Process(url, "plain", lease=1, timeout=0.2) as worker:
            with made(url, "plain") as app:
                app.append("s", Noted("before"))
                wait(lambda: handled(app, "before") == [1])
            server.kill9()
            worker.said("the store cannot be reached")
            server.start()
            with made(url, "plain") as app:
                app.append("s", Noted("after"))
                wait(lambda: handled(app, "after") == [1])
                app.append("s", Noted("slow"))
                worker.said("begins slow")
                server.kill9()
            worker.tell(signal.SIGTERM)
            assert worker.ended()[0] == 0
