"""An archive: all that a store holds as lines of JSON, to be taken to another store, of whatever kind.

The log as it is, message by message; the rows of views; for every group how far it has come and which of its streams
wait; and what is scheduled. So that on the other side nobody handles anything twice, and nothing is lost.
"""

from sourced.archive.exporting import export_to
from sourced.archive.importing import import_from
from sourced.archive.lines import Contents

__all__ = ["Contents", "export_to", "import_from"]
