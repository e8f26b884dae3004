"""Wake-ups and notes between processes that have one file open: whoever listens looks whether anybody has committed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sourced.notifier import Hearing, Types
from sourced.ops import Op
from sourced.stores._sql.base import Tables

LOOK = 0.02  # seconds between looks for what other processes have committed
SECOND = 1_000_000_000  # nanoseconds
KEPT = 10_000  # notes that are not yet forgotten

_STORED_SINCE = "select max(m.position), m.type from {messages} m where m.position > ? group by m.type"


class SqliteRelay:
    """Who has committed has written to the log beside the file; a look at its time costs next to nothing."""

    silent = True

    def __init__(self, tables: Tables, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._tables = tables
        self._log = f"{path}-wal"
        self._connect = connect
        self._bell = threading.Lock()  # half the price of an event that is waited for again and again
        self._bell.acquire()

    def tell(self, types: Types = None) -> None:
        """They look by themselves."""

    def rouse(self) -> None:
        with contextlib.suppress(RuntimeError):  # it rings already
            self._bell.release()

    def say(self, channel: str, text: str) -> Op[None]:
        """Notes are kept until some thousand more have come: whoever hears looks far more often."""
        say = self._tables.say
        yield say("say", "insert into {notes} (channel, data) values (:channel, :data)", channel=channel, data=text)
        yield say("forget", "delete from {notes} where id <= (select max(id) from {notes}) - :kept", kept=KEPT)

    def hear(self, hearing: Hearing, deaf: threading.Event) -> None:
        """Most commits store no message: checkpoints, signs of life. What does is looked at for the types of it."""
        look = self._tables.query("select id, channel, data from {notes} where id > ? order by id").text
        what = self._tables.query(_STORED_SINCE).text
        come = self._tables.query("select coalesce(max(m.position), 0) from {messages} m").text
        end = self._tables.query("select coalesce(max(id), 0) from {notes}").text
        with contextlib.closing(self._connect()) as raw, contextlib.suppress(sqlite3.Error):
            commits = self._commits(raw, deaf)
            next(commits)
            ((last,),) = raw.execute(end)
            ((position,),) = raw.execute(come)
            hearing.news()
            for _ in commits:
                for number, channel, text in raw.execute(look, (last,)).fetchall():
                    if number > last + 1:
                        hearing.lapse()
                    last = number
                    hearing.note(channel, text)
                stored = raw.execute(what, (position,)).fetchall()
                position = max((position, *(each for each, _ in stored)))
                hearing.news({name for _, name in stored})

    def _commits(self, raw: sqlite3.Connection, deaf: threading.Event) -> Iterator[None]:
        """At once, and whenever somebody else has committed.

        The time of a file is coarse and two commits may share it, so after a change the database is asked once more.
        """
        known, written, changed = 0, 0, True
        while True:
            before, written = written, self._written()
            before_changed, changed = changed, written != before
            if changed or before_changed or not written:
                ((version,),) = raw.execute("pragma data_version")
                if version != known:
                    known = version
                    yield
            self._bell.acquire(timeout=LOOK)
            if deaf.is_set():
                return

    def _written(self) -> int:
        """When somebody last wrote to the log that SQLite keeps beside its file; 0 where that cannot be told.

        Some file systems keep whole seconds: many looks, and many commits, share one of them.
        """
        try:
            written = 0 if sys.platform == "win32" else os.stat(self._log).st_mtime_ns
        except OSError:
            return 0
        return written if written % SECOND else 0
