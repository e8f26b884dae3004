"""What the memory store holds, and every statement it understands, as a method; all of it can be undone."""

from sourced.stores._tables.base import ShardRow as ShardRow
from sourced.stores._tables.base import Table as Table
from sourced.stores._tables.beside import Beside
from sourced.stores._tables.groups import Groups
from sourced.stores._tables.log import Log
from sourced.stores._tables.rounds import Rounds
from sourced.stores._tables.schedule import Schedule
from sourced.stores._tables.views import Views


class Tables(Log, Groups, Rounds, Schedule, Views, Beside):
    """The data, and what may be done to it."""
