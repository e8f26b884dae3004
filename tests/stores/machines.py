"""Machines that die at the nth thing asked of them, and what is left on their disks."""

import os
from pathlib import Path
from typing import Any

from sourced.testing import Crash


class File:
    """What of a file would outlive a power failure: what it held when it was last synced."""

    def __init__(self, safe: bytes = b"") -> None:
        self.safe = safe


class Machine:
    """The operating system until it dies: before its nth change, or after half of it if that is a write.

    Everything on the disk when it starts is safe there. `left(…)` puts into another folder what is left afterwards.
    """

    def __init__(self, folder: Path, dies_at: int, *, halfway: bool = False) -> None:
        self.left_to_do, self.halfway, self.dead = dies_at, halfway, False
        self.folder = folder
        self.files = {path: File(path.read_bytes()) for path in folder.rglob("*.jsonl")}
        self.open_files: dict[int, Path] = {}
        self.safe_names = {each: self.names(each) for each in (folder.parent, folder, folder / "log") if each.is_dir()}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def change(self) -> None:
        self.left_to_do -= 1
        if self.dead or self.left_to_do <= 0:
            self.dead = True
            raise Crash

    def names(self, folder: Path) -> dict[Path, File | None]:
        return {path: self.files.get(path) for path in folder.iterdir()}

    # -- what the store asks for

    def mkdir(self, path: Path) -> None:
        self.change()
        os.mkdir(path)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and (not path.exists() or flags & os.O_TRUNC):
            self.change()
            self.files[path] = File()
        file = os.open(path, flags, mode)
        self.open_files[file] = path
        return file

    def write(self, file: int, data: memoryview) -> int:
        try:
            self.change()
        except (Crash, OSError):
            if self.halfway:
                self.halfway = False
                os.write(file, data[: len(data) // 2])
            raise
        return os.write(file, data)

    def ftruncate(self, file: int, length: int) -> None:
        self.change()
        os.ftruncate(file, length)

    def fsync(self, file: int) -> None:
        self.change()
        path = self.open_files.get(file, self.folder / "journal.jsonl")  # which was open before this machine came
        if path.is_dir():
            self.safe_names[path] = self.names(path)
        else:
            self.files[path].safe = path.read_bytes()

    def replace(self, path: Path, target: Path) -> None:
        self.change()
        os.replace(path, target)
        self.files[target] = self.files.pop(path)

    # -- what is left

    def left(self, target: Path, *, names: bool, contents: str) -> Path:
        """What was synced is there; of the rest as much as the disk had got to: new names, and contents or zeros."""
        target.mkdir()
        if names or self.folder in self.safe_names[self.folder.parent]:
            self._copy(self.folder, target, names, contents)
        return target

    def _copy(self, folder: Path, target: Path, names: bool, contents: str) -> None:
        there = self.names(folder) if names and folder.is_dir() else self.safe_names.get(folder, {})
        for path, file in there.items():
            if file is not None:
                (target / path.name).write_bytes(self._contents(path, file, contents))
            elif path.name == "log":
                (target / "log").mkdir()
                self._copy(path, target / "log", names, contents)

    def _contents(self, path: Path, file: File, contents: str) -> bytes:
        if contents == "safe" or self.files.get(path) is not file:
            return file.safe
        written = path.read_bytes()
        unsafe = max(0, len(written) - len(file.safe))
        zeros = {"written": 0, "holes": unsafe // 2, "zeros": unsafe}[contents]
        return (file.safe + bytes(zeros) + written[len(file.safe) + zeros :]) if zeros else written


class FullDisk(Machine):
    """Does not die: from its nth change on it only says that it cannot."""

    def change(self) -> None:
        self.left_to_do -= 1
        if self.left_to_do <= 0:
            raise OSError(28, "No space left on device")
