"""The port over tables: every operation once, whatever the database."""

from sourced.stores._sql.log import Log
from sourced.stores._sql.rounds import Rounds
from sourced.stores._sql.schedule import Schedule


class SqlStore(Log, Rounds, Schedule):
    """What is left to a database's own store: connections, `append` and `pending_rows`."""
