"""Wake-ups and notes between processes that have one file open: whoever listens hears that somebody has committed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sourced.notifier import Hearing, Types
from sourced.ops import Op
from sourced.stores._sql.base import Tables
from sourced.stores._sqlite.watch import LOOK, Looking, watching

SOON = (0.001, 0.002, 0.004, 0.008)  # seconds between looks for a commit of which some has been written
REST = 0.008  # seconds between commits, at least: those that come closer together are heard of as one
SELDOM = 0.25  # seconds between looks where nobody has written for a while, and whoever does is told of
WAKEFUL = 5  # waits, before that
KEPT = 10_000  # notes that are not yet forgotten

_STORED_SINCE = "select max(m.position), m.type from {messages} m where m.position > ? group by m.type"


class SqliteRelay:
    """Who commits writes to the log beside the file: that is heard of, and then the database is asked."""

    silent = True

    def __init__(self, tables: Tables, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._tables = tables
        self._log = f"{path}-wal"
        self._connect = connect
        self._watches: list[Looking] = []
        self._guard = threading.Lock()

    def tell(self, types: Types = None) -> None:
        """They look by themselves."""

    def rouse(self) -> None:
        with self._guard:
            for watch in self._watches:
                watch.ring()

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

        What is written to the log can be seen shortly afterwards; when a disk is waited for, some time afterwards.
        """
        known, quiet, told, soon = 0, 0, False, iter(SOON)
        raw.execute("pragma data_version").fetchall()  # from here on there is a log beside the file
        with self._watching() as watch:
            while True:
                ((version,),) = raw.execute("pragma data_version")
                if version != known:
                    if quiet > WAKEFUL and not told and not watch.wait(0):
                        watch.tells = False  # not of everybody, on this file system
                    known, quiet, soon = version, 0, iter(())
                    yield
                    watch.rest(REST)
                elif pause := next(soon, 0):
                    watch.rest(pause)
                else:
                    quiet += 1
                    told = watch.wait(LOOK if quiet <= WAKEFUL else SELDOM)
                    if told:
                        quiet, soon = 0, iter(SOON)
                if deaf.is_set():
                    return

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Looking]:
        watch = watching(self._log)
        with self._guard:
            self._watches.append(watch)
        try:
            yield watch
        finally:
            with self._guard:
                self._watches.remove(watch)
            watch.close()
