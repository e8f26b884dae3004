"""LISTEN and NOTIFY: told after the commit and never in it, where it would hold up everybody who commits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import psycopg
from psycopg import sql

from sourced.ids import new_id

log = logging.getLogger("sourced")

LOOK = 0.5  # seconds between looks whether it is to end
LONGEST_PAUSE = 5.0  # seconds between tries to reach a server that is gone


class PostgresRelay:
    """One channel for an installation; what a process tells itself it does not hear."""

    silent = False

    def __init__(self, url: str, channel: str, ask: Callable[[str, tuple[str, ...]], None]) -> None:
        self._url = url
        self._channel = channel
        self._ask = ask
        self._me = new_id()

    def tell(self) -> None:
        self._ask("select pg_notify($1, $2)", (self._channel, self._me))

    def rouse(self) -> None:
        """Nobody who ends has to wait for the next look."""
        try:
            self.tell()
        except Exception as error:
            log.debug("the listener ends at its next look: %s", error)

    def hear(self, heard: Callable[[], None], deaf: threading.Event) -> None:
        pause = 0.05
        while not deaf.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, application_name="sourced wake-ups") as raw:
                    raw.execute(sql.SQL("listen {}").format(sql.Identifier(self._channel)))
                    heard()  # what was told meanwhile went unheard
                    pause = 0.05
                    while not deaf.is_set():
                        for note in raw.notifies(timeout=LOOK, stop_after=1):
                            if note.payload != self._me:
                                heard()
            except psycopg.Error as error:
                if not deaf.is_set():
                    log.warning("wake-ups are not heard for a moment, the next try in %.2f s: %s", pause, error)
                    deaf.wait(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
