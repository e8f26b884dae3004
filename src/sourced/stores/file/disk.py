"""What the file store asks of the operating system, call by call; all it keeps is written here and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """Writes and, unless told not to, waits until what was written would outlive a power failure."""

    def __init__(self, sync: bool) -> None:
        self._sync = sync

    def make_folder(self, path: Path) -> None:
        if not path.is_dir():
            self.make_folder(path.parent)
            os.mkdir(path)
            self.sync_folder(path.parent)

    def open_to_append(self, path: Path) -> int:
        return os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)

    def write(self, file: int, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]

    def append(self, path: Path, data: bytes | bytearray) -> None:
        file = self.open_to_append(path)
        try:
            self.write(file, data)
        finally:
            os.close(file)

    def cut(self, path: Path, length: int) -> None:
        file = self.open_to_append(path)
        try:
            self.cut_open(file, length)
        finally:
            os.close(file)

    def cut_open(self, file: int, length: int) -> None:
        os.ftruncate(file, length)

    def replace(self, path: Path, data: bytes) -> None:
        """The file is either the old one or the new one, whole."""
        draft = path.with_name(path.name + ".new")
        file = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        try:
            self.write(file, data)
            self.sync(file)
        finally:
            os.close(file)
        os.replace(draft, path)
        self.sync_folder(path.parent)

    def sync(self, file: int) -> None:
        if self._sync:
            os.fsync(file)

    def sync_path(self, path: Path) -> None:
        if self._sync:
            file = self.open_to_append(path)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def sync_folder(self, path: Path) -> None:
        """A new name is only safe once its folder is; Windows sees to that by itself, and cannot be asked."""
        if self._sync and os.name == "posix":
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
