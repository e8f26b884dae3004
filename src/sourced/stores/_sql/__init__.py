"""The port over tables: every operation once, whatever the database."""

from sourced.stores._sql.beside import Beside
from sourced.stores._sql.migrations import Migration
from sourced.stores._sql.schedule import Schedule


class SqlStore(Schedule, Beside):
    """What is left to a database's own store: connections, `append`, `pending_rows`, `holds` and its migrations."""

    def migrations(self) -> list[Migration]:
        """All steps from an empty database to the tables of this version, for a migration tool of your own."""
        raise NotImplementedError

    def missing(self) -> list[Migration]:
        """Those that this database has not made yet."""
        return []
