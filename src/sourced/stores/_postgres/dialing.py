"""Reaching a server, and waiting for one that was there before."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sourced.errors import DefinitionError, SchemaMismatch, Unavailable

OLDEST = 15
_TERMS = r"-c timezone=UTC -c default_transaction_isolation=read\ committed -c jit=off"
_PASSING = (None, "57P03", "53300")  # nobody listens, it is starting up, there are too many clients
_LASTING = re.compile(  # of what has no code, as nobody was let in
    r"authentication|password|certificate|SSL|pg_hba\.conf|permi|(role|database) \".*\" (does not exist|is not)"
)


class Dialing:
    """Connections to one database, on our terms."""

    def __init__(self, url: str, timeout: float) -> None:
        self.name = _named(url)
        self.database = ""
        self.met = False  # it was reached before, so when it is not there it will come back
        self.timeout = timeout
        self._terms = _on_our_terms(url)

    def connect(self) -> Any:
        for pause in self._patience():
            try:
                return self._welcomed(psycopg.connect(self._terms, autocommit=True))
            except psycopg.OperationalError as error:
                self._unreachable(error, last=pause is None)
            threading.Event().wait(pause)
        raise AssertionError("unreachable: the last try raises")

    async def connect_async(self) -> Any:
        for pause in self._patience():
            try:
                return self._welcomed(await psycopg.AsyncConnection.connect(self._terms, autocommit=True))
            except psycopg.OperationalError as error:
                self._unreachable(error, last=pause is None)
            await asyncio.sleep(pause or 0)
        raise AssertionError("unreachable: the last try raises")

    def _patience(self) -> Iterator[float | None]:
        """Pauses between tries; None for the last one. Who was there before is waited for: it is being restarted."""
        deadline, pause = monotonic() + self.timeout, 0.05
        while self.met and monotonic() + pause < deadline:
            yield pause
            pause = min(pause * 2, 1.0)
        yield None

    def _unreachable(self, error: psycopg.OperationalError, *, last: bool) -> None:
        said = " ".join(str(error).split())
        passing = error.sqlstate in _PASSING and not lasts(said)
        if last or not passing:
            raise Unavailable(self.name, said, passing=passing) from error

    def _welcomed(self, raw: Any) -> Any:
        version = raw.info.server_version // 10_000
        if version < OLDEST:
            finished(raw)
            raise SchemaMismatch(
                self.name, expected=f"PostgreSQL {OLDEST} or newer", found=f"{version}", hint="update the server"
            )
        self.met, self.database = True, raw.info.dbname
        return raw


def lasts(said: str) -> bool:
    """Of what a server says to somebody whom it does not let in: whether it will say so again."""
    return _LASTING.search(said) is not None


def finished(raw: Any) -> None:
    """Closes a connection of either kind, whatever became of its loop."""
    raw.pgconn.finish()


def _named(url: str) -> str:
    """The database as people call it, without the password."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise DefinitionError(
            f"expected a URL such as postgresql://user@host/database, found an unreadable one: {error}"
        ) from error
    place = (
        f"{parts.get('host') or 'localhost'}:{parts['port']}" if parts.get("port") else parts.get("host") or "localhost"
    )
    return f"PostgreSQL {parts.get('dbname') or ''!r} at {place}"


def _on_our_terms(url: str) -> str:
    """The user's own options stay; an append has to see what was committed while it waited for its place."""
    options = f"{conninfo_to_dict(url).get('options') or ''} {_TERMS}".strip()
    return make_conninfo(url, options=options, fallback_application_name="sourced")
