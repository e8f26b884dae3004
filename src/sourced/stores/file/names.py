"""The file a stream is kept in: its own name where every file system keeps that apart, else a hash too."""

from __future__ import annotations

import base64
import hashlib
import re

_SAFE = re.compile(r"[a-z0-9_-][a-z0-9_.-]{0,99}")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # what Windows opens instead of a file


def file_name(stream: str) -> str:
    """Different for every stream, also where upper and lower case, or two ways to write é, are the same name."""
    if _SAFE.fullmatch(stream) and not _DEVICES.fullmatch(stream):
        return f"{stream}.jsonl"
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", stream[:60])
    digest = hashlib.blake2b(stream.encode(), digest_size=10).digest()
    return f"{readable}~{base64.b32encode(digest).decode().lower()}.jsonl"
