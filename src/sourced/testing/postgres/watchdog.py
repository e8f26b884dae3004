"""Runs beside a temporary server: when its owner is gone, in whatever way, so are the server and its folder.

Nothing but the standard library, as it is started as a script without any site-packages.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

MEMORY = Path("/dev/shm")  # where the data is if there is room: no disk slows it down
LOCK = "lock"  # held by every process of the server: who gets it exclusively knows that none is left
PIDFILE = "data/postmaster.pid"
CLOSE = "close\n"


def watch(home: Path) -> None:
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)  # who ends a whole process tree means the owner
    running = last_told()
    with contextlib.suppress(OSError):
        end(home, running)
    for folder in (MEMORY / home.name, home):
        shutil.rmtree(folder, ignore_errors=True)


def last_told() -> int:
    """The process that runs for the owner, as it was when the owner said `close` or could say nothing any more."""
    running = 0
    for line in sys.stdin:
        if line == CLOSE:  # said aloud, as a forked child of the owner may hold the other end of this pipe too
            break
        running = int(line)
    return running


def end(home: Path, running: int) -> None:
    import fcntl  # not on Windows, where this module is imported but has nothing to watch

    with (home / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # An owner killed between starting a server and telling of it leaves us none to end. Nor must we wait then:
            # that server ends by itself within a minute, when it misses its files.
            if running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(running, signal.SIGQUIT)  # at once, no good-byes
                    os.kill(running, signal.SIGCONT)  # and if it was stopped, now
                fcntl.flock(lock, fcntl.LOCK_EX)
    free_memory(home / PIDFILE)


def free_memory(pidfile: Path) -> None:
    """A server that was killed leaves its pidfile, and in the kernel the piece of shared memory noted in it."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        segment = int(pidfile.read_text("utf-8").splitlines()[6].split()[1])
        remove = 0  # IPC_RMID
        ctypes.CDLL(None).shmctl(segment, remove, None)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
