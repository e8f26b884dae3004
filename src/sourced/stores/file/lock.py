"""A folder belongs to one process at a time; the lock ends with the process, however that ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sourced.errors import Unavailable

if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        os.lseek(file, 1 << 30, os.SEEK_SET)  # nobody can read what is locked there, and the pid is to be read
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class StoreInUse(Unavailable):
    """Somebody else has the folder open."""

    def __init__(self, store: str, pid: int | None) -> None:
        self.pid = pid
        here = pid == os.getpid()
        holder = "this process already" if here else "another process" if pid is None else f"process {pid}"
        remedy = "close that store first" if here else "end it first"
        super().__init__(store, f"it is open in {holder}; {remedy}, or use another folder, for only one can have it")


class FolderLock:
    def __init__(self, folder: Path, store: str) -> None:
        self.pid = os.getpid()
        self._file: int | None = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            _take(self._file)
        except (BlockingIOError, PermissionError) as error:  # as POSIX and Windows call it
            os.lseek(self._file, 0, os.SEEK_SET)
            holder = os.read(self._file, 20)
            self.release()
            raise StoreInUse(store, int(holder) if holder.strip().isdigit() else None) from error
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, f"{self.pid}\n".encode())

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
