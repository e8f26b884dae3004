"""What SQLite says, as one of our own errors where somebody has to see to something."""

from __future__ import annotations

import sqlite3

from sourced.errors import Unavailable


def translated(error: sqlite3.Error, store: str, *, over: str, timeout: float) -> Exception:
    """`over`: why the store cannot be used any more, if so."""
    if over and isinstance(error, sqlite3.ProgrammingError):
        return Unavailable(store, over)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(store, f"another process has kept it locked for {timeout:g} s", passing=True)
    if code == sqlite3.SQLITE_READONLY:
        return Unavailable(store, f"the file, or its folder, may not be written to ({error})")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return Unavailable(store, str(error))
    return error
