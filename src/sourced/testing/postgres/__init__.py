"""A disposable PostgreSQL for tests: no container, no set-up, and gone when the process that asked for it is.

    with TempPostgres() as server, fresh_database(server) as url:
        ...

pytest users say `pytest_plugins = ["sourced.testing.pytest_plugin"]` and ask for `postgres_url`.
"""

from sourced.testing.postgres.binaries import NoPostgres, find_binaries
from sourced.testing.postgres.choice import GivenPostgres, postgres_for_tests
from sourced.testing.postgres.databases import Databases, Postgres, fresh_database, server_version
from sourced.testing.postgres.server import TempPostgres

__all__ = [
    "Databases",
    "GivenPostgres",
    "NoPostgres",
    "Postgres",
    "TempPostgres",
    "find_binaries",
    "fresh_database",
    "postgres_for_tests",
    "server_version",
]
