"""LISTEN and NOTIFY: told after the commit and never in it, where it would hold up everybody who commits.

Notes are the exception: who publishes in a transaction wants them heard if, and when, it commits.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sourced.forks import begin_anew_in_children
from sourced.ids import new_id
from sourced.notifier import Hearing, Types
from sourced.ops import Op, Statement

log = logging.getLogger("sourced")

LOOK = 0.5  # seconds between looks whether it is to end
LONGEST_PAUSE = 5.0  # seconds between tries to reach a server that is gone
ROOM = 7_900  # bytes: a NOTIFY takes fewer than 8,000
MINE = object()
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}  # or a dead line is found in hours


class PostgresRelay:
    """One channel for an installation; what a process tells itself it does not hear."""

    silent = False

    def __init__(
        self,
        url: str,
        channel: str,
        ask: Callable[[str, tuple[str, ...]], None],
        statement: Callable[..., Statement],
    ) -> None:
        self._url = make_conninfo("", **{**ALIVE, **conninfo_to_dict(url)})
        self._channel = channel
        self._notes = f"{channel}notes"
        self._ask = ask
        self._statement = statement
        self.forked()
        begin_anew_in_children(self)

    def forked(self) -> None:
        self._me = new_id()

    def tell(self, types: Types = None) -> None:
        told = json.dumps([self._me, None if types is None else sorted(types)])
        if len(told) > ROOM:
            told = json.dumps([self._me, None])
        self._ask(_TELL, (self._channel, told))

    def rouse(self) -> None:
        """Nobody who ends has to wait for the next look."""
        try:
            self.tell()
        except Exception as error:
            log.debug("the listener ends at its next look: %s", error)

    def say(self, channel: str, text: str) -> Op[None]:
        """In as many pieces as it takes; of one transaction they come in order, and together."""
        yield self._statement("say", _SAY, channel=self._notes, p=[(piece,) for piece in pieces(channel, text)])

    def hear(self, hearing: Hearing, deaf: threading.Event) -> None:
        pause, known = 0.05, False
        while not deaf.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, application_name="sourced wake-ups") as raw:
                    raw.execute(_ATTEND, (self._channel,))
                    for channel in (self._channel, self._notes):
                        raw.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                    if known:
                        hearing.lapse()
                    hearing.news()  # what was told meanwhile went unheard
                    pause, known = 0.05, True
                    self._attend(raw, hearing, deaf)
            except psycopg.Error as error:
                if not deaf.is_set():
                    log.warning("wake-ups are not heard for a moment, the next try in %.2f s: %s", pause, error)
                    deaf.wait(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)

    def _attend(self, raw: psycopg.Connection[Any], hearing: Hearing, deaf: threading.Event) -> None:
        whole = Whole()
        while not deaf.is_set():
            for told in raw.notifies(timeout=LOOK, stop_after=1):
                if told.channel == self._notes:
                    if note := whole.with_piece(told.payload):
                        hearing.note(*note)
                elif (types := self._told(told.payload)) is not MINE:
                    hearing.news(types)

    def _told(self, payload: str) -> Any:
        """What somebody else has stored; who cannot be understood may have stored anything."""
        try:
            who, types = msgspec.json.decode(payload, type=tuple[str, frozenset[str] | None])
        except msgspec.MsgspecError:
            return None
        return MINE if who == self._me else types


class Whole:
    """Notes put together from their pieces."""

    def __init__(self) -> None:
        self._of = ""
        self._pieces: list[str] = []

    def with_piece(self, payload: str) -> tuple[str, str] | None:
        """The channel and the text, when this was the last piece; what somebody else tells here is passed over."""
        of, place, count, piece = (*payload.split(":", 3), "", "", "")[:4]
        if of != self._of:
            self._of, self._pieces = of, []
        self._pieces.append(piece)
        if not place == count == str(len(self._pieces)):
            return None
        with contextlib.suppress(msgspec.MsgspecError):
            return msgspec.json.decode("".join(self._pieces), type=tuple[str, str])
        return None


def pieces(channel: str, text: str) -> list[str]:
    """Each with the note's id, its place and how many there are; in ASCII, which every database can hold."""
    whole, own = json.dumps([channel, text]), new_id()
    parts = [whole[at : at + ROOM] for at in range(0, len(whole), ROOM)]
    return [f"{own}:{n}:{len(parts)}:{part}" for n, part in enumerate(parts, 1)]


# Whoever listens holds a lock as long as he lives. Where nobody does, nobody needs to be told, which takes far longer.
_ATTEND = "select pg_advisory_lock_shared(hashtext(%s))"
_TELL = "select pg_notify($1, $2) where not pg_try_advisory_xact_lock(hashtext($1))"
_SAY = "select pg_notify(:channel, p.piece) from each(p: piece text) order by p.n"
