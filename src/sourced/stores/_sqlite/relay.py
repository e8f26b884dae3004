"""Wake-ups and notes between processes on one file, which look for them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeAlias

from sourced.notifier import Hearing, Types
from sourced.ops import Op
from sourced.stores._sql.base import Tables

Raw: TypeAlias = sqlite3.Connection

LOOK = 0.02  # seconds between looks for what other processes have committed
KEPT = 10_000  # notes that are not yet forgotten
_STORED_SINCE = "select max(m.position), m.type from {messages} m where m.position > ? group by m.type"


class SqliteRelay:
    """SQLite counts what other connections have committed; looking at the counter costs next to nothing."""

    silent = True

    def __init__(self, tables: Tables, opened: Callable[[], Raw]) -> None:
        self._tables = tables
        self._opened = opened

    def tell(self, types: Types = None) -> None:
        """They look by themselves."""

    def rouse(self) -> None:
        """It looks often enough."""

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
        with contextlib.closing(self._opened()) as raw, contextlib.suppress(sqlite3.Error):
            ((known,),) = raw.execute("pragma data_version")
            ((last,),) = raw.execute(end)
            ((position,),) = raw.execute(come)
            hearing.news()
            while not deaf.wait(LOOK):
                ((version,),) = raw.execute("pragma data_version")
                if version == known:
                    continue
                known = version
                for number, channel, text in raw.execute(look, (last,)).fetchall():
                    if number > last + 1:
                        hearing.lapse()
                    last = number
                    hearing.note(channel, text)
                stored = raw.execute(what, (position,)).fetchall()
                position = max((position, *(each for each, _ in stored)))
                hearing.news({name for _, name in stored})
