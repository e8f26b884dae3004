"""What psycopg says, as one of our own errors where somebody has to see to something."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from sourced.errors import ConnectionLost, Deadlocked, Fenced, SchemaMismatch, SourcedError, Unavailable

FENCED = "SRC01"  # raised by the `fence` function
TAKEN_BACK = {
    "40P01": "two transactions waited for each other",
    "40001": "another transaction changed first what this one had read",
}


def ended_by_others(name: str) -> SourcedError:
    return Unavailable(name, "the transaction was ended by code that it was handed to", unsure=True)


def translated(error: psycopg.Error, name: str, *, lost: bool, unsure: bool = False) -> Exception:
    """What psycopg says, as one of our own errors where somebody has to see to something."""
    said = str(error).strip().partition("\n")[0]
    if error.sqlstate == FENCED:
        return Fenced(error.diag.message_detail or "", error.diag.message_primary or "")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction):
        return SchemaMismatch(name, expected="the tables of Sourced", found=said, hint="run app.migrate() first")
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return Unavailable(name, f"it may only be read here ({said}); connect to the primary")
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Unavailable(name, said)
    if error.sqlstate in TAKEN_BACK:
        return taken_back(error, name)
    return connection_lost(error, name, unsure=unsure) if lost else error


def connection_lost(error: Exception, name: str, *, unsure: bool = False) -> ConnectionLost:
    said = str(error).strip().partition("\n")[0]
    return ConnectionLost(name, f"the connection was lost ({said})", unsure=unsure)


def taken_back(error: psycopg.Error, name: str) -> Exception:
    return Deadlocked(name, TAKEN_BACK[error.sqlstate or ""])


def behind(error: BaseException | None) -> Iterator[psycopg.Error]:
    """What the driver said, behind what others have made of it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, psycopg.Error):
            yield error
        error = error.__cause__ or error.__context__
