"""Time-ordered ids: UUIDv7 as text, so that rows made together lie together in every index."""

from __future__ import annotations

import os
import random
import time

_luck = random.Random(os.urandom(32))
if hasattr(os, "register_at_fork"):  # a fork must not repeat its parent's ids
    os.register_at_fork(after_in_child=lambda: _luck.seed(os.urandom(32)))


def new_id() -> str:
    """A new id, unique everywhere, sorting by the millisecond it was made in."""
    luck = _luck.getrandbits(74)
    digits = f"{time.time_ns() // 1_000_000:012x}{0x7000 | luck >> 62:04x}{1 << 63 | luck & (1 << 62) - 1:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_stream_id(prefix: str | None = None) -> str:
    """A name for a stream nobody has written to yet."""
    return f"{prefix}-{new_id()}" if prefix else new_id()
