"""The file store, for teaching: a folder of JSON lines that can be read in an editor."""

from sourced.stores.file.lock import StoreInUse
from sourced.stores.file.reading import CorruptStore
from sourced.stores.file.store import FileStore

__all__ = ["CorruptStore", "FileStore", "StoreInUse"]
