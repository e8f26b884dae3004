"""`FileStore`: works in memory like the memory store, and writes down every transaction before it is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sourced.store import SHARDS, Capabilities
from sourced.stores._table_store import AsyncMemoryConnection, MemoryConnection, TableStore
from sourced.stores.file.folder import Folder


class FileStore(TableStore):
    """One process, one folder. Without `sync` a transaction survives the process, but not a power failure.

    With `create=False` a folder that is none of a file store's is refused, and stays as it is: for whoever only looks.
    """

    capabilities = Capabilities(durable=True)

    def __init__(
        self, folder: str | os.PathLike[str], shards: int = SHARDS, *, sync: bool = True, create: bool = True
    ) -> None:
        self._folder = Folder(Path(folder).absolute(), shards, sync=sync, create=create)
        super().__init__(self._folder.tables)

    def __repr__(self) -> str:
        return self._folder.name

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[MemoryConnection]:
        with super().transaction(reading=reading) as connection:
            self._folder.check()
            yield connection
            self._folder.commit()

    @contextlib.asynccontextmanager
    async def transaction_async(self, *, reading: bool = False) -> AsyncIterator[AsyncMemoryConnection]:
        async with super().transaction_async(reading=reading) as connection:
            self._folder.check()
            yield connection
            self._folder.commit()

    def migrate(self) -> list[str]:
        """A folder is made when it is opened; who asks is told once."""
        made, self._folder.made = self._folder.made, []
        return made

    async def migrate_async(self) -> list[str]:
        return self.migrate()

    def close(self) -> None:
        with self._gate:
            self._folder.close()

    def table(self, name: str) -> Mapping[Any, Any]:
        """What a table of the user's own holds; it is changed inside a transaction, through `tx.table(name)`."""
        return MappingProxyType(dict(self._folder.tables.table(name)))
