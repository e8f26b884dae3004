"""Which server the tests use: the one that `SOURCED_TEST_PG` names, or a temporary one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import quote

from sourced.testing.postgres.binaries import WISH
from sourced.testing.postgres.databases import Postgres, server_version
from sourced.testing.postgres.server import TempPostgres


class GivenPostgres:
    """A server that others run, by the URL of a database from which new ones may be made."""

    def __init__(self, given: str) -> None:
        self.given = given

    def url(self, database: str | None = None) -> str:
        if database is None:
            return self.given
        server, mark, options = self.given.partition("?")
        scheme, _, path = server.partition("://")
        host = path.partition("/")[0]  # by hand: urlunsplit loses the slashes of postgresql:///name?host=/socket
        return f"{scheme}://{host}/{quote(database, safe='')}{mark}{options}"


@contextlib.contextmanager
def postgres_for_tests() -> Iterator[Postgres]:
    """A server that answers. One that was named and does not is an error, `NoPostgres` means that none is to be had."""
    wish = os.environ.get(WISH, "")
    if "://" not in wish:
        with TempPostgres() as server:
            yield server
        return
    given = GivenPostgres(wish)
    try:
        server_version(given)
    except Exception as error:
        error.add_note(f"{WISH} names this server")
        raise
    yield given
