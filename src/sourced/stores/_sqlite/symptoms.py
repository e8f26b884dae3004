"""What is wrong with the file itself: a log beside it that grows, since somebody reads and does not come to an end."""

from __future__ import annotations

import struct
from pathlib import Path

from sourced.store import Symptom

MUCH = 64 << 20  # bytes of the log that are not in the file yet; a thousand pages are moved there at a time


def of_log(path: Path) -> list[Symptom]:
    aside = not_moved(path)
    if aside <= MUCH:
        return []
    why = (
        f"{aside / 2**20:,.0f} MB of it cannot be moved into {path.name}, for somebody reads there and does not come "
        "to an end: it grows with every commit, and whoever reads takes longer and longer"
    )
    advice = f"find who has it open (lsof {path}), a shell, a backup or a debugger, and let him end"
    return [Symptom(f"the log {path.name}-wal", why, advice, trouble=True)]


def not_moved(path: Path) -> int:
    """Bytes, as the index of the log tells: how many pages it has, and how many of them have been moved."""
    try:
        with Path(f"{path}-shm").open("rb") as index:
            head = index.read(100)
        size, pages, moved = (*struct.unpack_from("=HI", head, 14), *struct.unpack_from("=I", head, 96))
    except (OSError, struct.error):
        return 0
    size = 65_536 if size == 1 else size
    return max(0, pages - moved) * size
