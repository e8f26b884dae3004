"""Time-ordered ids: UUIDv7 as text, so that rows made together lie together in every index."""

from __future__ import annotations

import os
import random
import time

_VERSION, _LOW = 0x7000_8000_0000_0000_0000, (1 << 62) - 1  # a UUID's version and variant; the part below it
_luck = random.Random(os.urandom(32))
if hasattr(os, "register_at_fork"):  # a fork must not repeat its parent's ids
    os.register_at_fork(after_in_child=lambda: _luck.seed(os.urandom(32)))


def new_id() -> str:
    """A new id, unique everywhere, sorting by the millisecond it was made in."""
    now, luck = time.time_ns() // 1_000_000, _luck.getrandbits(74)
    bits = "%032x" % (now << 80 | _VERSION | luck >> 62 << 64 | luck & _LOW)
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"


def new_stream_id(prefix: str | None = None) -> str:
    """A name for a stream nobody has written to yet."""
    return f"{prefix}-{new_id()}" if prefix else new_id()
