"""A process of its own in which several threads write at once: `python -m tests.stores.writers URL NAME THREADS TURNS`.

It says when it is ready, waits to be told to begin, and prints for each thing it did what became of it.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sourced import Conflict, Sourced
from sourced.app import store_at
from tests.facts import PATIENCE
from tests.logbook import Noted


def write(url: str, name: str, threads: int, turns: int) -> None:
    with Sourced(store_at(url, timeout=PATIENCE)) as app, ThreadPoolExecutor(threads) as pool:
        app.read_all(limit=1)
        together = Barrier(threads)
        say("ready")
        sys.stdin.readline()
        for lines in pool.map(lambda n: writer(app, together, f"{name}-{n}", turns), range(threads)):
            say(*lines)


def writer(app: Sourced, together: Barrier, me: str, turns: int) -> list[str]:
    together.wait()
    told = []
    try:
        app.append("race", Noted(me), expected_seq=0)
        told.append(f"race won {me}")
    except Conflict as conflict:
        told.append(f"race lost {conflict.actual}")
    for turn in range(turns):
        one, two = app.append("shared", [Noted(f"{me} {turn} a"), Noted(f"{me} {turn} b")])
        told.append(f"shared {one.seq} {two.seq}")
        (own,) = app.append(me, Noted(str(turn)), expected_seq=turn)
        told.append(f"own {own.seq}")
    return told


def say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
