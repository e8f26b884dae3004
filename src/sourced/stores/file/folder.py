"""The folder of a file store, and how it stays whole whatever happens between any two writes.

    journal.jsonl   one transaction a line: it is committed when its line is there
    log/….jsonl     one message a line, a file for each stream
    state.jsonl     all else as of the last checkpoint, and how many lines of each stream's file it vouches for

Up to the checkpoint the log and the state are the truth. After it the journal is, and what a stream's file holds
beyond is the journal's copy, for people to read. A checkpoint makes the copies safe, then the state; then the journal
is emptied.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Raw

from sourced.errors import SchemaMismatch, Unavailable
from sourced.lines import encode, message_line
from sourced.stores.file.disk import Disk
from sourced.stores.file.lines import Heading, StreamRow, Transaction
from sourced.stores.file.loading import load
from sourced.stores.file.lock import FolderLock
from sourced.stores.file.names import file_name
from sourced.stores.file.reading import CorruptStore, Repair, read_heading
from sourced.stores.file.tables import DurableTables

log = logging.getLogger("sourced")

FORMAT = 1
JOURNAL_LIMIT = 4 << 20  # bytes until a checkpoint, or as many as the state has: that is written anew for it


class Folder:
    """An open folder: locked, checked, and brought to the end of its journal."""

    def __init__(self, path: Path, shards: int, *, sync: bool, create: bool = True) -> None:
        self.path, self.name = path, f"FileStore({str(path)!r})"
        self.tables = DurableTables(shards)
        self._log, self._journal, self._state = path / "log", path / "journal.jsonl", path / "state.jsonl"
        self._disk = Disk(sync)
        self._transaction = self._journal_size = self._state_size = 0
        self._sizes: dict[Path, int] = {}  # of the streams' files
        self._unsafe: set[Path] = set()  # those of them whose end would not outlive a power failure
        self._unusable = ""
        self._file: int | None = None
        self.made: list[str] = []
        if not (create or self._state.exists()):
            hint = "if this is the right folder, `sourced migrate`, or a program that opens it, makes it one"
            raise SchemaMismatch(self.name, expected="the folder of a file store", found="no state.jsonl", hint=hint)
        with self._translated():
            self._disk.make_folder(path)
            self._lock = FolderLock(path, self.name)
            try:
                self._open()
            except BaseException:
                self._release()
                raise

    # -- opening and closing -----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            raise
        except OSError as error:
            raise Unavailable(self.name, str(error)) from error

    def _open(self) -> None:
        new = not self._state.exists()
        if new:
            self._refuse_remains()
            self.made = ["folder"]
        else:
            self._load()
        self._disk.make_folder(self._log)
        self._file = self._disk.open_to_append(self._journal)
        if new or self._journal_size:
            self._checkpoint()

    def _refuse_remains(self) -> None:
        """Where there is no state, nothing was ever committed."""
        journal = self._journal.stat().st_size if self._journal.exists() else 0
        if journal or any(self._log.glob("*.jsonl")):
            raise CorruptStore(self._state, 0, "the state of what the journal and the log hold", "no such file")

    def _load(self) -> None:
        self._check_schema(read_heading(self._state))
        loaded = load(self.path, self.tables)
        last = loaded.journal.transactions[-1:]
        self._transaction = last[0][1].transaction if last else loaded.state.heading.transaction
        self._journal_size, self._state_size = loaded.journal.size, loaded.state.size
        if torn := loaded.journal.torn:
            log.warning("%s: half a transaction, dropped, for it was never committed: %s", torn.place, torn.excerpt)
        for repair in loaded.repairs:
            self._mend(repair)

    def _check_schema(self, found: Heading) -> None:
        if found.format != FORMAT:
            hint = "update this library, or open it with the version that wrote it"
            raise SchemaMismatch(self.name, expected=f"format {FORMAT}", found=f"format {found.format}", hint=hint)
        if found.shards != len(self.tables.shards):
            hint = f"their number is fixed when the folder is made: open it with shards={found.shards}"
            raise SchemaMismatch(
                self.name, expected=f"{len(self.tables.shards)} shards", found=f"{found.shards}", hint=hint
            )

    def _mend(self, repair: Repair) -> None:
        if repair.torn:
            log.warning("%s: half a message, mended from the journal: %s", repair.torn.place, repair.torn.excerpt)
        if repair.cut:
            self._disk.cut(repair.file, repair.end)
        if repair.missing:
            self._disk.append(repair.file, repair.missing)
        if repair.cut or repair.missing or repair.copied:
            self._unsafe.add(repair.file)
        self._sizes[repair.file] = repair.end + len(repair.missing)

    def close(self) -> None:
        """Ends with a checkpoint, so that nothing is left to do but to read."""
        if self._file is None:
            return
        try:
            if self._journal_size and not self._why_unusable():
                with self._translated():
                    self._checkpoint()
        finally:
            self._unusable = self._unusable or "this store was closed; open it anew"
            self._release()

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._lock.release()

    # -- transactions ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Refuses whoever would write what can no longer be relied on."""
        if why := self._why_unusable():
            raise Unavailable(self.name, why)

    def _why_unusable(self) -> str:
        if self._lock.pid != os.getpid():
            return f"it belongs to process {self._lock.pid}, which this one was forked from; open another folder here"
        return self._unusable

    def commit(self) -> None:
        """Writes down what the open transaction changed: with the line in the journal it is done."""
        messages = [(record.stream, encode(message_line(record))) for record in self.tables.appended()]
        rows = self.tables.changed()
        if not messages and not rows:
            return
        transaction = encode(Transaction(self._transaction + 1, tuple(Raw(line) for _, line in messages), rows))
        try:
            self._write(transaction + b"\n")
            self.tables.undo.clear()  # whatever is raised from here on cannot take it back
            self._copy(messages)
            if self._journal_size > max(JOURNAL_LIMIT, self._state_size):
                self._checkpoint()
        except BaseException as error:
            self._unusable = f"a write had failed ({error!r}); close this store and open it anew, to see what is there"
            if not isinstance(error, OSError):
                raise
            if self.tables.undo:
                raise Unavailable(self.name, str(error), unsure=True) from error
            log.warning("%s: committed, but not copied to where people read it: %r", self.name, error)

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        self._disk.write(self._file, line)
        self._disk.sync(self._file)
        self._transaction += 1
        self._journal_size += len(line)

    def _copy(self, messages: list[tuple[str, bytes]]) -> None:
        copies: dict[str, bytearray] = {}
        for stream, line in messages:
            copies.setdefault(stream, bytearray()).extend(line + b"\n")
        for stream, lines in copies.items():
            file = self._log / file_name(stream)
            self._disk.append(file, lines)
            self._unsafe.add(file)
            self._sizes[file] = self._sizes.get(file, 0) + len(lines)

    def _refuse_edited(self, file: Path) -> None:
        """An editor may have saved what it had read before; as long as the journal has the rest, nothing is lost."""
        found = file.stat().st_size
        if found != self._sizes[file]:
            why = f"somebody else changed {file}: expected {self._sizes[file]} bytes, found {found}"
            raise Unavailable(self.name, f"{why}; open the folder anew, and it is mended from the journal")

    def _checkpoint(self) -> None:
        """The copies become the truth, and the journal starts anew."""
        assert self._file is not None
        for file in self._unsafe:
            self._refuse_edited(file)
            self._disk.sync_path(file)
        self._disk.sync_folder(self._log)
        streams = [StreamRow(stream, len(rows)) for stream, rows in self.tables.streams.items()]
        rows = self.tables.everything()
        heading = Heading(FORMAT, len(self.tables.shards), self._transaction, len(streams), len(rows))
        state = b"".join(encode(row) + b"\n" for row in (heading, *streams, *rows))
        self._disk.replace(self._state, state)
        self._disk.cut_open(self._file, 0)
        self._unsafe.clear()
        self._journal_size, self._state_size = 0, len(state)
