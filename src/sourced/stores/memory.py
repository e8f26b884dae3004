"""The reference store: everything in memory, with real transactions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sourced.store import SHARDS, Capabilities
from sourced.stores._table_store import AsyncMemoryConnection, MemoryConnection, TableStore
from sourced.stores._tables import Tables

__all__ = ["AsyncMemoryConnection", "MemoryConnection", "MemoryStore"]


class MemoryStore(TableStore):
    """One process, one lock, no files."""

    capabilities = Capabilities()

    def __init__(self, shards: int = SHARDS) -> None:
        super().__init__(Tables(shards))

    def __repr__(self) -> str:
        return "MemoryStore()"

    def close(self) -> None:
        """Nothing to give back."""

    def table(self, name: str) -> Mapping[Any, Any]:
        """What a table of the user's own holds; it is changed inside a transaction, through `tx.table(name)`."""
        return MappingProxyType(self._tables.users.setdefault(name, {}))
