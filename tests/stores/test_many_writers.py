"""Twenty and thirty-two who write at once, in threads, tasks and processes: every outcome is exact, on every store."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from sourced import Conflict, Message, Sourced
from sourced.store import Store
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing import VirtualClock
from sourced.testing.shop import Reserve, Stock
from tests.logbook import Noted, seqs, told

ROOT = Path(__file__).parents[2]

Work = Callable[[Any], Any]  # what one of them asks of the app, or of `app.aio`

many_at_once = pytest.mark.parametrize("many", [20, 32])
both_sides = pytest.mark.parametrize("side", ["threads", "tasks"])


@pytest.fixture
def app(store: Store) -> Sourced:
    app = Sourced(store, clock=VirtualClock())
    app.register(Noted, Stock)
    return app


def at_once(app: Sourced, side: str, works: Sequence[Work]) -> list[Any]:
    """All of them begin together; what each was answered, or the conflict it was told of."""
    start = Barrier(len(works))

    def work(one: Work) -> Any:
        start.wait()
        try:
            return one(app)
        except Conflict as conflict:
            return conflict

    async def tasks() -> list[Any]:
        return await asyncio.gather(*(one(app.aio) for one in works), return_exceptions=True)

    if side == "tasks":
        return asyncio.run(tasks())
    with ThreadPoolExecutor(len(works)) as threads:
        return [*threads.map(work, works)]


@many_at_once
@both_sides
def test_all_of_them_find_a_place_in_one_stream(app: Sourced, side: str, many: int):
    """D65. Each list of three stands together, and each was told the places it has."""
    lists = [[Noted(f"{n}{text}") for text in "abc"] for n in range(many)]
    stored = at_once(app, side, [appending("s", *each) for each in lists])
    history = app.history("s")
    assert [m.seq for m in history] == list(range(1, 3 * many + 1))
    assert sorted(told(one[:1])[0] for one in stored) == sorted(f"{n}a" for n in range(many))
    for each in stored:
        first = each[0].seq
        assert each == history[first - 1 : first + 2]


@many_at_once
@both_sides
def test_all_of_them_write_to_streams_of_their_own(app: Sourced, side: str, many: int):
    """D64, D65. Nobody is in anybody's way, and the log holds each of them once."""
    at_once(app, side, [appending(f"s{n}") for n in range(many)] + [appending(f"s{n}") for n in range(many)])
    assert all(seqs(app, f"s{n}") == [1, 2] for n in range(many))
    log = app.read_all()
    assert len({m.id for m in log}) == len({m.position for m in log}) == len(log) == 2 * many
    assert [m.position for m in log] == sorted(m.position for m in log)


def appending(stream: str, *messages: Noted, expected_seq: int | None = None) -> Work:
    return lambda verbs: verbs.append(stream, messages or Noted(), expected_seq=expected_seq)


@many_at_once
@both_sides
def test_of_all_who_want_one_place_one_gets_it(app: Sourced, side: str, many: int):
    """D62. In one stream, and in each of several at once; the others are told where the stream is now."""
    app.append("s0", Noted())
    works = [appending(f"s{n % 3}", expected_seq=0 if n % 3 else 1) for n in range(3 * many)]
    outcomes = at_once(app, side, works)
    for stream in range(3):
        mine = outcomes[stream::3]
        assert [type(each) for each in mine].count(list) == 1
        refused = [(each.expected, each.actual) for each in mine if isinstance(each, Conflict)]
        assert refused == [(0, 1) if stream else (1, 2)] * (many - 1)
    assert len(app.read_all()) == 4


@many_at_once
@both_sides
def test_all_of_their_decisions_are_made_on_what_the_others_stored(app: Sourced, side: str, many: int):
    """D65 for commands. As often as there are rivals a decision may have to be made anew, and no more often."""
    app._engine.tries = many
    decisions = at_once(app, side, [lambda verbs: verbs.execute(Reserve("tea", 1), to="stock")] * many)
    assert seqs(app, "stock") == list(range(1, 2 * many + 1))
    assert sorted(d.command.seq for d in decisions) == list(range(1, 2 * many, 2))
    assert all(d.events[0].seq == d.command.seq + 1 for d in decisions)
    assert app.load(Stock, "stock").state.reserved == many


@many_at_once
def test_threads_and_loops_at_once_share_a_store(app: Sourced, many: int):
    """D65. Half of them block, half await, each in a loop of its own."""

    def blocking(number: int) -> Message[Any]:
        return app.append("s", Noted(str(number)))[0]

    def awaiting(number: int) -> Message[Any]:
        return asyncio.run(app.aio.append("s", Noted(str(number))))[0]

    with ThreadPoolExecutor(many) as threads:
        stored = [*threads.map(lambda n: (blocking if n % 2 else awaiting)(n), range(many))]
    assert sorted(m.seq for m in stored) == seqs(app, "s") == list(range(1, many + 1))


# -- processes


@pytest.mark.parametrize("new_store", ["sqlite", "postgres"], indirect=True)
@pytest.mark.parametrize("threads", [5, 8])
def test_four_processes_write_at_once(store: Store, threads: int):
    """D62, D65. Four times five, and four times eight: in one stream, in streams of their own, and for one place."""
    turns, names = 6, ["ada", "alan", "grace", "kay"]
    many, lines = 4 * threads, run_writers(address(store), names, threads, turns)
    count = Counter(line.partition(" ")[0] for line in lines)
    assert count == {"race": many, "shared": many * turns, "own": many * turns}
    app = Sourced(store)
    app.register(Noted)
    (winner,) = app.history("race")
    race = [line for line in lines if line.startswith("race")]
    assert Counter(race) == {f"race won {winner.payload.text}": 1, "race lost 1": many - 1}
    places = sorted(tuple(map(int, line.split()[1:])) for line in lines if line.startswith("shared"))
    assert places == [(seq, seq + 1) for seq in range(1, 2 * many * turns, 2)]
    texts = told(app.history("shared"))
    assert all(one[:-1] == two[:-1] for one, two in zip(texts[::2], texts[1::2], strict=True))
    for name in names:
        assert all(told(app.history(f"{name}-{n}")) == [str(turn) for turn in range(turns)] for n in range(threads))
    assert len(app.read_all()) == 1 + 3 * many * turns


def address(store: Store) -> str:
    if isinstance(store, SqliteStore):
        return f"sqlite:///{store.path}"
    assert isinstance(store, PostgresStore)
    return store.url


def run_writers(url: str, names: Sequence[str], threads: int, turns: int) -> list[str]:
    command = [sys.executable, "-m", "tests.stores.writers", url]
    writers = [
        subprocess.Popen(
            [*command, name, str(threads), str(turns)],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name in names
    ]  # fmt: skip
    for each in writers:
        assert each.stdout
        assert each.stdout.readline() == "ready\n"
    lines = []
    for each in writers:
        assert each.stdin
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in writers:
        found, errors = each.communicate(timeout=60)
        assert (each.returncode, errors) == (0, "")
        lines += found.splitlines()
    return lines
