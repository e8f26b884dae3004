"""Django models in the transaction that a projector, a `@sync` block or a `Sync` action is handed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

try:
    from django.db import connections
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"sourced.integrations.django needs more: pip install 'sourced-py[django]' ({missing})"
    ) from missing

from sourced.errors import DefinitionError, NeedsAwait


@contextlib.contextmanager
def models_in(tx: object, *, using: str = "default") -> Iterator[Any]:
    """In this block models of that database are read and written in this transaction, in this thread alone.

    What they write is stored, or not, with everything else in it; `transaction.atomic()` is a savepoint of it.
    """
    known = connections[using]
    lent = _wrapped(known, tx)
    connections[using] = lent
    try:
        yield lent
    finally:
        connections[using] = known
        lent.connection = None  # it is not ours to close


def _wrapped(known: Any, tx: Any) -> Any:
    if any(cls.__name__ == "AsyncConnection" for cls in type(tx).__mro__):
        raise NeedsAwait("this transaction, which Django's models cannot wait for: make the block a plain method")
    vendor = "sqlite" if isinstance(tx, sqlite3.Connection) else "postgresql" if hasattr(tx, "pgconn") else "other"
    if vendor != known.vendor:
        found = f"{type(tx).__module__}.{type(tx).__qualname__}"
        raise DefinitionError(
            f"models_in(tx, using={known.alias!r}): that database is {known.display_name}, found {found}; "
            f"keep the log in the database of the models"
        )
    lent = known.copy()
    lent.connection = tx
    lent.in_atomic_block = True  # so that nothing in it commits
    lent.autocommit = False
    if vendor == "sqlite":
        from django.db.backends.sqlite3._functions import register

        register(tx)
    else:
        lent.create_cursor = _adapted(lent, tx)
    return lent


def _adapted(lent: Any, tx: Any) -> Any:
    """Cursors of Django's own kind, on a connection that reads and writes values in ways of its own."""
    from django.conf import settings
    from django.db.backends.postgresql import base
    from django.db.backends.postgresql.psycopg_any import get_adapters_template
    from psycopg.adapt import AdaptersMap

    cursors: Any = base.Cursor  # type: ignore[attr-defined,unused-ignore]
    template = get_adapters_template(settings.USE_TZ, lent.timezone)

    def create_cursor(name: str | None = None) -> Any:
        cursor = cursors(tx)
        cursor._adapters = AdaptersMap(template)
        return cursor

    return create_cursor
